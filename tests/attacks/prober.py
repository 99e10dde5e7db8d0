"""An honest client in a process of its own: pings at a steady pace and writes down how long each answer took.

`python -m tests.attacks.prober URL FILE` writes a line for each answered ping, in seconds of the monotonic clock, which
all processes of a machine share: when it was due, how much later this process got to send it, and how long the answer
took from then. Pings are due at a fixed pace also while answers stay away.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from tests.support.client import Client

INTERVAL_S: Final = 0.015


async def probe(url: str, file: Path) -> None:
    """Ping until the session ends."""
    sent: dict[str, tuple[float, float]] = {}
    with file.open("w", buffering=1) as lines:
        async with await _connect(url) as client:
            await client.authenticate("honest")
            pings = asyncio.create_task(_ping(client, sent))
            while not pings.done():
                pong = await client.wait_type("pong")
                due, at = sent.pop(pong["id"])
                lines.write(f"{due:.6f} {at - due:.6f} {time.monotonic() - at:.6f}\n")


async def _connect(url: str) -> Client:
    """A session, as soon as the gateway is there."""
    while True:
        try:
            return await Client.connect(url)
        except (TimeoutError, ConnectionError):
            continue


async def _ping(client: Client, sent: dict[str, tuple[float, float]]) -> None:
    due, number = time.monotonic(), 0
    while not client.transport.is_disconnected:
        due, number = due + INTERVAL_S, number + 1
        await asyncio.sleep(due - time.monotonic())
        sent[str(number)] = (due, time.monotonic())
        await client.send({"type": "ping", "id": str(number)})


if __name__ == "__main__":
    asyncio.run(probe(sys.argv[1], Path(sys.argv[2])))
