"""What becomes of sessions while the log is away: told whether it is, and the time."""

from __future__ import annotations

from enum import Enum, auto


class Step(Enum):
    """What is to be done now."""

    NOTHING = auto()
    HOLD = auto()
    """Read no further: what clients send could not be stored."""
    RELEASE = auto()
    """Read on."""
    GIVE_UP = auto()
    """Close the sessions: it takes too long."""


class Outage:
    """One outage after the other."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds that sessions are kept without a log."""
        self._patience = patience
        self._since: float | None = None
        self._gave_up = False

    @property
    def is_on(self) -> bool:
        """Whether the log was away when it was last looked at."""
        return self._since is not None

    def look(self, away: bool, now: float) -> Step:
        """Say whether the log is away at `now` (monotonic seconds); gives what follows from it."""
        if not away:
            began, self._since = self._since, None
            return Step.NOTHING if began is None else Step.RELEASE
        if self._since is None:
            self._since, self._gave_up = now, False
            return Step.HOLD
        if self._gave_up or now - self._since < self._patience:
            return Step.NOTHING
        self._gave_up = True
        return Step.GIVE_UP
