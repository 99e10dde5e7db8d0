"""Ending background tasks."""

from __future__ import annotations

import asyncio
from typing import Any


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel `tasks` and wait until they have ended.

    Asks more than once: a cancellation that arrives while redis-py waits for a reply can come out of it as a
    timeout of its own, which a loop that survives errors survives too.
    """
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.2)
