"""A real redis-server with a directory of its own, for tests."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE

START_TIMEOUT_S = 20.0 * PATIENCE


class RedisServer:
    """A redis-server process; its port and data stay the same over kill() and restart()."""

    def __init__(
        self,
        folder: Path,
        port: int,
        options: dict[str, str],
        arguments: tuple[str, ...] = (),
        binary: str | None = None,
    ) -> None:
        self._folder = folder
        self._binary = binary
        self._arguments = arguments
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self.port = port
        self.bus_port = int(options.get("cluster-port", 0))
        """Where it speaks with the other servers of its cluster, if it is in one."""
        self.url = f"redis://127.0.0.1:{port}/0"

    @property
    def pid(self) -> int:
        """Of the running process; raises RuntimeError when it was killed."""
        if self._process is None:
            raise RuntimeError("redis-server is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers PING; raises RuntimeError with its log when it does not."""
        binary = self._binary or shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("redis-server is not on PATH: install it (Debian: redis-server)")
        arguments = [
            *self._arguments,
            *(part for name, value in self._options.items() for part in (f"--{name}", *value.split(" "))),
        ]
        log = self._folder / "redis.log"
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                binary, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            await asyncio.wait_for(self._answers(self._process), START_TIMEOUT_S)
        except (TimeoutError, RuntimeError) as error:
            await self.kill()
            text = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"redis-server did not start:\n{text}") from error

    async def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def restart(self) -> None:
        """Kill it if it runs, then start it again on the same port with the same data."""
        await self.kill()
        await self.start()

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        client = aioredis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=5)
        try:
            while True:
                if process.returncode is not None:
                    raise RuntimeError(f"redis-server ended with {process.returncode}")
                try:
                    await client.ping()
                    return
                except RedisError:
                    await asyncio.sleep(0.02)
        finally:
            await client.aclose()


@asynccontextmanager
async def redis_server(*, binary: str | None = None, **options: str | int) -> AsyncIterator[RedisServer]:
    """An empty redis-server on a free loopback port until the block ends; `binary` in place of the one on PATH.

    `options` are of redis.conf, `_` for `-`. What was appended survives a kill(), since the system has it; nothing
    waits for a disk that others use as well.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-redis-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        port = free_port()
        settings = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        settings |= {key.replace("_", "-"): str(value) for key, value in options.items()}
        server = RedisServer(folder, port, settings, binary=binary)
        await server.start()
        try:
            yield server
        finally:
            await server.kill()


@asynccontextmanager
async def redis_sentinel(name: str, master_port: int) -> AsyncIterator[RedisServer]:
    """A Sentinel that alone decides about the master on `master_port`, within about three seconds."""
    with tempfile.TemporaryDirectory(prefix="headgate-sentinel-", ignore_cleanup_errors=True) as folder:
        port, configuration = free_port(), Path(folder) / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {name} 127.0.0.1 {master_port} 1\n"
            f"sentinel down-after-milliseconds {name} 2000\nsentinel failover-timeout {name} 4000\n"
        )
        server = RedisServer(Path(folder), port, {}, (str(configuration), "--sentinel"))
        await server.start()
        try:
            yield server
        finally:
            await server.kill()
