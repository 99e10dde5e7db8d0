"""Of what may have ended its process: several together, or one alone."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from runtime.bus.quarantine import Quarantine


class Suspect:
    """Someone who stays inside until it is told to go."""

    def __init__(self, place: AbstractAsyncContextManager[None]) -> None:
        self.is_inside = False
        self._place = place
        self._goes = asyncio.Event()
        self._task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        async with self._place:
            self.is_inside = True
            await self._goes.wait()
        self.is_inside = False

    async def go(self) -> None:
        """Leave."""
        self._goes.set()
        await self._task


async def turns() -> None:
    """Let everybody go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_several_are_together_and_nobody_is_alone_beside_them() -> None:
    """Who wants to be alone waits until the last of them has gone, and whoever comes after that one waits for it."""
    quarantine = Quarantine()
    first, second = Suspect(quarantine.together()), Suspect(quarantine.together())
    await turns()
    assert (first.is_inside, second.is_inside) == (True, True)
    alone = Suspect(quarantine.alone())
    await turns()
    later = Suspect(quarantine.together())
    await first.go()
    await turns()
    assert (alone.is_inside, later.is_inside) == (False, False)
    await second.go()
    await turns()
    assert (alone.is_inside, later.is_inside) == (True, False)
    await alone.go()
    await turns()
    assert later.is_inside
    await later.go()


async def test_those_that_are_alone_take_turns() -> None:
    """One after the other, in the order in which they came."""
    quarantine = Quarantine()
    suspects = [Suspect(quarantine.alone()) for _ in range(3)]
    for place, suspect in enumerate(suspects):
        await turns()
        assert [one.is_inside for one in suspects] == [n == place for n in range(3)]
        await suspect.go()


async def test_whoever_is_ended_while_it_waits_holds_up_nobody() -> None:
    """A process that stops cancels those that wait."""
    quarantine = Quarantine()
    inside, waiting = Suspect(quarantine.together()), Suspect(quarantine.alone())
    await turns()
    waiting._task.cancel()
    await asyncio.wait([waiting._task])
    other = Suspect(quarantine.together())
    await turns()
    assert other.is_inside
    await inside.go()
    await other.go()
