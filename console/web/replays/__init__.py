"""Replays into a sandbox, which operators start from the console: each is a process of its own."""
