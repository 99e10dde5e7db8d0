"""A deterministic simulation: the real code of bus, router and hub against a twin of Redis, in virtual time."""
