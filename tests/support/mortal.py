"""A worker that dies at once when it is given a certain entry, and ends by itself when nothing is left.

`python -m tests.support.mortal REDIS_URL N` handles partitions of 4 for the group `g`; what it handled is appended to
the list `handled`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from runtime.bus.outcomes import Outcome, Received
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.waiting import eventually


async def main(url: str, deadly: int) -> None:
    """Work until the log is empty, or until the end."""
    async with running_bus(bus_settings(url)) as bus:

        async def handle(received: Received) -> Outcome:
            n = received.entry.payload()["frame"]["n"]
            if n == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            await bus.observer.rpush("handled", n)
            return Outcome.done()

        await bus.group(handle)
        await eventually(lambda: _empty(bus), 60)


async def _empty(bus: Bus) -> bool:
    return await bus.backlog() == 0


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
