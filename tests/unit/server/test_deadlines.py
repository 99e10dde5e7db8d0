"""One timer of the loop stands for the deadlines of all connections."""

from __future__ import annotations

import asyncio

from ingress.server.deadlines import Deadlines
from tests.support.waiting import eventually


class Timed:
    """Writes down what it was called for."""

    def __init__(self, name: str, calls: list[tuple[str, float]]) -> None:
        self.timer_at: float | None = None
        self.name = name
        self.calls = calls

    def timer_fired(self, at: float) -> None:
        self.calls.append((self.name, at))


async def test_deadlines_come_in_their_order() -> None:
    """Whatever the order they were set in, each comes once."""
    calls: list[tuple[str, float]] = []
    deadlines, now = Deadlines(), asyncio.get_running_loop().time()
    times = {name: now + 0.001 * place for place, name in enumerate("bdca")}
    for name in "abcd":
        deadlines.set(Timed(name, calls), times[name])
    await eventually(lambda: len(calls) == 4, 5)
    assert calls == sorted(times.items(), key=lambda item: item[1])
    assert len(deadlines) == 0


async def test_a_deadline_that_was_replaced_or_forgotten_does_not_come() -> None:
    """The last word counts; what was set before is passed over when its time has come."""
    calls: list[tuple[str, float]] = []
    deadlines, now = Deadlines(), asyncio.get_running_loop().time()
    moved, forgotten, last = Timed("moved", calls), Timed("forgotten", calls), Timed("last", calls)
    deadlines.set(moved, now + 0.01)
    deadlines.set(moved, now + 0.001)
    deadlines.set(forgotten, now + 0.005)
    deadlines.forget(forgotten)
    deadlines.set(last, now + 0.02)
    await eventually(lambda: ("last", now + 0.02) in calls, 5)
    assert calls == [("moved", now + 0.001), ("last", now + 0.02)]


async def test_a_deadline_that_is_set_in_a_call_comes_too() -> None:
    """Also when its time has come already."""
    calls: list[tuple[str, float]] = []
    deadlines, now = Deadlines(), asyncio.get_running_loop().time()

    class Again(Timed):
        def timer_fired(self, at: float) -> None:
            super().timer_fired(at)
            if len(self.calls) < 3:
                deadlines.set(self, at)

    deadlines.set(Again("again", calls), now)
    await eventually(lambda: len(calls) == 3, 5)


async def test_nothing_comes_after_the_close() -> None:
    """A socket that is closed calls nobody."""
    calls: list[tuple[str, float]] = []
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    deadlines.set(Timed("never", calls), loop.time())
    deadlines.close()
    passed = asyncio.Event()
    loop.call_later(0.01, passed.set)
    await passed.wait()
    assert calls == []
