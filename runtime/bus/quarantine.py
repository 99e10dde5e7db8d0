"""Who is handled beside whom, of what may have ended its process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turn:
    """The time in which a suspect may be handled; it ends once."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended: Callable[[], None] | None = ended
        self._timer: asyncio.TimerHandle | None = None

    def end_within(self, seconds: float) -> None:
        """End it after so long, if it has not ended by then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """Let others have theirs."""
        if self._timer is not None:
            self._timer.cancel()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended()


Place = asyncio.Future[Turn | None]
"""One in the queue. Whoever does not want a turn any more sets None."""


class Quarantine:
    """Suspects: those that nobody is known to have ended at go together; one that somebody has goes alone.

    There is one for all groups of a process, since they end together: what was in hand then has one attempt more.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[Place, bool]] = deque()
        self._together = 0
        self._is_alone = False

    def ask(self, *, alone: bool) -> Place:
        """A place in the queue: beside no other suspect, or beside those that are not alone."""
        place: Place = asyncio.get_running_loop().create_future()
        self._queue.append((place, alone))
        self._admit()
        return place

    def _admit(self) -> None:
        while self._queue:
            place, alone = self._queue[0]
            if not place.done():
                if self._is_alone or (alone and self._together):
                    return
                if alone:
                    self._is_alone = True
                else:
                    self._together += 1
                place.set_result(Turn(self._left_alone if alone else self._left_together))
            self._queue.popleft()

    def _left_alone(self) -> None:
        self._is_alone = False
        self._admit()

    def _left_together(self) -> None:
        self._together -= 1
        self._admit()


async def turn_of(place: Place) -> Turn | None:
    """Wait for one's turn; None if the place was given up. Cancelled, it leaves nothing behind."""
    try:
        return await place
    except asyncio.CancelledError:
        if place.done() and not place.cancelled() and (turn := place.result()) is not None:
            turn.end()
        raise
