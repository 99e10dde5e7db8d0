"""The demo: a page, and the little that it asks of a server."""
