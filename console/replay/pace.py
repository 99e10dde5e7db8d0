"""How fast a recording is gone through: as it happened, a multiple of that, or as fast as it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from runtime.recording import Record


async def paced(
    batches: AsyncIterator[Sequence[Record]], speed: float | None, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Sequence[Record]]:
    """`batches` so that each record comes when its time has come; gaps are as long as they were, over `speed`."""
    began: tuple[float, int] | None = None
    source: Any = batches
    async with aclosing(source):
        async for batch in source:
            if speed is None:
                yield batch
                continue
            for record in batch:
                if began is None:
                    began = monotonic(), record.at
                due = began[0] + (record.at - began[1]) / 1000 / speed
                if (wait := due - monotonic()) > 0:
                    await asyncio.sleep(wait)
                yield [record]
