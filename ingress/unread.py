"""How much a client may leave unread: told how much it is, and the time."""

from __future__ import annotations

from math import inf
from typing import Final

#: A client that is sent what it missed may have so many times as much unread: histories come at once.
CATCH_UP_TIMES: Final = 16
#: It has so long to read that, in seconds.
CATCH_UP_S: Final = 30.0


class Unread:
    """What one client may leave unread."""

    def __init__(self, most: int) -> None:
        """`most`: bytes, but for what it missed."""
        self._most = most
        self._until = -inf

    def catch_up(self, unread: int, now: float) -> None:
        """It is about to be sent what it missed. Who has too much unread as it is gets no more time for that."""
        if unread <= self._most:
            self._until = now + CATCH_UP_S

    def is_too_much(self, unread: int, now: float) -> bool:
        """Whether `unread` bytes are more than it may leave at `now` (monotonic seconds)."""
        return unread > self._most and (now >= self._until or unread > CATCH_UP_TIMES * self._most)
