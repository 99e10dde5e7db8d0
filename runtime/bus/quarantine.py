"""Who is handled beside whom, of what may have ended its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Quarantine:
    """Suspects: those that nobody is known to have ended at go together; one that somebody has goes alone.

    There is one for all groups of a process, since they end together: what was in hand then has one attempt more.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._together = 0
        self._nobody = asyncio.Event()
        self._nobody.set()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Beside others that are handled together, while nobody is alone."""
        async with self._turn:
            self._together += 1
            self._nobody.clear()
        try:
            yield
        finally:
            self._together -= 1
            if not self._together:
                self._nobody.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Beside no other suspect; whoever comes meanwhile waits, each in turn."""
        async with self._turn:
            await self._nobody.wait()
            yield
