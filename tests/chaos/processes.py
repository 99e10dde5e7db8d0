"""Processes that faults befall, and what starts them again."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from runtime.tasks import cancel
from tests.chaos import clocks
from tests.support.waiting import eventually

ROOT: Final = Path(__file__).resolve().parents[2]
#: A process that ended is started again after so long, in seconds.
RESTART_S: Final = 0.3
#: Longer than a machine with other work takes to start all of them at once.
START_TIMEOUT_S: Final = 120.0


class Supervised:
    """One process; while it is kept, it is started again whenever it ends."""

    def __init__(self, name: str, arguments: Sequence[str], env: Mapping[str, str], health: str, folder: Path) -> None:
        """`arguments` follow `python`; `health` is a URL that answers 200 when the process is ready."""
        self.name = name
        self.starts = 0
        self._arguments = arguments
        self._env = env
        self._health = health
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._held = False

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def log(self) -> Path:
        """Its output."""
        return self._log

    def keep(self) -> None:
        """Start it, and again whenever it ends."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    def hold(self) -> None:
        """Start it no more, until `release`."""
        self._held = True

    def release(self) -> None:
        """Let it start again."""
        self._held = False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def limit_files(self, size: int) -> None:
        """Let it write no file beyond `size` bytes (RLIMIT_FSIZE; -1: any size), if it runs."""
        if self.pid is not None:
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))

    async def ready(self, within: float = START_TIMEOUT_S) -> bool:
        """Whether it says that it is ready, in time."""
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            try:
                await eventually(lambda: self._answers(http), within)
            except AssertionError:
                return False
        return True

    async def stop(self) -> None:
        """End it for good."""
        await cancel(self._keeper)
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
            clocks.forget(process.pid)

    async def _answers(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(self._health)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _keep(self) -> None:
        while True:
            if not self._held:
                self.starts += 1
                await self._run()
            await asyncio.sleep(RESTART_S)

    async def _run(self) -> None:
        # The output comes over a pipe, so that a limit on files concerns no log.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            cwd=ROOT,
            env=os.environ | self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        with self._log.open("ab") as log:
            while data := await self._process.stdout.read(65_536):
                log.write(data)
        status = await self._process.wait()
        clocks.forget(self._process.pid)
        with self._log.open("a") as log:
            log.write(f"-- ended with {status}\n")
