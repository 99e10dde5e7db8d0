"""The archive's schema, one step at a time. A step that was released is never changed."""
