"""The Redis commands that Headgate uses, in memory and on a clock that is passed in."""
