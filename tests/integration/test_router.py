"""The router over a real Redis: one history per topic, every repeat recognised, nobody told too much."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from egress.app import build
from egress.delivery import LIFE_MS
from egress.operations import Grant, Publish
from egress.router import DATAGRAM_LIFE_MS, DatagramRouter
from egress.topics.store import TopicStore
from runtime.bus.appender import Appender
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.trim import Trimmer
from runtime.stream_app import StreamApplication
from schemas.entry import Entry
from schemas.events import (
    AuthFailed,
    DatagramPublished,
    DisconnectRequested,
    Position,
    SessionAuthenticated,
    SessionDisconnected,
    SessionEnded,
    SessionOpened,
)
from tests.integration.router_world import PRESENCE, ROOM, World, ended, entry, grant, message, places, world
from tests.support.waiting import eventually


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def test_publications_of_a_topic_are_numbered_in_order_for_every_gateway(w: World) -> None:
    """Two gateways with subscribers get the same offsets of one epoch; a third one nothing."""
    await w.route(grant(ROOM, "a", "g1"), grant(ROOM, "b", "g2"), grant("channel:other", "c", "g3"))
    for gateway in ("g1", "g2", "g3"):
        await w.take(gateway)
    outcomes = await w.route(message(ROOM, 1), message("channel:other", 9), message(ROOM, 2, exclude="a"))
    assert outcomes == [Outcome.done()] * 3
    first, second = await w.take("g1"), await w.take("g2")
    assert first == second
    assert places(first) == [(1, 1), (2, 2)]
    assert {data["epoch"] for _, data in first} == {first[0][1]["epoch"]}
    assert first[1][1]["exclude"] == "a"
    assert places(await w.take("g3")) == [(1, 9)]


async def test_a_redelivered_batch_gives_identical_deliveries(w: World) -> None:
    """A batch that is handled again changes no topic and appends the same entries, byte by byte."""
    batch = [
        entry("session:a", SessionAuthenticated(user="7"), "a", "g1", "7"),
        grant(PRESENCE, "a", "g1", "7", frame_id="f"),
        message(PRESENCE, 1),
        grant(PRESENCE, "b", "g1", "8"),
        message(PRESENCE, 2),
        message("user:7", 3),
    ]
    await w.route(*batch)
    first = await w.raw("g1")
    await w.client.delete(w.keys.delivery("g1"))
    await w.route(*batch)
    again = await w.raw("g1")
    joiner = next(n for n, one in enumerate(first) if one.type == "delivery.subscribed")
    assert [one.id for one in again] == [one.id for one in first]
    # The first in a presence channel now sees those that came meanwhile, and is told of them all the same.
    assert [one for n, one in enumerate(again) if n != joiner] == [one for n, one in enumerate(first) if n != joiner]
    assert again[joiner].payload()["offset"] == first[joiner].payload()["offset"] == 0
    assert await w.client.hgetall(w.keys.topic(PRESENCE, "gateways")) == {b"g1": b"2"}
    assert await w.client.llen(w.keys.topic(PRESENCE, "history")) == 2


async def test_a_repeat_is_recognised_for_the_window_and_forgotten_later(w: World) -> None:
    """An id keeps its offset for one window at least, and the memory of it is dropped after two without a repeat."""
    await w.route(grant(ROOM, "a", "g1"))
    old = message(ROOM, 1)
    await w.route(old)
    window = w.settings.dedup_seconds * 1000
    w.now += window - 1
    await w.route(message(ROOM, 2), old)
    w.now += window // 2
    await w.route(message(ROOM, 3), old)
    assert places(await w.take("g1")) == [(1, 1), (2, 2), (1, 1), (3, 3), (1, 1)]
    for n in (4, 5):
        w.now += window
        await w.route(message(ROOM, n))
    assert not await w.client.hexists(w.keys.topic(ROOM, "seen_before"), old.id)
    assert not await w.client.hexists(w.keys.topic(ROOM, "seen"), old.id)
    assert 0 < await w.client.pttl(w.keys.topic(ROOM, "seen")) <= 2 * window


async def test_what_is_tried_again_for_longer_than_the_window_is_still_a_repeat(w: World) -> None:
    """Each repeat begins the time anew, or what could not be delivered for so long would get another offset at last."""
    await w.route(grant(ROOM, "a", "g1"))
    batch = [message(ROOM, 1), grant(ROOM, "b", "g2"), ended(ROOM, "c", "g2")]
    await w.route(*batch)
    for _ in range(8):
        w.now += w.settings.dedup_seconds * 1000 * 3 // 4
        await w.route(*batch, message(ROOM, 2))
    assert {place for place in places(await w.take("g1")) if place[1] == 1} == {(1, 1)}
    assert await w.client.hgetall(w.keys.topic(ROOM, "gateways")) == {b"g1": b"1", b"g2": b"1"}


async def test_a_repeat_that_begins_its_time_anew_is_outlived_by_its_topic(w: World) -> None:
    """Also where nobody is subscribed: a repeat must not meet a new epoch, in which it would be published again."""
    only = message(ROOM, 1)
    await w.route(only)
    state, seen = w.keys.topic(ROOM, "state"), w.keys.topic(ROOM, "seen")
    await w.client.pexpire(state, 10_000)
    end = await w.client.pexpiretime(state)
    w.now += w.settings.dedup_seconds * 1000
    await w.route(only)
    assert await w.client.hexists(seen, only.id)
    assert end < await w.client.pexpiretime(seen) <= await w.client.pexpiretime(state)


async def test_the_window_is_counted_by_the_clock_of_redis(w: World) -> None:
    """What a router's own clock says is of no account: a window that was turned too early would be turned for all."""
    before = await w.client.time()
    await TopicStore(w.client, w.settings).run([Publish(ROOM, "one", b"x")])
    after = await w.client.time()
    turned = int((await w.client.hget(w.keys.topic(ROOM, "state"), "turned")) or 0)
    assert _milliseconds(before) <= turned <= _milliseconds(after)


def _milliseconds(time: tuple[int, int]) -> int:
    return time[0] * 1000 + time[1] // 1000


@pytest.mark.parametrize(
    ("position", "recovered", "missed"),
    [
        (("same", 7), True, []),
        (("same", 5), True, [6, 7]),
        (("same", 4), True, [5, 6, 7]),
        (("same", 3), False, []),
        (("same", 8), False, []),
        (("same", -1), False, []),
        (("other", 5), False, []),
        (None, False, []),
    ],
)
async def test_recovery_tells_the_truth(position: tuple[str, int] | None, recovered: bool, missed: list[int]) -> None:
    """Of a history of three, what is missed comes back whole, or the subscriber is told that it cannot."""
    async with world(history_size=3) as w:
        await w.route(grant(ROOM, "a", "g1"), *(message(ROOM, n) for n in range(1, 8)))
        epoch = (await w.take("g1"))[0][1]["epoch"]
        recover = None
        if position is not None:
            recover = Position(epoch=epoch if position[0] == "same" else "other", offset=position[1])
        await w.route(grant(ROOM, "b", "g2", recover=recover))
        ((kind, subscribed),) = await w.take("g2")
        assert kind == "subscribed"
        assert (subscribed["epoch"], subscribed["offset"]) == (epoch, 7)
        assert subscribed["recovered"] is recovered
        assert [one["offset"] for one in subscribed["publications"]] == missed
        assert [one["frame"]["n"] for one in subscribed["publications"]] == missed


async def test_a_repeated_grant_recovers_up_to_where_it_began(w: World) -> None:
    """Publications after a grant are not taken for missed ones when the grant is redelivered with them."""
    await w.route(message(ROOM, 1), message(ROOM, 2))
    epoch: Any = await w.client.hget(w.keys.topic(ROOM, "state"), "epoch")
    batch = [grant(ROOM, "a", "g1", recover=Position(epoch=epoch.decode(), offset=1)), message(ROOM, 3)]
    await w.route(*batch)
    first = await w.take("g1")
    await w.route(*batch)
    assert await w.take("g1") == first
    assert [one["offset"] for one in first[0][1]["publications"]] == [2]
    assert places(first) == [(3, 3)]


async def test_members_join_with_their_first_session_and_leave_with_their_last(w: World) -> None:
    """Two sessions of one user are one member; the others hear of it once each way."""
    ana, bo = {"id": "7", "name": "Ana"}, {"id": "8"}
    await w.route(grant(PRESENCE, "bo", "g2", "8", member=bo))
    await w.take("g2")
    await w.route(grant(PRESENCE, "ana1", "g1", "7", member=ana), grant(PRESENCE, "ana2", "g2", "7", member=ana))
    joined = ("presence", {"change": "joined", "member": ana, "exclude": "ana1"})
    at_first, at_second = await w.take("g1"), await w.take("g2")
    assert [kind for kind, _ in at_first] == ["presence", "subscribed"]
    assert at_first[0] == at_second[0] == joined
    assert [kind for kind, _ in at_second] == ["presence", "subscribed"]
    assert sorted(at_first[1][1]["members"], key=str) == sorted([ana, bo], key=str)
    await w.route(ended(PRESENCE, "ana1", "g1", "7"))
    assert [kind for kind, _ in await w.take("g1")] == ["unsubscribed"]
    assert await w.take("g2") == []
    end = ended(PRESENCE, "ana2", "g2", "7")
    left = ("presence", {"change": "left", "member": ana, "exclude": "ana2"})
    for _ in range(2):  # The second time as a redelivery.
        await w.route(end)
        delivered = await w.take("g2")
        assert [kind for kind, _ in delivered] == ["unsubscribed", "presence"]
        assert delivered[1] == left
    assert await w.client.hkeys(w.keys.topic(PRESENCE, "members")) == [b"8"]


async def test_a_late_repeat_of_a_grant_does_not_bring_it_back(w: World) -> None:
    """What a stale owner repeats after the end leaves no ghost behind."""
    granted = grant(PRESENCE, "a", "g1", "7")
    await w.route(granted, ended(PRESENCE, "a", "g1", "7"))
    await w.take("g1")
    await w.route(granted)
    assert await w.take("g1") == []
    assert await w.store.subscribers(PRESENCE) == []
    assert await w.client.exists(w.keys.topic(PRESENCE, "gateways"), w.keys.topic(PRESENCE, "members")) == 0
    assert await w.client.exists(w.keys.topic("session:a", "channels")) == 0


async def test_a_session_that_moves_is_counted_at_its_new_gateway_only(w: World) -> None:
    """A grant through another gateway replaces the one before."""
    await w.route(grant(ROOM, "a", "g1"), grant(ROOM, "a", "g2"), message(ROOM, 1))
    assert places(await w.take("g1")) == []
    assert places(await w.take("g2")) == [(1, 1)]
    assert await w.client.hgetall(w.keys.topic(ROOM, "gateways")) == {b"g2": b"1"}


async def test_idle_topics_end_by_themselves_and_busy_ones_do_not(w: World) -> None:
    """Without subscribers a topic has a time to live, with one it has none."""
    state, history = w.keys.topic(ROOM, "state"), w.keys.topic(ROOM, "history")
    await w.route(message(ROOM, 1))
    assert 0 < await w.client.pttl(history) <= w.settings.history_seconds * 1000
    assert await w.client.pttl(state) > await w.client.pttl(history)
    await w.route(grant(ROOM, "a", "g1"), message(ROOM, 2))
    assert await w.client.pttl(history) == await w.client.pttl(state) == -1
    await w.route(ended(ROOM, "a", "g1"))
    assert await w.client.pttl(history) > 0
    assert await w.client.pttl(state) > 0


async def test_a_lost_history_has_a_new_epoch(w: World) -> None:
    """When Redis lost a topic, those who come back are told so."""
    await w.route(grant(ROOM, "a", "g1"), message(ROOM, 1))
    epoch = (await w.take("g1"))[0][1]["epoch"]
    await w.client.flushall()
    await w.route(grant(ROOM, "a", "g1", recover=Position(epoch=epoch, offset=1)), message(ROOM, 2))
    subscribed, published = await w.take("g1")
    assert subscribed[1]["epoch"] != epoch
    assert subscribed[1]["recovered"] is False
    assert published[1]["offset"] == 1


async def test_the_directory_follows_sessions_and_their_channels(w: World) -> None:
    """A session is listed from its authentication to its end, a channel while somebody is in it."""
    opened = entry("session:a", SessionAuthenticated(user="7"), "a", "g1", "7")
    await w.route(opened, grant(ROOM, "a", "g1", "7"), grant("user:7", "a", "g1", "7"))
    (listed,) = await w.directory.get(["a"])
    assert (listed.user, listed.gateway, listed.connected_at) == ("7", "g1", opened.ts)
    assert listed.channels == ("room",)
    assert await w.directory.count() == 1
    assert await w.store.subscribers("session:a") == ["a"]
    channels = w.keys.channels(int(w.keys.outbound_of(ROOM).rpartition(":")[2][:-1]))
    assert await w.client.hkeys(channels) == [b"room"]
    await w.route(ended(ROOM, "a", "g1"), ended("user:7", "a", "g1"), entry("session:a", SessionEnded(), "a"))
    assert await w.directory.get(["a"]) == []
    assert await w.directory.count() == 0
    assert await w.client.exists(channels, w.keys.topic("session:a", "channels")) == 0


async def test_orders_and_refusals_reach_the_gateways_they_concern(w: World) -> None:
    """A refused session is told through its gateway; a disconnect goes wherever the user has sessions."""
    await w.route(
        entry("session:x", AuthFailed(error="no"), "x", "g9"),
        grant("user:7", "a", "g1", "7"),
        grant("user:7", "b", "g2", "7"),
        entry("user:7", DisconnectRequested(code=3500, reason="bye")),
    )
    assert await w.take("g9") == [("auth_failed", {"error": "no", "stream": -1, "frame_id": None, "generation": 1})]
    for gateway in ("g1", "g2"):
        assert (await w.take(gateway))[-1] == ("disconnect", {"code": 3500, "reason": "bye"})


async def test_an_order_is_about_the_sessions_that_the_log_had_before_it(w: World) -> None:
    """Whatever the clock of their gateway says: one that is an hour ahead saves no session that waits to be resumed."""
    event = SessionOpened(transport="webtransport", origin="", path="/", address="")
    hour = time.time_ns() // 1_000_000 + 3_600_000
    opened = Entry.of(event, id="opened", ts=hour, session="a", user="7", gateway="g1")
    assert await w.sessions.open(opened, asked_at=2, resumable=True)
    lost = SessionDisconnected(generation=1, code=0, reason="", by="gateway", final=False)
    assert await w.sessions.disconnect(Entry.of(lost, id="lost", ts=hour, session="a", gateway="g1"), lost) == "7"
    order = DisconnectRequested(code=3500, reason="bye")

    async def ordered() -> list[str]:
        await w.route(entry("user:7", order))
        log: Any = await w.client.xrange(w.keys.inbound_of("a"))
        return [fields[b"type"].decode() for _, fields in log]

    await w.store.run([Grant("user:7", "granted", "a", "g1", "7")])
    assert await ordered() == ["session.opened"]
    assert await ordered() == ["session.opened", "session.closed"]


async def test_one_bad_entry_does_not_hold_the_others_up(w: World) -> None:
    """An entry that means nothing is dead, its neighbours are routed."""
    bad = replace(message(ROOM, 2), type="message.received")
    outcomes = await w.route(grant(ROOM, "a", "g1"), message(ROOM, 1), bad, message(ROOM, 3))
    assert [one.verdict for one in outcomes] == [Verdict.DONE, Verdict.DONE, Verdict.DEAD, Verdict.DONE]
    assert places(await w.take("g1")) == [(1, 1), (2, 3)]


async def test_delivery_streams_of_dead_gateways_vanish(w: World) -> None:
    """Every delivery stream has a time to live."""
    await w.route(grant(ROOM, "a", "g1"))
    assert 0 < await w.client.pttl(w.keys.delivery("g1")) <= LIFE_MS


async def test_datagrams_go_to_interested_gateways_while_they_are_fresh(w: World) -> None:
    """A fresh datagram is delivered beside the messages; old and senseless ones are dropped."""
    await w.route(grant(ROOM, "a", "g1"), grant(ROOM, "b", "g2"))
    datagrams = DatagramRouter(w.store, w.streams, lambda: w.now)
    fresh = replace(entry(ROOM, DatagramPublished(frame={"type": "cursor"}, exclude="a")), ts=w.now)
    old = replace(fresh, id="old", ts=w.now - DATAGRAM_LIFE_MS - 1)
    batch = [fresh, old, replace(fresh, type="message.published"), replace(fresh, topic="nothing")]
    outcomes = await datagrams.handle([Received(0, f"{n}-0", one) for n, one in enumerate(batch)])
    assert outcomes == [Outcome.done()] * 4
    for gateway in ("g1", "g2"):
        items: Any = await w.client.xrange(w.keys.datagrams(w.keys.delivery(gateway)))
        (made,) = [Entry.from_fields(fields) for _, fields in items]
        assert made.type == "delivery.datagram"
        assert made.payload() == {"frame": {"type": "cursor"}, "exclude": "a"}


async def test_logs_are_trimmed_while_the_router_is_paused(w: World) -> None:
    """Who pauses it wants to see how far it falls behind, and still has a ceiling."""
    components, _ = build(w.settings)
    (trimmer,) = [one for one in components if isinstance(one, Trimmer)]
    (streams,) = [one for one in components if isinstance(one, StreamApplication)]
    await streams.start()
    try:
        streams.groups["router"].pause(True)
        assert list(trimmer._owned()) == list(range(w.settings.partitions))
    finally:
        await streams.stop()
        await components[0].stop()


async def test_a_service_without_its_trimmer_is_not_ready(w: World) -> None:
    """Otherwise nobody would hear of logs that grow until Redis is full."""
    components, health = build(w.settings)
    (trimmer,) = [one for one in components if isinstance(one, Trimmer)]
    health.serving = True
    await trimmer.start()
    assert health.problems() == []
    await trimmer.stop()
    assert health.problems() == ["the trimmer ended"]
    await components[0].stop()


async def test_the_service_routes_what_is_on_the_logs(w: World) -> None:
    """The service as a whole takes entries and datagrams from the logs to the gateways, and stops clean."""
    components, health = build(w.settings)
    started = []
    appender = Appender(w.client)
    await appender.start()
    try:
        for component in components:
            started.append(component)
            await component.start()
        health.serving = True
        assert health.problems() == []
        one = grant(ROOM, "a", "g1")
        await appender.append(w.keys.outbound_of(ROOM), one)
        await eventually(lambda: w.raw("g1"))
        for n in range(1, 4):
            await appender.append(w.keys.outbound_of(ROOM), message(ROOM, n))
        cursor = entry(ROOM, DatagramPublished(frame={"type": "cursor"}))
        await appender.append(w.keys.datagrams(w.keys.outbound_of(ROOM)), cursor)

        async def all_there() -> bool:
            datagrams = await w.client.xlen(w.keys.datagrams(w.keys.delivery("g1")))
            return len(await w.raw("g1")) == 4 and datagrams == 1

        await eventually(all_there)
        assert places(await w.take("g1")) == [(1, 1), (2, 2), (3, 3)]
    finally:
        for component in reversed(started):
            await component.stop()
        await appender.stop()
    for group, key in (("router", ROOM), ("router-datagrams", ROOM)):
        log = w.keys.outbound_of(key)
        log = w.keys.datagrams(log) if group.endswith("datagrams") else log
        assert (await w.client.xpending(log, group))["pending"] == 0
