"""One gateway under load: redis-server, the gateway, the floors, and who stands in for the rest."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from sys import executable
from typing import Final

import httpx
import orjson
import redis.asyncio as aioredis
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect

from bench.support.echo import LISTENING
from bench.support.machine import CORES, GENERATOR_CORE, SERVER_CORE, pin_self
from bench.support.processes import Process, Ready, answers_http, free_port, free_port_pair, redis_process, says
from bench.support.router import StandInRouter
from bench.support.session import LoadSession
from bench.support.system import open_in_turn
from schemas.keys import Keys

CHANNEL: Final = "private-bench"
_KEYS: Final = Keys("hg:", 16)
#: What keeps clients honest would keep a bench from measuring: no bound but those of memory.
_UNLIMITED: Final = {
    "HEADGATE_FRAMES_PER_SECOND": "1e9",
    "HEADGATE_BYTES_PER_SECOND": "1e12",
    "HEADGATE_DATAGRAMS_PER_SECOND": "1e9",
    "HEADGATE_MAX_HANDSHAKES": "0",
    "HEADGATE_MAX_CONNECTIONS_PER_ADDRESS": "0",
    "HEADGATE_PING_INTERVAL": "3600",
    "HEADGATE_LOG_LEVEL": "warning",
}


class GatewaySystem:
    """What runs, by name; a gateway can be started anew, so that nothing of the last measurement is left in it."""

    def __init__(self, folder: Path, log: aioredis.Redis, env: dict[str, str]) -> None:
        self.log = log
        self.router = StandInRouter(log, _KEYS)
        self.processes: dict[str, Process] = {}
        self.port = 0
        """Of the gateway's WebTransport listener, and of its WebSocket one."""
        self.ports: dict[str, int] = {}
        """Of the floors."""
        self._folder = folder
        self._env = env
        self._operator = 0

    async def start_floor(self, name: str) -> None:
        """Start the floor server `bench.support.NAME`."""
        self.ports[name] = free_port(socket.SOCK_DGRAM)
        command = [executable, "-m", f"bench.support.{name}", str(self.ports[name]), str(self._folder)]
        process = self.processes[name] = Process(name, command, self._folder)
        await process.start(says(process, LISTENING))
        process.pin([SERVER_CORE])

    async def start_gateway(self, workers: int = 0) -> None:
        """Start a new gateway in the place of the last one: alone on its core, or `workers` processes on all."""
        await self.stop("ingress")
        self.port, self._operator = free_port_pair(), free_port()
        env = {
            "HEADGATE_INGRESS_PORT": str(self.port),
            "HEADGATE_INGRESS_HTTP_PORT": str(self._operator),
            "HEADGATE_INGRESS_WORKERS": str(workers or 1),
        }
        command = [executable, "-m", "console.cli", "ingress"]
        process = self.processes["ingress"] = Process("ingress", command, self._folder, self._env | env)
        await process.start(_all_ready(self._operator, workers or 1))
        process.pin(CORES if workers else [SERVER_CORE])

    async def stop(self, name: str) -> None:
        """End one process, if it runs."""
        if name in self.processes:
            await self.processes[name].stop()

    async def stop_all(self) -> None:
        """End the gateway and the floors."""
        for name in [name for name in self.processes if name != "redis"]:
            await self.stop(name)

    async def sessions(self, count: int, floor: str = "", path: str = "/") -> list[LoadSession]:
        """So many sessions on the gateway, authenticated and subscribed; or on a floor server."""
        opened = [LoadSession(self.ports[floor] if floor else self.port) for _ in range(count)]
        for session in opened:
            session.name, session.channel = "user", CHANNEL
        if floor:
            await open_in_turn(opened, authenticate=False, path=path)
            return opened
        async with self.router.answering():
            await open_in_turn(opened, authenticate=True)
        return opened

    async def websockets(self, count: int) -> list[ClientConnection]:
        """So many authenticated WebSocket sessions."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        opened = []
        async with self.router.answering():
            for _ in range(count):
                client = await connect(f"wss://127.0.0.1:{self.port}/", ssl=context, proxy=None, ping_interval=None)
                await client.send(orjson.dumps({"type": "auth", "token": "user", "protocol": 1}).decode())
                answer = orjson.loads(await client.recv())
                if answer["type"] != "auth_success":
                    raise ConnectionError(f"auth was answered with {answer}")
                opened.append(client)
        return opened

    async def clear_log(self) -> None:
        """Empty the inbound log and Redis's file, so that neither memory nor disk fills up with what was measured."""
        for partition in range(_KEYS.partitions):
            log = _KEYS.inbound(partition)
            await self.log.unlink(log, _KEYS.datagrams(log))
        await self.log.bgrewriteaof()
        while True:
            state = await self.log.info("persistence")
            if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
                return
            await asyncio.sleep(0.05)

    async def counted(self, name: str) -> dict[str, float]:
        """The gateway's counter `name`, by the value of its one label."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"http://127.0.0.1:{self._operator}/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {next(iter(one.labels.values())): one.value for one in samples if one.name == f"{name}_total"}


def _all_ready(operator: int, workers: int) -> Ready:
    ready = [answers_http(f"http://127.0.0.1:{operator + index}/health/ready") for index in range(workers)]

    async def all_ready() -> bool:
        return all([await one() for one in ready])

    return all_ready


@asynccontextmanager
async def gateway_system() -> AsyncIterator[GatewaySystem]:
    """redis-server until the block ends, beside the generator; gateway and floors are started as they are needed."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True))
        )
        port = free_port()
        redis, answers = redis_process(folder, port)
        stack.push_async_callback(redis.stop)
        await redis.start(answers)
        redis.pin([GENERATOR_CORE])
        pin_self([GENERATOR_CORE])
        log = aioredis.Redis(port=port)
        stack.push_async_callback(log.aclose)
        # Written anew between measurements, never while one runs.
        await log.config_set("auto-aof-rewrite-percentage", "0")
        env = _UNLIMITED | {
            "HEADGATE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "HEADGATE_SECRET": secrets.token_hex(32),
            "HEADGATE_DATA_DIR": str(folder),
        }
        running = GatewaySystem(folder, log, env)
        running.processes["redis"] = redis
        stack.push_async_callback(running.stop_all)
        yield running
