"""The deadlines of all connections on a socket, behind one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Protocol


class Timed(Protocol):
    """Something with one deadline at a time."""

    timer_at: float | None
    """The deadline that is set, on the event loop's clock; written by `Deadlines` alone."""

    def timer_fired(self, at: float) -> None:
        """The deadline `at` has come."""
        ...


class Deadlines:
    """A heap of deadlines. One that is replaced stays in it until its time, and is passed over then."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Timed]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, timed: Timed, at: float) -> None:
        """Call `timed.timer_fired` at `at`, and at no time that was set before."""
        timed.timer_at = at
        heapq.heappush(self._heap, (at, next(self._numbers), timed))
        if self._timer is None or at < self._timer_at:
            self._arm(at)

    @staticmethod
    def forget(timed: Timed) -> None:
        """Do not call it any more."""
        timed.timer_at = None

    def close(self) -> None:
        """Call nobody any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        # The loop's clock may be coarse and call early: what the timer was set for is due all the same.
        now = max(self._loop.time(), self._timer_at)
        self._timer = None
        while self._heap and self._heap[0][0] <= now:
            at, _, timed = heapq.heappop(self._heap)
            if timed.timer_at == at:
                timed.timer_at = None
                timed.timer_fired(at)
        if self._heap and (self._timer is None or self._heap[0][0] < self._timer_at):
            self._arm(self._heap[0][0])
