"""A running egress service with its HTTP API on a real listener, and a real Redis behind it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import httpx
import redis.asyncio as aioredis

from egress.app import build
from runtime.bus.appender import Appender
from runtime.bus.servers import connect
from runtime.http import HttpServer
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import Event, SessionAuthenticated, SubscriptionGranted
from schemas.topics import channel_topic, session_topic, user_topic
from tests.support.laravel import REQUEST_TIMEOUT_S
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually


class Api:
    """A running egress service, its caller, and a look at what it does."""

    def __init__(
        self, settings: Settings, client: aioredis.Redis, http: httpx.AsyncClient, server: RedisServer
    ) -> None:
        self.settings, self.client, self.http, self.server = settings, client, http, server
        self.url = str(http.base_url)
        self.keys = settings.keys
        self.appender = Appender(client)

    def signed(self, method: str, target: str, content: bytes = b"") -> dict[str, str]:
        """The headers of a request."""
        now, nonce = int(time.time()), secrets.token_hex(16)
        return self.settings.signer().headers(method, target, content, timestamp=now, nonce=nonce)

    async def call(self, method: str, target: str, body: Any = None, **headers: str) -> httpx.Response:
        """A signed request."""
        content = b"" if body is None else json.dumps(body).encode()
        signed = self.signed(method, target, content)
        if body is not None:
            signed["Content-Type"] = "application/json"
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, target, content=content, headers=signed | extra)

    async def post(self, target: str, body: Any, **headers: str) -> httpx.Response:
        return await self.call("POST", target, body, **headers)

    async def logged(self, topic: str) -> list[Entry]:
        """What the outbound log holds for `topic`."""
        items: Any = await self.client.xrange(self.keys.outbound_of(topic))
        entries = [Entry.from_fields(fields) for _, fields in items]
        return [entry for entry in entries if entry.topic == topic]

    async def delivered(self, gateway: str, kind: str) -> list[Entry]:
        """Deliveries of one type to `gateway`."""
        items: Any = await self.client.xrange(self.keys.delivery(gateway))
        entries = [Entry.from_fields(fields) for _, fields in items]
        return [entry for entry in entries if entry.type == f"delivery.{kind}"]

    async def open(self, session: str, user: str, *channels: str) -> None:
        """A session at gateway g1, authenticated and in `channels`."""

        async def write(topic: str, event: Event) -> None:
            entry = Entry.of(
                event,
                id=secrets.token_hex(8),
                ts=1_700_000_000_000,
                topic=topic,
                session=session,
                user=user,
                gateway="g1",
            )
            await self.appender.append(self.keys.outbound_of(topic), entry)

        async def there(*expected: str) -> bool:
            found = await self.listed(f"?user={user}")
            return any(one["id"] == session and one["channels"] == sorted(expected) for one in found)

        await write(user_topic(user), SubscriptionGranted())
        await write(session_topic(session), SessionAuthenticated(user=user))
        await eventually(there)  # As clients do: they subscribe when they have heard that.
        for channel in channels:
            await write(channel_topic(channel), SubscriptionGranted())
        await eventually(lambda: there(*channels))

    async def listed(self, query: str = "") -> list[dict[str, Any]]:
        sessions: list[dict[str, Any]] = (await self.call("GET", f"/sessions{query}")).json()["sessions"]
        return sessions


@asynccontextmanager
async def running_api(at: RedisServer | None = None, **options: Any) -> AsyncIterator[Api]:
    """With `options` as settings; `at`: the server, in place of one of its own."""
    async with nullcontext(at) if at is not None else redis_server() as server:
        settings = Settings(redis_url=server.url, secret="s" * 32, api_port=0, **options)
        components, health = build(settings)
        started = []
        client = connect(settings)
        try:
            for component in components:
                started.append(component)
                await component.start()
            health.serving = True
            listener = components[-1]
            assert isinstance(listener, HttpServer)
            base = f"http://127.0.0.1:{listener.port}"
            async with httpx.AsyncClient(base_url=base, timeout=REQUEST_TIMEOUT_S) as http:
                api = Api(settings, client, http, server)
                await api.appender.start()
                yield api
                await api.appender.stop()
        finally:
            for component in reversed(started):
                await component.stop()
            await client.aclose()
