"""A router on a Redis of its own, for tests of the router."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as aioredis

from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.router import Router
from egress.topics.store import TopicStore
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.servers import connect
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import (
    Event,
    MessagePublished,
    SubscriptionEnded,
    SubscriptionGranted,
)
from schemas.ids import uuid7
from tests.support.redis_server import RedisServer, redis_server

ROOM, PRESENCE = "channel:room", "channel:presence-room"


def entry(topic: str, event: Event, session: str = "", gateway: str = "", user: str = "") -> Entry:
    """A new outbound entry."""
    now = time.time_ns() // 1_000_000
    return Entry.of(
        event,
        id=uuid7(now, os.urandom(10)),
        ts=now,
        topic=topic,
        session=session,
        gateway=gateway,
        user=user,
    )


def message(topic: str, n: int, **fields: Any) -> Entry:
    return entry(topic, MessagePublished(frame={"n": n}, **fields))


def grant(topic: str, session: str, gateway: str, user: str = "", **fields: Any) -> Entry:
    return entry(topic, SubscriptionGranted(**fields), session, gateway, user)


def ended(topic: str, session: str, gateway: str, user: str = "") -> Entry:
    return entry(topic, SubscriptionEnded(reason="closed"), session, gateway, user)


class World:
    """A router on a Redis of its own, with a clock that the test moves."""

    def __init__(self, settings: Settings, client: aioredis.Redis, appender: Appender) -> None:
        self.settings, self.client, self.keys = settings, client, settings.keys
        self.now = time.time_ns() // 1_000_000
        self.store = TopicStore(client, settings, lambda: self.now, assurance=Assurance.of(settings.ack))
        self.directory = Directory(client, self.keys)
        self.streams = DeliveryStreams(client, appender, settings)
        self.sessions = SessionRecord(client, self.keys, 30)
        self.router = Router(self.store, self.directory, self.streams, self.sessions)
        self._last = 0

    async def route(self, *entries: Entry) -> list[Outcome]:
        """Hand `entries` over in one batch."""
        return await self.router.handle(self.received(*entries))

    def received(self, *entries: Entry) -> list[Received]:
        """`entries`, read from a log behind all that was read before."""
        first, self._last = self._last + 1, self._last + len(entries)
        return [Received(0, f"{n}-0", one) for n, one in enumerate(entries, first)]

    async def raw(self, gateway: str) -> list[Entry]:
        """All that was delivered to `gateway`."""
        items: Any = await self.client.xrange(self.keys.delivery(gateway))
        return [Entry.from_fields(fields) for _, fields in items]

    async def take(self, gateway: str) -> list[tuple[str, dict[str, Any]]]:
        """(type, payload) of what was delivered since the last look."""
        out = [(one.type.removeprefix("delivery."), one.payload()) for one in await self.raw(gateway)]
        await self.client.delete(self.keys.delivery(gateway))
        return out


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    async with redis_server() as server, world_on(server, **options) as made:
        yield made


@asynccontextmanager
async def world_on(server: RedisServer, **options: Any) -> AsyncIterator[World]:
    """On a server that the test has."""
    settings = Settings(redis_url=server.url, secret="s" * 32, api_port=0, **options)
    client = connect(settings)
    appender = Appender(client)
    await appender.start()
    try:
        yield World(settings, client, appender)
    finally:
        await appender.stop()
        await client.aclose()


def places(delivered: list[tuple[str, dict[str, Any]]]) -> list[tuple[int, int]]:
    """(offset, n) of the publications."""
    return [(data["offset"], data["frame"]["n"]) for kind, data in delivered if kind == "publication"]
