"""All that is kept of a topic, in Redis: one script per operation, one slot per topic."""
