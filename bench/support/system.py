"""Everything that runs while a path is measured: redis-server, the application, the services, the echo server."""

from __future__ import annotations

import asyncio
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import executable
from types import MappingProxyType
from typing import Final

import redis.asyncio as aioredis

from bench.support.echo import LISTENING
from bench.support.processes import Process, answers_http, free_port, free_port_pair, redis_process, says
from bench.support.session import LoadSession
from schemas.entry import Entry
from schemas.events import MessagePublished
from schemas.keys import Keys
from schemas.topics import channel_topic

#: Members of a pair join one channel: what the first sends, the second receives.
PAIRS: Final = 50
_OPENING_AT_ONCE: Final = 10

Pair = tuple[LoadSession, LoadSession]


@dataclass(frozen=True, slots=True)
class System:
    """What runs, by name, and the ports that clients connect to."""

    processes: dict[str, Process]
    log: aioredis.Redis
    keys: Keys
    gateway_port: int
    second_port: int
    """Of another gateway, if there is one."""
    echo_port: int

    async def publish(self, channel: str, data: object) -> None:
        """Broadcast to a channel: on the log, as an application may."""
        topic = channel_topic(channel)
        event = MessagePublished(frame={"type": "channel_broadcast", "channel": channel, "data": data})
        entry = Entry.of(event, id=secrets.token_hex(16), ts=time.time_ns() // 1_000_000, topic=topic)
        fields = entry.fields()
        await self.log.xadd(self.keys.outbound_of(topic), dict(zip(fields[::2], fields[1::2], strict=True)))


@asynccontextmanager
async def system(
    *, second_gateway: bool = False, settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[System]:
    """A running system until the block ends, with the settings that Headgate has by default and these."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True))
        )
        processes: dict[str, Process] = {}
        redis_port, app_port, echo_port = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
        redis, answers = redis_process(folder, redis_port)
        processes["redis"] = redis
        stack.push_async_callback(redis.stop)
        await redis.start(answers)

        uvicorn = ["-m", "uvicorn", "bench.support.application:app", "--port", str(app_port), "--log-level", "warning"]
        application = Process("application", [executable, *uvicorn], folder)
        echo = Process("echo", [executable, "-m", "bench.support.echo", str(echo_port), str(folder)], folder)
        env = {
            "HEADGATE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "HEADGATE_SECRET": secrets.token_hex(32),
            "HEADGATE_LARAVEL_URL": f"http://127.0.0.1:{app_port}",
            "HEADGATE_DATA_DIR": str(folder),
            "HEADGATE_ARCHIVE_URL": f"sqlite+aiosqlite:///{folder / 'archive.db'}",
            **settings,
        }
        gateways = {"ingress": free_port_pair()} | ({"second": free_port_pair()} if second_gateway else {})
        ports = {name: free_port() for name in (*gateways, "processors", "egress")}
        own = {
            **{
                name: {"HEADGATE_INGRESS_PORT": str(port), "HEADGATE_INGRESS_HTTP_PORT": str(ports[name])}
                for name, port in gateways.items()
            },
            "processors": {"HEADGATE_PROCESSORS_HTTP_PORT": str(ports["processors"])},
            "egress": {"HEADGATE_API_PORT": str(ports["egress"])},
        }
        for name, ours in own.items():
            command = "ingress" if name in gateways else name
            processes[name] = Process(name, [executable, "-m", "console.cli", command], folder, env | ours)
        processes |= {"application": application, "echo": echo}
        starts = {name: answers_http(f"http://127.0.0.1:{port}/health/ready") for name, port in ports.items()}
        starts |= {"application": answers_http(f"http://127.0.0.1:{app_port}/"), "echo": says(echo, LISTENING)}
        for name in starts:
            stack.push_async_callback(processes[name].stop)
        await asyncio.gather(*(processes[name].start(ready) for name, ready in starts.items()))
        log = aioredis.Redis(port=redis_port)
        stack.push_async_callback(log.aclose)
        yield System(processes, log, Keys("hg:", 16), gateways["ingress"], gateways.get("second", 0), echo_port)


async def open_in_turn(opening: Sequence[LoadSession], *, authenticate: bool, path: str = "/") -> None:
    """Open sessions a few at a time, as a listener would otherwise ask them to prove their addresses."""
    room = asyncio.Semaphore(_OPENING_AT_ONCE)

    async def one(session: LoadSession) -> None:
        async with room:
            await session.open(path)
            if authenticate:
                await session.ask({"type": "auth", "token": session.name, "protocol": 1}, "auth_success")
                await session.ask({"type": "subscribe", "channel": session.channel}, "subscribed")

    await asyncio.gather(*(one(session) for session in opening))


async def open_pairs(port: int, *, authenticate: bool) -> list[Pair]:
    """PAIRS pairs of sessions on the server at `port`; unless it is the echo server, authenticated and subscribed."""
    pairs = [(LoadSession(port), LoadSession(port)) for _ in range(PAIRS)]
    for number, pair in enumerate(pairs):
        for session, side in zip(pair, "ab", strict=True):
            session.name, session.channel = f"user-{number}{side}", f"private-bench-{number}"
    await open_in_turn([session for pair in pairs for session in pair], authenticate=authenticate)
    return pairs
