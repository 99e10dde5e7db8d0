"""Processes under measurement: started with what they need, pinned to cores, their CPU time read from the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx
import redis.asyncio as aioredis
from redis.exceptions import RedisError

ROOT: Final = Path(__file__).resolve().parents[2]
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")

Ready = Callable[[], Awaitable[bool]]


class Process:
    """One process, which ends with the bench however that ends."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        """It runs in `folder`, where its output goes to `NAME.log`; `env` is added to the environment."""
        self.name = name
        self._command = [sys.executable, str(ROOT / "console" / "tied.py"), str(os.getpid()), *command]
        self._folder = folder
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("HEADGATE_")} | dict(
            env or {}
        )
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, ready: Ready) -> None:
        """Start it and wait until `ready`; raises RuntimeError with its output when it ends or takes too long."""
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._folder,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await ready():
            if self._process.returncode is not None:
                raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} was not ready within {START_TIMEOUT_S} s:\n{self.log()}")
            await asyncio.sleep(0.05)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal, and with SIGKILL if that is not heeded in time."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def pin(self, cores: Collection[int]) -> None:
        """Let all of its threads, and those of its children, run on `cores` only."""
        for pid in self._family():
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cores)

    def cpu_seconds(self) -> float:
        """CPU time of it and its children so far, user and system, in steps of 10 ms (proc_pid_stat(5))."""
        return sum(map(_cpu_seconds, self._family()))

    def resident_bytes(self) -> int:
        """Memory that it has now (proc_pid_statm(5))."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _family(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def log(self, size: int = 4000) -> str:
        """The end of its output."""
        return self._log.read_text(errors="replace")[-size:] if self._log.exists() else ""


def _cpu_seconds(pid: int) -> float:
    # Fields 14 and 15; the name before them may hold anything, but ends with the last parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_port_pair() -> int:
    """A number that is free on 127.0.0.1 for UDP and for TCP, as a gateway takes both."""
    while True:
        port = free_port(socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers_http(url: str) -> Ready:
    """Ready when a GET of `url` is answered with 200."""

    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False

    return ready


def says(process: Process, words: str) -> Ready:
    """Ready when `words` are in the output of `process`."""

    async def ready() -> bool:
        return words in process.log()

    return ready


def redis_process(folder: Path, port: int) -> tuple[Process, Ready]:
    """A redis-server that answers an append when it is on disk. Raises RuntimeError when there is none on PATH."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise RuntimeError("redis-server is not on PATH: install it (Debian: redis-server)")
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]

    async def ready() -> bool:
        client = aioredis.Redis(port=port)
        try:
            return bool(await client.ping())
        except RedisError:
            return False
        finally:
            await client.aclose()

    return Process("redis", [binary, *arguments], folder), ready
