"""Honest clients in a process of their own: they ping at a steady pace and write down how long each answer took.

`python -m tests.attacks.prober URL FILE SESSIONS` writes a line for each answered ping, in seconds of the monotonic
clock, which all processes of a machine share: when it was due, how much later this process got to send it, and how long
the answer took from then. Pings are due at a fixed pace also while answers stay away; the sessions take turns.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from pathlib import Path
from typing import Final, TextIO

from tests.support.client import Client

INTERVAL_S: Final = 0.015


async def probe(url: str, file: Path, sessions: int) -> None:
    """Ping until a session ends."""
    sent: dict[str, tuple[float, float]] = {}
    with file.open("w", buffering=1) as lines:
        clients = [await _connect(url) for _ in range(sessions)]
        for client in clients:
            await client.authenticate("honest")
        await asyncio.wait(
            [
                asyncio.create_task(_ping(clients, sent)),
                *(asyncio.create_task(_write_down(client, sent, lines)) for client in clients),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )


async def _write_down(client: Client, sent: dict[str, tuple[float, float]], lines: TextIO) -> None:
    while True:
        pong = await client.wait(lambda frame: frame.get("type") == "pong", within=math.inf)
        due, at = sent.pop(pong["id"])
        lines.write(f"{due:.6f} {at - due:.6f} {time.monotonic() - at:.6f}\n")


async def _connect(url: str) -> Client:
    """A session, as soon as the gateway is there."""
    while True:
        try:
            return await Client.connect(url)
        except (TimeoutError, ConnectionError):
            continue


async def _ping(clients: list[Client], sent: dict[str, tuple[float, float]]) -> None:
    due, number = time.monotonic(), 0
    while not any(client.transport.is_disconnected for client in clients):
        due, number = due + INTERVAL_S, number + 1
        await asyncio.sleep(due - time.monotonic())
        sent[str(number)] = (due, time.monotonic())
        await clients[number % len(clients)].send({"type": "ping", "id": str(number)})


if __name__ == "__main__":
    asyncio.run(probe(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
