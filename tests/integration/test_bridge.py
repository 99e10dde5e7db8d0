"""The bridge from pub/sub, with a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest
import redis.asyncio as aioredis
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError

from egress.api.publications import Publication
from egress.api.publisher import Outcome, Publisher
from egress.bridge import MAX_HELD, Bridge
from runtime.bus.servers import connect
from runtime.settings import Settings
from tests.support.api import Api, running_api
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


@pytest.fixture
async def api(server: RedisServer) -> AsyncIterator[Api]:
    async with running_api(server, pubsub_bridge=True) as made:
        await listening(made.client, 1)
        yield made


async def listening(client: aioredis.Redis, processes: int) -> None:
    """Wait until so many processes are subscribed to both patterns."""

    async def subscribed() -> bool:
        try:
            listeners = await client.client_list("pubsub")
        except ConnectionError:  # One that a server did not survive.
            return False
        return sum(one["psub"] == "2" for one in listeners) == processes

    await eventually(subscribed)


async def through(api: Api) -> bool:
    """Publish, and say whether anything that was published has come through."""
    await api.client.publish("channel:room", "1")
    return bool(await frames(api, "channel:room"))


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("headgate_bridge_messages_total", {"result": result}) or 0.0


def more(result: str, by: int = 1) -> Callable[[], bool]:
    """Whether `result` was counted so often since this was called."""
    before = counted(result)
    return lambda: counted(result) - before == by


async def frames(api: Api, topic: str) -> list[Any]:
    return [entry.payload()["frame"] for entry in await api.logged(topic) if entry.type == "message.published"]


async def test_publications_become_what_the_api_makes_of_them(api: Api) -> None:
    """A broadcast to the channel, a message to the session; both reach the gateway of whom they are for."""
    await api.open("s1", "7", "room")
    for name, data in (("channel:room", {"n": 1}), ("session:s1", {"type": "hi"}), ("session:s1", "text")):
        await api.client.publish(name, json.dumps(data))

    async def delivered() -> bool:
        return len(await api.delivered("g1", "publication")) == 3

    await eventually(delivered)
    assert await frames(api, "channel:room") == [{"type": "channel_broadcast", "channel": "room", "data": {"n": 1}}]
    assert await frames(api, "session:s1") == [{"type": "hi"}, {"type": "message", "data": "text"}]
    assert (await api.http.get("/health/ready")).json() == {"status": "ready", "problems": [], "warnings": []}


async def test_a_session_that_is_not_live_gets_nothing(api: Api) -> None:
    """As over HTTP; it is counted, and nothing is logged."""
    unknown = more("session_unknown")
    await api.client.publish("session:nobody", "{}")
    await eventually(unknown)
    assert await api.logged("session:nobody") == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("channel:room", b"{"),
        ("channel:room", b'"\xff"'),
        ("channel:room", b"[" * 200 + b"]" * 200),
        ("channel:a b", b"{}"),
        ("channel:", b"{}"),
        ("channel:client-x", b"{}"),
        ("channel:channel:room", b"{}"),
        ("session:", b"{}"),
        ("session:" + "s" * 300, b"{}"),
        (b"channel:\xff", b"{}"),
    ],
)
async def test_what_is_no_publication_is_counted_and_dropped(api: Api, name: str | bytes, data: bytes) -> None:
    """The next one goes through all the same."""
    invalid = more("invalid")
    await api.client.publish(name, data)
    await api.client.publish("channel:room", b"1")
    await eventually(lambda: frames(api, "channel:room"))
    assert [frame["data"] for frame in await frames(api, "channel:room")] == [1]
    assert invalid()


async def test_each_publication_is_in_the_log_once_whatever_listens(api: Api) -> None:
    """Of several processes one writes, in order."""
    async with running_api(api.server, pubsub_bridge=True) as other:
        await listening(api.client, 2)
        for n in range(200):
            assert await api.client.publish("channel:room", str(n)) == 2
        await eventually(lambda: _all(api, 200))
        assert [frame["data"] for frame in await frames(other, "channel:room")] == list(range(200))


async def _all(api: Api, number: int) -> bool:
    return len(await frames(api, "channel:room")) == number


async def test_another_process_takes_over_from_one_that_is_gone(server: RedisServer) -> None:
    """The second was only listening; when the first ends, it writes what is published from then on."""
    async with running_api(server, pubsub_bridge=True) as first:
        await listening(first.client, 1)
        lease = first.keys.lease(first.keys.outbound(0), "bridge")
        holder = await first.client.get(lease)
        second = running_api(server, pubsub_bridge=True)
        api = await second.__aenter__()
        await listening(api.client, 2)
        assert await api.client.get(lease) == holder
    try:
        await eventually(lambda: through(api))
        assert await api.client.get(lease) not in (None, holder)
    finally:
        await second.__aexit__(None, None, None)


async def test_it_listens_again_after_a_restart_of_redis(api: Api) -> None:
    """While it does not listen it warns; then publications come through as before."""
    await api.server.kill()

    async def warned() -> bool:
        return any("pub/sub" in one for one in (await api.http.get("/health/ready")).json()["warnings"])

    await eventually(warned)
    await api.server.start()
    await listening(api.client, 1)

    await eventually(lambda: through(api))
    assert not await warned()


class Held(Publisher):
    """Publishes nothing until it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.published: list[Publication] = []

    async def publish(self, publications: Sequence[Publication], **_: Any) -> list[Outcome]:
        await self.may.wait()
        self.published += publications
        return ["id"] * len(publications)


async def test_what_waits_is_bounded(settings: Settings) -> None:
    """Beyond 16 MiB publications are dropped and counted; what was taken is written when it stops."""
    client, publisher = connect(settings), Held()
    bridge = Bridge(settings, client, publisher)
    await bridge.start()
    await listening(client, 1)
    data, too_long = b'"' + b"x" * 250_000 + b'"', b'"' + b"x" * 270_000 + b'"'
    full, long = more("queue_full", 100 - MAX_HELD // len(data)), more("too_long")
    await client.publish("channel:room", too_long)
    for _ in range(100):
        await client.publish("channel:room", data)
    await eventually(full)
    assert long()
    assert publisher.published == []
    stopping: Coroutine[Any, Any, None] = bridge.stop()
    task = asyncio.create_task(stopping)
    publisher.may.set()
    await task
    assert len(publisher.published) == MAX_HELD // len(data)
    await client.aclose()
