"""A whole gateway in this process, clients of it, and what a router would deliver to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis.asyncio as aioredis

from ingress import app
from ingress.app import Listener
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthRequested,
)
from tests.support.client import Client, Party
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

AnyParty = TypeVar("AnyParty", bound=Party[Any])


def settings_for(server: RedisServer, folder: Path, **more: object) -> Settings:
    values = {"redis_url": server.url, "secret": "s" * 32, "data_dir": folder, "ingress_port": 0} | more
    return Settings.model_validate({"ingress_http_port": 0, "partitions": 2} | values)


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Listener]:
    """A whole gateway in this process until the block ends; gives its listener."""
    components, _ = app.build(settings)
    for component in components:
        await component.start()
    try:
        listener = components[-1]
        assert isinstance(listener, Listener)
        yield listener
    finally:
        for component in reversed(components):
            await component.stop()


async def logged(redis: aioredis.Redis, key: str) -> list[Entry]:
    """All entries of a stream."""
    found: Any = await redis.xrange(key)
    return [Entry.from_fields(fields) for _, fields in found]


async def delivered(redis: aioredis.Redis, settings: Settings, *entries: Entry, keep: int | None = None) -> None:
    """Append to the gateway's delivery stream, at once, of which no more than the last `keep` entries are kept then."""
    pipeline = redis.pipeline(transaction=True)
    for entry in entries:
        flat = entry.fields()
        pipeline.xadd(settings.keys.delivery(settings.gateway_id), dict(zip(flat[::2], flat[1::2], strict=True)))
    if keep is not None:
        pipeline.xtrim(settings.keys.delivery(settings.gateway_id), maxlen=keep, approximate=False)
    await pipeline.execute()


async def admitted(server: RedisServer, settings: Settings, url: str) -> Client:
    """A client of protocol 1 that is authenticated, by a delivery as the router writes it."""
    return await admit(await Client.connect(url), settings)


async def admit(client: AnyParty, settings: Settings) -> AnyParty:
    """The same, of a client that is connected."""
    redis: aioredis.Redis = connect(settings)

    async def asked() -> dict[str, Entry]:
        logs = [await logged(redis, settings.keys.inbound(partition)) for partition in range(settings.partitions)]
        return {one.id: one for log in logs for one in log if one.type == AuthRequested.TYPE and one.id not in before}

    before: set[str] = set()
    before = set(await asked())
    await client.send({"type": "auth", "token": "t", "protocol": 1})
    (entry,) = (await eventually(asked, 10)).values()
    request = entry.event()
    assert isinstance(request, AuthRequested)
    verdict = entry.follow(0, AuthenticatedDelivery(user=None, stream=request.stream), topic=f"session:{entry.session}")
    await delivered(redis, settings, verdict)
    client.session = (await client.wait_type("auth_success"))["sessionId"]
    await redis.aclose()
    return client
