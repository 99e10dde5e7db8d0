"""What the command line chooses from."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What can be looked into."""

    SESSION = "session"
    USER = "user"
    CHANNEL = "channel"
    EVENT = "event"
