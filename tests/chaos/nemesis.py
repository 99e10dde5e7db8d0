"""Lets a schedule of faults loose, and measures how long the system takes after each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from tests.chaos.client import ChaosClient
from tests.chaos.history import History
from tests.chaos.schedule import Planned
from tests.chaos.world import World

#: Longest wait for a recovery before the next fault comes, in seconds.
RECOVERY_S: Final = 25.0
#: Between two looks.
_LOOK_S: Final = 0.05


class Nemesis:
    """Plays a schedule, one fault after the other."""

    def __init__(self, world: World, clients: Sequence[ChaosClient], history: History) -> None:
        self._world = world
        self._clients = clients
        self._history = history

    async def play(self, planned: Sequence[Planned], until: float) -> None:
        """The faults that begin before `until` on the monotonic clock; each is healed when this returns."""
        for n, one in enumerate(planned):
            if time.monotonic() > until:
                return
            self._history.record("fault", n=n, name=one.name, target=one.target)
            async with one.fault(self._world, one.target):
                await asyncio.sleep(one.seconds)
            self._history.record("heal", n=n, name=one.name, target=one.target)
            if one.waits:
                await self._recovered(n)
            await asyncio.sleep(one.gap)

    async def _recovered(self, n: int) -> None:
        """Wait until the application has answered every client something that it began to ask after the heal."""
        healed = time.monotonic()
        while not all(client.answered > healed or client.is_away for client in self._clients):
            if time.monotonic() - healed > RECOVERY_S:
                return
            await asyncio.sleep(_LOOK_S)
        self._history.record("recovered", n=n, seconds=round(time.monotonic() - healed, 3))
