"""What the command line chooses from, about where entries are read."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """What is read."""

    LOG = "log"
    """The log in Redis, as far back as it reaches."""
    ARCHIVE = "archive"
    """The archive, up to what it has taken by now."""
    ALL = "all"
    """Both, each entry once."""
