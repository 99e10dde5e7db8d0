"""What the command line chooses from."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

#: What every key of a sandbox starts with, before the name of its replay.
SANDBOXES: Final = "hg-replay-"


class Target(StrEnum):
    """Where a replay goes."""

    PRINT = "print"
    """Lines for people, or with `--json` one object a line."""
    FILE = "file"
    """JSON lines."""
    SANDBOX = "sandbox"
    """The checked-out processors and router, on keys of their own."""
    LIVE = "live"
    """The log itself."""


class Speed(StrEnum):
    """How fast it goes."""

    ORIGINAL = "original"
    TEN = "10x"
    MAX = "max"

    @property
    def factor(self) -> float | None:
        """Of the original speed; None: as fast as it goes."""
        return {"original": 1.0, "10x": 10.0, "max": None}[self.value]
