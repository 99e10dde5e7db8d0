"""The way out: the router, single writer of every topic, and the HTTP API that applications call."""
