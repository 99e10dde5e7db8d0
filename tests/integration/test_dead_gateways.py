"""Gateways that fall silent: who notices, who ends their connections, and what one finds that was only asleep."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.reaper import Reaper
from egress.routing.notes import SessionListed, SessionUnlisted
from ingress.deliveries import Deliveries
from ingress.hub import Hub
from runtime.bus.appender import Appender
from runtime.bus.servers import connect
from runtime.gateways import LOST, Gateways
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    MessageReceived,
    PresenceDelivery,
    SessionDisconnected,
    SessionOpened,
    SessionResumed,
    SubscribeRequested,
)
from schemas.ids import of_disconnection
from tests.integration.processors_world import World as ProcessorsWorld
from tests.integration.processors_world import processors_world, running
from tests.support.defects import Defect
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually


class World:
    """Reapers with a clock that the test moves, and what gateways and processors leave for them."""

    def __init__(self, server: RedisServer, settings: Settings, client: aioredis.Redis, appender: Appender) -> None:
        self.server, self.settings, self.client, self.keys = server, settings, client, settings.keys
        self.now = 1000.0
        self.appender = appender
        self.gateways = Gateways(client, settings.keys)
        self.sessions = SessionRecord(client, settings.keys, settings.resume_seconds)
        self.directory = Directory(client, settings.keys)
        self.reaper = self.another_reaper()

    def another_reaper(self) -> Reaper:
        """A reaper of another egress process."""
        streams = DeliveryStreams(self.client, self.appender, self.settings)
        return Reaper(self.settings, self.client, self.directory, streams, lambda: 5, lambda: self.now)

    async def pass_time(self, seconds: int, *alive: str) -> None:
        """Let a reaper look each second, while the gateways that are `alive` show it."""
        for _ in range(seconds):
            self.now += 1
            for gateway in alive:
                assert await self.gateways.beat(gateway)
            await asyncio.sleep(0.001)  # Signs of life are told apart by the millisecond of their time.
            await self.reaper.look()

    async def open(self, session: str, gateway: str, user: str = "") -> None:
        """A session begins at a gateway."""
        event = SessionOpened(transport="webtransport", origin="", path="/", address="")
        opened = Entry.of(event, id=f"opened {session}", ts=1, session=session, user=user, gateway=gateway)
        assert await self.sessions.open(opened, asked_at=1, resumable=True)

    async def inbound(self, session: str) -> list[Entry]:
        """The log of `session`, in order."""
        found: Any = await self.client.xrange(self.keys.inbound_of(session))
        return [one for one in (Entry.from_fields(fields) for _, fields in found) if one.session == session]


@asynccontextmanager
async def made() -> AsyncIterator[World]:
    async with redis_server() as server:
        settings = Settings(redis_url=server.url, secret="s" * 32, partitions=4, gateway_id="g1")
        client = connect(settings)
        appender = Appender(client)
        await appender.start()
        try:
            yield World(server, settings, client, appender)
        finally:
            await appender.stop()
            await client.aclose()


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with made() as world:
        yield world


async def test_a_silent_gateways_connections_are_ended_once_each_and_after_all_else(w: World) -> None:
    """Each session gets one session.disconnected behind its other entries; those of a living gateway go on."""
    await w.gateways.register("g1")
    await w.gateways.register("g2")
    sessions = [f"s{n}" for n in range(500)]
    for session in sessions:
        await w.open(session, "g1")
    await w.open("other", "g2")
    said = Entry.of(MessageReceived(frame={}), id="said", ts=1, session="s7", user="7", gateway="g1")
    await w.appender.append(w.keys.inbound_of("s7"), said)
    await w.pass_time(9, "g2")
    assert [entry.type for entry in await w.inbound("s7")] == ["session.opened", "message.received"]
    await w.pass_time(15, "g2")
    for session in sessions:
        *before, end = await w.inbound(session)
        assert (len(before), end.type) == (1 + (session == "s7"), "session.disconnected")
        assert (end.id, end.gateway, end.ts) == (of_disconnection(session, 1), "g1", 5)
        said_of_it = {"generation": 1, "code": 0, "reason": "gateway_lost", "by": "gateway", "final": False}
        assert end.payload() == said_of_it
    assert [entry.type for entry in await w.inbound("other")] == ["session.opened"]
    assert set(await w.gateways.beats()) == {"g2"}


async def test_reapers_side_by_side_end_a_connection_once(w: World) -> None:
    """Two egress processes that find the same gateway lost write one end for each of its connections."""
    await w.gateways.register("g1")
    for n in range(300):
        await w.open(f"s{n}", "g1")
    other = w.another_reaper()
    for _ in range(12):
        w.now += 1
        await asyncio.gather(w.reaper.look(), other.look())
    assert [len(await w.inbound(f"s{n}")) for n in range(300)] == [2] * 300


async def test_connections_of_a_gateway_that_is_on_no_list_are_ended_too(w: World) -> None:
    """A session that begins long after its gateway was forgotten loses its connection as well."""
    await w.open("late", "forgotten")
    await w.pass_time(9)
    assert len(await w.inbound("late")) == 1
    await w.pass_time(3)
    assert [entry.type for entry in await w.inbound("late")] == ["session.opened", "session.disconnected"]
    assert await w.client.keys("*:connected*") == []


async def test_a_connection_that_ended_before_is_not_ended_again(w: World) -> None:
    """What the gateway itself had logged as ended needs nobody else, and nothing of it comes after."""
    await w.gateways.register("g1")
    await w.open("s1", "g1")
    event = SessionDisconnected(generation=1, code=0, reason="", by="client", final=True)
    await w.sessions.disconnect(Entry.of(event, id="d", ts=1, session="s1", gateway="g1"), event)
    await w.pass_time(12)
    assert [entry.type for entry in await w.inbound("s1")] == ["session.opened", "session.closed"]


async def test_a_gateway_is_on_the_list_until_nothing_of_it_is_listed(w: World) -> None:
    """The directory's sessions keep it there; then it goes, and its delivery streams with it."""
    await w.gateways.register("g1")
    await w.open("s1", "g1")
    await w.directory.take([SessionListed("s1", "7", "g1", 1, 1, "1-0"), SessionListed("s2", "7", "g2", 1, 1, "1-1")])
    stream = w.keys.delivery("g1")
    await w.client.xadd(stream, {"a": "b"})
    await w.client.xadd(w.keys.datagrams(stream), {"a": "b"})
    await w.pass_time(40)
    assert await w.gateways.beats() == {"g1": LOST}
    await w.directory.take([SessionUnlisted("s1", "2-0")])
    await w.pass_time(12)
    assert await w.gateways.beats() == {}
    assert await w.client.exists(stream, w.keys.datagrams(stream)) == 0


async def test_a_delivery_stream_that_is_made_again_has_an_end(w: World) -> None:
    """What the router still delivers to a gateway that was forgotten a moment ago does not stay for ever."""
    now = 0.0
    streams = DeliveryStreams(w.client, w.appender, w.settings, lambda: now)
    late = Entry.of(PresenceDelivery(change="left", member={}), id="late", ts=1, topic="channel:presence-a")
    key = w.keys.delivery("g1")
    await streams.append([("g1", late)])
    await w.client.unlink(key)
    await streams.append([("g1", late)])
    assert await w.client.ttl(key) == -1
    now += 60
    await streams.tend()
    assert await w.client.ttl(key) > 0


async def test_a_stream_that_is_made_again_ends_even_if_the_router_does_first(w: World) -> None:
    """Once a gateway is known to be gone nothing is put off."""
    streams = DeliveryStreams(w.client, w.appender, w.settings, lambda: 0.0)
    late = Entry.of(PresenceDelivery(change="left", member={}), id="late", ts=1, topic="channel:presence-a")
    key = w.keys.delivery("g1")
    streams.living(["g1"])
    await streams.append([("g1", late)])
    await w.client.unlink(key)
    streams.living([])
    await streams.append([("g1", late)])
    assert await w.client.ttl(key) > 0


async def test_a_sign_of_life_at_the_last_moment_saves_a_gateway(w: World) -> None:
    """One that beats after it was looked at and before it is declared lost is not lost."""
    await w.gateways.register("g1")
    seen = (await w.gateways.beats())["g1"]
    await asyncio.sleep(0.002)
    assert await w.gateways.beat("g1")
    assert not await w.gateways.declare_lost("g1", seen)
    assert await w.gateways.declare_lost("g1", (await w.gateways.beats())["g1"])
    assert not await w.gateways.beat("g1")
    assert not await w.gateways.register("g1")


async def test_while_redis_is_away_nobody_is_lost(w: World) -> None:
    """After an outage of many leases gateways have a whole one to show that they are there."""
    await w.gateways.register("g1")
    await w.pass_time(8)
    await w.server.kill()
    for _ in range(30):
        w.now += 1
        with pytest.raises(RedisError):
            await w.reaper.look()
    await w.server.restart()
    await w.pass_time(10)
    assert await w.gateways.beat("g1")
    await w.pass_time(11)
    assert not await w.gateways.beat("g1")


async def test_requests_behind_a_sessions_end_are_not_granted(tmp_path: Path) -> None:
    """A gateway that woke up may log them there: no topic gets a subscriber that nobody would take away again."""
    over = SessionDisconnected(generation=1, code=0, reason="gateway_lost", by="gateway", final=True)
    async with processors_world(tmp_path) as world, running(world, "auth", "channels"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")), id="asked")
        connected = world.keys.connected(world.keys.inbound_of("s1"), "gw")
        await eventually(lambda: world.client.hexists(connected, "s1"))
        await world.append("s1", over, id="over")
        await eventually(lambda: _ended(world))
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")), id="asked")
        await world.append("s1", SubscribeRequested(channel="news"))
        await world.append("s1", SessionResumed(generation=2))
        await world.append("s1", over, id="over")
        await eventually(lambda: world.settled("auth", "channels"))
        assert await _ended(world)
        assert await world.published("channel:news") == []
        assert await world.client.exists(connected) == 0


async def _ended(world: ProcessorsWorld) -> bool:
    told = [entry.type for entry in await world.published("session:s1") if entry.type != "session.restored"]
    return told == ["session.authenticated", "session.ended"]


@asynccontextmanager
async def gateway(w: World, renamed: list[str]) -> AsyncIterator[Deliveries]:
    """The part of a gateway that shows signs of life."""
    settings = w.settings.model_copy(update={"gateway_lease_seconds": 1.0})
    deliveries = Deliveries(settings, w.client, Hub(), Telemetry.from_settings(settings, "ingress"), renamed.append)
    await deliveries.start()
    try:
        yield deliveries
    finally:
        await deliveries.stop()


async def test_a_gateway_that_was_declared_lost_goes_on_under_another_name(w: World) -> None:
    """Its sessions are over, it registers anew, and its old name is left to the reaper."""
    renamed: list[str] = []
    async with gateway(w, renamed) as deliveries:
        beats = await w.gateways.beats()
        assert beats.keys() == {"g1"}
        # A sign of life may come in between: then it was not lost yet.
        await eventually(lambda: _declared_lost(w))
        (name,) = await eventually(lambda: renamed)
        assert name.startswith("g1-")
        assert (await w.gateways.beats()).keys() == {"g1", name}
        before = (await w.gateways.beats())[name]
        await eventually(lambda: _later(w, name, before))
        assert deliveries.problem() is None
    assert await w.gateways.beats() == {"g1": LOST}


async def test_a_gateway_that_redis_forgot_begins_anew(w: World) -> None:
    """When Redis lost its data nobody has its sessions any more."""
    renamed: list[str] = []
    async with gateway(w, renamed):
        await w.client.flushall()
        (name,) = await eventually(lambda: renamed)
        assert (await w.gateways.beats()).keys() == {name}


async def test_a_name_that_is_taken_is_not_taken_over(w: World) -> None:
    """A gateway that is started again after a crash is another one, also under a configured id."""
    await w.gateways.register("g1")
    renamed: list[str] = []
    async with gateway(w, renamed):
        (name,) = renamed
        assert name != "g1"
        assert (await w.gateways.beats()).keys() == {"g1", name}


async def test_a_paused_redis_costs_no_gateway_its_name(w: World) -> None:
    """Signs of life that come late because nobody answered are no silence."""
    renamed: list[str] = []
    async with gateway(w, renamed):
        os.kill(w.server.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            await eventually(lambda: time.monotonic() - stopped > 1.5)
        finally:
            os.kill(w.server.pid, signal.SIGCONT)
        before = (await w.gateways.beats())["g1"]
        await eventually(lambda: _later(w, "g1", before))
    assert renamed == []


async def test_a_gateway_shows_signs_of_life_after_a_defect(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and the others are told again that the gateway lives before they hold it for lost."""
    renamed: list[str] = []
    async with gateway(w, renamed):
        with capture_logs() as logs, monkeypatch.context() as broken:
            broken.setattr(Gateways, "beat", Defect())
            await eventually(lambda: any(one["event"] == "gateway.heartbeat_broken" for one in logs))
        before = (await w.gateways.beats())["g1"]
        await eventually(lambda: _later(w, "g1", before))
    assert renamed == []


async def test_a_gateway_reads_under_its_new_name_whoever_fails_on_that(w: World) -> None:
    """Whoever is told of the name may have a defect: what is delivered under it arrives all the same."""
    defect = Defect()
    async with gateway(w, []) as deliveries:
        deliveries._renamed = defect
        await eventually(lambda: _declared_lost(w))
        await eventually(lambda: defect.times)
        told = Entry.of(PresenceDelivery(change="left", member={}), id="p", ts=1, topic="channel:presence-a")
        await DeliveryStreams(w.client, w.appender, w.settings).append([(deliveries._id, told)])
        await eventually(lambda: deliveries._delivered != "0")
        assert deliveries.problem() is None


async def test_a_gateway_that_may_be_behind_asks_until_it_knows(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect as it asks is no answer, and its reader goes on."""
    defect = Defect()
    async with gateway(w, []) as deliveries:
        deliveries._delivered = "1-0"
        with monkeypatch.context() as broken:
            broken.setattr(w.client, "xrange", defect)
            asked = asyncio.create_task(deliveries._was_cut(w.keys.delivery("g1")))
            await eventually(lambda: defect.times)
        assert await asked


async def test_a_defect_does_not_end_the_reaper(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said; what comes behind it is done all the same, and what failed is done by the next look."""
    await w.open("s1", "g0")
    event = SessionDisconnected(generation=1, code=0, reason="", by="client", final=False)
    await w.sessions.disconnect(Entry.of(event, id="d", ts=1, session="s1", gateway="g0"), event)
    await w.client.zadd(w.keys.disconnected(w.keys.inbound_of("s1")), {"s1": 0})
    await w.gateways.register("g1")
    with capture_logs() as logs:
        with monkeypatch.context() as broken:
            broken.setattr(Gateways, "beats", Defect())
            await w.reaper.start()
            await eventually(lambda: _is_over(w, "s1"))
        await _declared_lost(w)
        await eventually(lambda: any(one["event"] == "gateway.forgotten" for one in logs))
    assert "reaper.broken" in {one["event"] for one in logs}
    assert w.reaper.problem() is None
    await w.reaper.stop()


async def test_while_looking_fails_nobody_is_lost(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a defect either: what was not seen was no silence."""
    await w.gateways.register("g1")
    await w.pass_time(8)
    with monkeypatch.context() as broken:
        broken.setattr(Gateways, "beats", Defect())
        w.now += 1
        with pytest.raises(RuntimeError):
            await w.reaper.look()
    await w.pass_time(8)
    assert await w.gateways.beat("g1")


async def _is_over(w: World, session: str) -> bool:
    return (await w.inbound(session))[-1].type == "session.closed"


async def _declared_lost(w: World) -> bool:
    return await w.gateways.declare_lost("g1", (await w.gateways.beats())["g1"])


async def _later(w: World, name: str, before: float) -> bool:
    return (await w.gateways.beats())[name] > before
