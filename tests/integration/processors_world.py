"""The processors' surroundings: a real Redis, an application on a socket, the gateway's side of the log."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from processors.app import build
from runtime.http import HttpServer
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import DatagramReceived, Event, MessageReceived
from schemas.ids import uuid7
from schemas.keys import Keys
from schemas.sealing import Sealer
from schemas.signing import Verifier
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

SECRET = "a-secret-of-the-tests-and-of-nothing-else"
PARTITIONS = 4


@dataclass
class Call:
    """A request that the application received."""

    path: str
    headers: dict[str, str]
    body: Any


Reply = Callable[[Call], Awaitable[Response] | Response]


@dataclass
class Application:
    """An application whose answers are set by the test; it refuses what is not signed."""

    calls: list[Call] = field(default_factory=list)
    replies: dict[str, Reply] = field(default_factory=dict)
    _server: HttpServer | None = None
    _port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = FastAPI()
        app.add_api_route("/{path:path}", self._answer, methods=["POST"], response_model=None)
        self._server = HttpServer(app, "127.0.0.1", self._port)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def bodies(self, path: str) -> list[Any]:
        return [call.body for call in self.calls if call.path == path]

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        verifier = Verifier({"default": SECRET.encode()})
        verifier.verify("POST", request.url.path, raw, request.headers.get, now=int(time.time()))
        call = Call(request.url.path, dict(request.headers), await request.json() if raw else None)
        self.calls.append(call)
        reply = self.replies.get(call.path)
        if reply is None:
            return Response(status_code=204)
        answer = reply(call)
        return answer if isinstance(answer, Response) else await answer


@dataclass
class World:
    """A log, an application, and the gateway that the test plays."""

    redis: RedisServer
    client: aioredis.Redis
    app: Application
    settings: Settings

    @property
    def keys(self) -> Keys:
        return self.settings.keys

    async def append(self, session: str, event: Event, *, user: str = "", id: str = "") -> Entry:
        """Write an entry as a gateway does."""
        now = time.time_ns() // 1_000_000
        entry = Entry.of(event, id=id or uuid7(now, os.urandom(10)), ts=now, session=session, user=user, gateway="gw")
        key = self.keys.inbound_of(session)
        await self.write(Keys.datagrams(key) if isinstance(event, DatagramReceived) else key, entry.fields())
        return entry

    async def write(self, key: str, fields: list[bytes]) -> None:
        pairs: Any = dict(zip(fields[::2], fields[1::2], strict=True))
        await self.client.xadd(key, pairs)

    async def entries(self, logs: list[str]) -> list[Entry]:
        return [Entry.from_fields(fields) for key in logs for fields in await self._fields(key)]

    async def published(self, topic: str) -> list[Entry]:
        """What the outbound log holds for `topic`, in order, repeats of an id left out."""
        found = {entry.id: entry for entry in await self.entries([self.keys.outbound_of(topic)])}
        return [entry for entry in found.values() if entry.topic == topic]

    async def frames(self, topic: str) -> list[Any]:
        return [entry.payload().get("frame") for entry in await self.published(topic)]

    def logs(self) -> list[str]:
        inbound = [self.keys.inbound(p) for p in range(PARTITIONS)]
        outbound = [self.keys.outbound(p) for p in range(PARTITIONS)]
        return [*inbound, *map(Keys.datagrams, inbound), *outbound]

    async def pending(self, group: str) -> int:
        """Entries that `group` has in hand."""
        found = [await self.client.xpending(self.keys.inbound(p), group) for p in range(PARTITIONS)]
        return sum(int(one["pending"]) for one in found)

    async def dead(self) -> list[dict[bytes, bytes]]:
        """Every dead letter, whatever its group."""
        return [fields for key in self.logs() for fields in await self._fields(Keys.dead(key))]

    async def _fields(self, key: str) -> list[dict[bytes, bytes]]:
        found: Any = await self.client.xrange(key)
        return [fields for _, fields in found]

    async def settled(self, *groups: str) -> bool:
        """Whether the groups have nothing left to read or to acknowledge."""
        for key in self.logs():
            if not await self.client.exists(key):
                continue
            for info in await self.client.xinfo_groups(key):
                if info["name"].decode() in groups and (info["pending"] or info["lag"] != 0):
                    return False
        return True

    async def replay(self) -> None:
        """Let every group read its logs from the beginning, as if nothing had been acknowledged."""
        for key in self.logs():
            if await self.client.exists(key):
                for info in await self.client.xinfo_groups(key):
                    await self.client.xgroup_setid(key, info["name"], "0")

    def archived(self, columns: str = "stream, id", *, trails: bool = False) -> list[tuple[Any, ...]]:
        """What the archive holds of the logs, or of their trails."""
        path = self.settings.archive_url.removeprefix("sqlite+aiosqlite:///")
        with sqlite3.connect(path) as connection:
            which = "like" if trails else "not like"
            return connection.execute(f"select {columns} from entries where stream {which} '%:trail'").fetchall()

    def sealed(self, session: str, token: str) -> str:
        return Sealer(SECRET.encode()).seal(token, session, secrets.token_bytes(12))


@asynccontextmanager
async def processors_world(folder: Path) -> AsyncIterator[World]:
    """A log, an application and nothing else yet; the archive is to be made under `folder`."""
    app = Application()
    await app.start()
    async with redis_server() as redis:
        client = aioredis.Redis.from_url(redis.url)
        settings = Settings(
            _env_file=None,
            redis_url=redis.url,
            secret=SecretStr(SECRET),
            partitions=PARTITIONS,
            laravel_url=app.url,
            laravel_timeout=2.0,
            lease_seconds=3.0,
            drain_seconds=1.0,
            max_attempts=3,
            processors_http_port=0,
            archive_url=f"sqlite+aiosqlite:///{folder}/archive/archive.db",
        )
        try:
            yield World(redis, client, app, settings)
        finally:
            await client.aclose()
            await app.stop()


@asynccontextmanager
async def running(world: World, *only: str) -> AsyncIterator[HttpServer]:
    """The processors in this process, until the block ends; gives their operator listener."""
    components, health = build(world.settings, only or None)
    started = []
    try:
        for component in components:
            started.append(component)
            await component.start()
        health.serving = True
        http = components[-1]
        assert isinstance(http, HttpServer)
        yield http
    finally:
        health.serving = False
        for component in reversed(started):
            await component.stop()


def message(text: str, *, frame_id: str | None = None, channel: str | None = None) -> MessageReceived:
    frame: dict[str, Any] = {"type": "message" if channel else "say", "text": text}
    if channel:
        frame |= {"channel": channel, "data": text}
    if frame_id:
        frame["id"] = frame_id
    return MessageReceived(frame=frame, channel=channel, member=bool(channel), stream=4, frame_id=frame_id)


def echo(call: Call) -> Response:
    return JSONResponse({"echo": call.body["text"]})


HANDLE, VERIFY, AUTHORIZE, EVENT = (
    "/api/webtransport/handle",
    "/api/auth/verify",
    "/api/webtransport/authorize",
    "/api/webtransport/event",
)


@asynccontextmanager
async def recorded_world(folder: Path) -> AsyncIterator[World]:
    """A world in which ten messages of two sessions, s0 and s1, were handled, and left a trail."""

    async def trails() -> bool:
        found = await made.entries([Keys.trail(made.keys.inbound(p)) for p in range(made.keys.partitions)])
        return len(found) == 10

    async with processors_world(folder) as made:
        made.app.replies[HANDLE] = echo
        await made.client.hset(made.keys.meta(), "partitions", str(made.keys.partitions))
        async with running(made, "laravel"):
            for n in range(10):
                await made.append(f"s{n % 2}", message(str(n)), user=str(n % 2))
            await eventually(lambda: made.settled("laravel"))
            await eventually(trails)
        yield made
