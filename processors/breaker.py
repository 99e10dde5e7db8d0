"""A circuit breaker: while the application is down, one request at a time finds out whether it is back."""

from __future__ import annotations

from typing import Final

#: Failures in a row that open it.
THRESHOLD: Final = 5
#: Seconds until the first probe, doubled with every probe up to the ceiling.
FIRST_PROBE_S: Final = 0.25
CEILING_S: Final = 5.0


class Breaker:
    """Closed: everything passes. Open: one probe per delay passes. The first success closes it."""

    def __init__(self) -> None:
        self._failures = 0
        self._delay = 0.0
        self._probe_at = 0.0

    @property
    def open(self) -> bool:
        """Whether requests are being refused."""
        return self._failures >= THRESHOLD

    def allow(self, now: float) -> bool:
        """Whether a request may be sent at `now` (seconds, monotonic).

        A probe that is allowed puts the next one off at once: nothing has to be undone when it is cancelled.
        """
        if not self.open:
            return True
        if now < self._probe_at:
            return False
        self._delay = min(CEILING_S, self._delay * 2)
        self._probe_at = now + self._delay
        return True

    def failed(self, now: float) -> bool:
        """A request that was sent met no answer; True when this opened the breaker."""
        self._failures += 1
        if self._failures != THRESHOLD:
            return False
        self._delay = FIRST_PROBE_S
        self._probe_at = now + self._delay
        return True

    def succeeded(self) -> bool:
        """The application answered; True when this closed the breaker."""
        was_open = self.open
        self._failures = 0
        return was_open
