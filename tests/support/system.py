"""The whole system as real processes: redis-server, Laravel, gateways, processors, egress."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import redis.asyncio as aioredis
from redis.exceptions import RedisError
from sqlalchemy import create_engine, text

from runtime.settings import Settings
from schemas.entry import Entry
from schemas.keys import Keys
from schemas.signing import Signer
from tests.support.bus import observer
from tests.support.client import Client, SocketClient, TransportName
from tests.support.cluster import RedisCluster
from tests.support.laravel import REQUEST_TIMEOUT_S, LaravelApp, laravel_app
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import PATIENCE, eventually

ROOT: Final = Path(__file__).resolve().parents[2]
SECRET: Final = "a secret that only tests and their services know"
START_TIMEOUT_S: Final = 30.0 * PATIENCE
PARTITIONS: Final = 4


class Service:
    """One service process; `kill` ends it as a crash would, `start` brings it back on the same ports."""

    #: What `python -m` runs.
    module = "console.cli"

    def __init__(self, name: str, arguments: Iterable[str], env: dict[str, str], health: str, folder: Path) -> None:
        self.name = name
        self._arguments = list(arguments)
        self.env = env
        self._health = health
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def health(self) -> str:
        """The base URL of its operator listener."""
        return self._health

    @property
    def pid(self) -> int:
        """Of the running process; raises RuntimeError when there is none."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it says that it is ready; raises RuntimeError with its output when it does not."""
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                *self._arguments,
                cwd=ROOT,
                env=os.environ | self.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
            while True:
                if self._process.returncode is not None:
                    raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log()}")
                try:
                    if (await http.get(f"{self._health}/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} is not ready:\n{self.log()}")
                await asyncio.sleep(0.05)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal and give its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        return await asyncio.wait_for(process.wait(), 60)

    async def kill(self) -> None:
        """SIGKILL."""
        await self.stop(signal.SIGKILL)

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one series of its /metrics, 0 when there is none yet."""
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
            body = (await http.get(f"{self._health}/metrics")).text
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in body.splitlines():
            series, _, value = line.rpartition(" ")
            metric, _, rest = series.partition("{")
            if metric == name and wanted <= set(rest.rstrip("}").split(",") if rest else []):
                return float(value)
        return 0.0

    def log(self, size: int = 6000) -> str:
        """The end of its output."""
        return self._log.read_text(errors="replace")[-size:] if self._log.exists() else ""


class System:
    """Everything that runs, and what a test asks of it."""

    def __init__(
        self, folder: Path, redis: RedisServer, redis_url: str, laravel: LaravelApp, services: dict[str, Service]
    ) -> None:
        """`redis`: one server of what `redis_url` names."""
        self.folder = folder
        self.redis = redis
        self.laravel = laravel
        self.services = services
        self.keys = Keys("hg:", PARTITIONS)
        self.log: aioredis.Redis = observer(Settings(redis_url=redis_url, _env_file=None))
        self.api_url = ""
        self.console_url = ""
        self.gateway_urls: list[str] = []

    @property
    def gateways(self) -> list[Service]:
        """The gateway processes, in order."""
        return [service for name, service in self.services.items() if name.startswith("ingress")]

    @asynccontextmanager
    async def client(self, gateway: int = 0, *, origin: str | None = None) -> AsyncIterator[Client]:
        """A client with a session on a gateway."""
        async with await Client.connect(self.gateway_urls[gateway], origin=origin) as client:
            yield client

    @asynccontextmanager
    async def party(
        self, transport: TransportName, gateway: int = 0, *, origin: str | None = None
    ) -> AsyncIterator[Client | SocketClient]:
        """A client with a session on a gateway, over either transport."""
        kind: type[Client | SocketClient] = Client if transport == "webtransport" else SocketClient
        async with await kind.connect(self.gateway_urls[gateway], origin=origin) as client:
            yield client

    async def post(self, target: str, body: Any, *, signer: Signer | None = None) -> httpx.Response:
        """A signed call of the HTTP API."""
        return await self._call("POST", target, json.dumps(body).encode(), signer)

    async def get(self, target: str) -> httpx.Response:
        """A signed call of the HTTP API."""
        return await self._call("GET", target, b"", None)

    async def _call(self, method: str, target: str, body: bytes, signer: Signer | None) -> httpx.Response:
        signer = signer or Signer("default", SECRET.encode())
        headers = signer.headers(method, target, body, timestamp=int(time.time()), nonce=os.urandom(12).hex()) | {
            "Content-Type": "application/json"
        }
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
            return await http.request(method, self.api_url + target, content=body, headers=headers)

    async def entries(self, *, datagrams: bool = False) -> list[Entry]:
        """Every entry of the inbound log, by its time in the log; with `datagrams` those of the datagram log."""
        found = []
        for partition in range(PARTITIONS):
            log = self.keys.inbound(partition)
            stored: Any = await self.log.xrange(self.keys.datagrams(log) if datagrams else log)
            for stream_id, fields in stored:
                milliseconds, _, sequence = stream_id.decode().partition("-")
                found.append((int(milliseconds), int(sequence), Entry.from_fields(fields)))
        return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]

    def archived(self) -> list[str]:
        """The ids in the archive, inbound and outbound, in no order."""
        engine = create_engine(f"sqlite:///{self.folder / 'archive.db'}")
        with engine.connect() as connection:
            rows = [str(row[0]) for row in connection.execute(text("SELECT id FROM entries"))]
        engine.dispose()
        return rows

    def spans(self) -> list[dict[str, Any]]:
        """The spans that all services have exported so far."""
        path = self.folder / "traces.jsonl"
        if not path.exists():
            return []
        # The last line may be on its way to the file.
        whole, _, _ = path.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    async def settled(self, within: float = 20.0) -> None:
        """Wait until every group has handled all there is."""
        logs = [make(p) for p in range(PARTITIONS) for make in (self.keys.inbound, self.keys.outbound)]
        logs += [Keys.trail(log) for log in logs]

        async def done() -> bool:
            try:
                # What one log's entries led to may be on another that was looked at before.
                return (handled := await all_handled()) is not None and handled == await all_handled()
            except RedisError:  # A server that was lost, or is being replaced.
                return False

        async def all_handled() -> dict[str, bytes] | None:
            """The last entry of each log, if all that there are were handled."""
            last = {}
            for log in logs:
                if not await self.log.exists(log):
                    continue
                last[log] = (await self.log.xinfo_stream(log))["last-generated-id"]
                for group in await self.log.xinfo_groups(log):
                    if group["pending"] or group["last-delivered-id"] != last[log]:
                        return None
            return last

        await eventually(done, within)


def environment(folder: Path, redis_url: str, laravel_url: str) -> dict[str, str]:
    """What all services share."""
    return {
        "HEADGATE_REDIS_URL": redis_url,
        "HEADGATE_PARTITIONS": str(PARTITIONS),
        "HEADGATE_SECRET": SECRET,
        "HEADGATE_LARAVEL_URL": laravel_url,
        "HEADGATE_ALLOWED_ORIGINS": "http://localhost:8080",
        "HEADGATE_DATA_DIR": str(folder),
        "HEADGATE_ARCHIVE_URL": f"sqlite+aiosqlite:///{folder / 'archive.db'}",
        "HEADGATE_TRACES": f"file:{folder / 'traces.jsonl'}",
        "HEADGATE_LOG_FORMAT": "json",
        "HEADGATE_LEASE_SECONDS": "3",
        "HEADGATE_AUTH_TIMEOUT": "20",
    }


@asynccontextmanager
async def system(
    *,
    gateways: int = 1,
    cluster: RedisCluster | None = None,
    application: Callable[[str, str], AbstractAsyncContextManager[LaravelApp]] | None = None,
    only: str = "",
    console: bool = False,
    **settings: str,
) -> AsyncIterator[System]:
    """A running system until the block ends; `settings` are HEADGATE_… values by their lower-case names.

    `cluster`: what it runs on in place of a server of its own. `application` makes another one than tests/laravel_app,
    out of the URLs of Redis and of the HTTP API. `only`: which processors run, all by default. `console`: whether
    the web console runs too, told of all others.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-", ignore_cleanup_errors=True)))
        redis = cluster.servers[0] if cluster else await stack.enter_async_context(redis_server())
        redis_url = cluster.url if cluster else redis.url
        api, processors = free_port(), free_port()
        api_url = f"http://127.0.0.1:{api}"
        made = application(redis_url, api_url) if application else laravel_app(SECRET)
        laravel = await stack.enter_async_context(made)
        env = environment(folder, redis_url, laravel.url)
        env |= {f"HEADGATE_{name.upper()}": value for name, value in settings.items()}
        services: dict[str, Service] = {}
        running = System(folder, redis, redis_url, laravel, services)

        def add(name: str, command: str, own: dict[str, str], health_port: int, *options: str) -> None:
            services[name] = Service(name, [command, *options], env | own, f"http://127.0.0.1:{health_port}", folder)

        running.api_url = api_url
        options = ["--only", only] if only else []
        add("egress", "egress", {"HEADGATE_API_PORT": str(api)}, api)
        add("processors", "processors", {"HEADGATE_PROCESSORS_HTTP_PORT": str(processors)}, processors, *options)
        for number in range(gateways):
            port, operator = free_port(), free_port()
            running.gateway_urls.append(f"https://127.0.0.1:{port}/")
            own = {"HEADGATE_INGRESS_PORT": str(port), "HEADGATE_INGRESS_HTTP_PORT": str(operator)}
            add(f"ingress-{number}", "ingress", own | {"HEADGATE_GATEWAY_ID": f"gateway-{number}"}, operator)
        if console:
            port = free_port()
            running.console_url = f"http://127.0.0.1:{port}"
            told = ",".join(service.health for service in services.values())
            own = {"HEADGATE_CONSOLE_PORT": str(port), "HEADGATE_CONSOLE_SERVICES": told}
            add("console", "console", own, port)
        stack.push_async_callback(running.log.aclose)
        for service in services.values():
            stack.push_async_callback(service.stop)
        await asyncio.gather(*(service.start() for service in services.values()))
        yield running
