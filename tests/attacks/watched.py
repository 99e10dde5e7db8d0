"""A gateway whose event loop is watched: `python -m tests.attacks.watched ingress`, in place of `headgate ingress`.

Writes to the file that WATCH_FILE names a line for each time that the loop was held: when that ended, in seconds of the
monotonic clock, for how long, and for how long by Python's search for garbage. Only time that the process ran for
counts: what the machine gives to others is not the gateway's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Final, TextIO

import ingress.app
from console.cli import main
from ingress.server.workers import Place
from runtime.settings import Settings

#: Between two looks (seconds).
INTERVAL_S: Final = 0.01
#: Shorter holds are not written down (seconds).
SHORTEST_S: Final = 0.003

_run = ingress.app.run


class Watch:
    """Looks at a steady pace how late it is, and how much of that the loop's thread has used."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._due, self._used = time.monotonic(), time.thread_time()
        self._collecting = self._began = 0.0
        gc.callbacks.append(self._collected)
        self.look()

    def look(self) -> None:
        """Write down a hold, and come again."""
        now, used = time.monotonic(), time.thread_time()
        held = min(now - self._due, used - self._used)
        if held > SHORTEST_S:
            collecting = min(held, self._collecting)
            self._lines.write(f"{now:.6f} {held - collecting:.6f} {collecting:.6f}\n")
        self._due, self._used, self._collecting = now + INTERVAL_S, used, 0.0
        self._loop.call_later(INTERVAL_S, self.look)

    def _collected(self, phase: str, info: object) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._began


async def run(settings: Settings, place: Place | None = None) -> None:
    """Run the gateway and watch it."""
    Watch(lines)
    await _run(settings, place)


if __name__ == "__main__":
    ingress.app.run = run
    with Path(os.environ["WATCH_FILE"]).open("w", buffering=1) as lines:
        main()
