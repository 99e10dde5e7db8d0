"""The limit of connections per user, where it is kept: in the user's topic, over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.entry import Entry
from schemas.events import SessionAuthenticated, SubscriptionSuspended
from schemas.topics import user_topic
from tests.integration.router_world import World, ended, entry, grant, message, places, world

USER = "user:7"


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world(max_sessions_per_user=3) as made:
        yield made


def grants(*sessions: str, gateway: str = "g1") -> list[Entry]:
    return [grant(USER, session, gateway, "7") for session in sessions]


async def kinds(w: World, gateway: str = "g1") -> list[tuple[str, str]]:
    """(type, session) of what was delivered since the last look."""
    out = [(one.type.removeprefix("delivery."), one.session) for one in await w.raw(gateway)]
    await w.client.delete(w.keys.delivery(gateway))
    return out


async def test_the_session_beyond_the_limit_is_told_to_go_and_the_others_stay(w: World) -> None:
    """Counted over gateways: the fourth hears 3504 on its own gateway and receives nothing of the user's."""
    await w.route(*grants("a", "b"), *grants("c", gateway="g2"), *grants("d", gateway="g2"), message(USER, 1))
    assert await kinds(w) == [("subscribed", "a"), ("subscribed", "b"), ("publication", "")]
    assert await kinds(w, "g2") == [("subscribed", "c"), ("disconnect", "d"), ("publication", "")]
    assert await w.store.subscribers(USER) == ["a", "b", "c"]
    assert await w.client.hgetall(w.keys.topic(USER, "gateways")) == {b"g1": b"2", b"g2": b"1"}


async def test_a_place_that_becomes_free_is_given_to_the_next(w: World) -> None:
    """The end of a session makes room for one, not more."""
    await w.route(*grants("a", "b", "c"), ended(USER, "a", "g1", "7"), *grants("d", "e"))
    assert await w.store.subscribers(USER) == ["b", "c", "d"]


async def test_a_redelivered_grant_gives_what_it_gave(w: World) -> None:
    """Repeats are no new sessions, and who was refused stays so when a place has become free meanwhile."""
    first, second, third, fourth = grants("a", "b", "c", "d")
    await w.route(first, second, third, fourth)
    before = await w.raw("g1")
    await w.client.delete(w.keys.delivery("g1"))
    await w.route(first, second, third, fourth)
    assert await w.raw("g1") == before
    await w.client.delete(w.keys.delivery("g1"))
    await w.route(ended(USER, "a", "g1", "7"), fourth)
    assert await kinds(w) == [("unsubscribed", "a"), ("disconnect", "d")]
    assert await w.store.subscribers(USER) == ["b", "c"]


async def test_a_session_that_has_a_place_keeps_it(w: World) -> None:
    """Another grant for a session that is counted already, through another gateway, is no new session."""
    await w.route(*grants("a", "b", "c"), *grants("a", gateway="g2"))
    assert await kinds(w, "g2") == [("subscribed", "a")]
    assert sorted(await w.store.subscribers(USER)) == ["a", "b", "c"]


def suspended(session: str, generation: int = 1) -> Entry:
    return entry(USER, SubscriptionSuspended(generation=generation), session, "g1", "7")


async def test_a_session_that_waits_to_be_resumed_takes_no_place(w: World) -> None:
    """Another one may connect meanwhile; but so many wait at most, and none comes back to a place that was taken."""
    await w.route(*grants("a", "b", "c"), suspended("a"), *grants("d"))
    assert sorted(await w.store.subscribers(USER)) == ["a", "b", "c", "d"]
    assert await kinds(w) == [("subscribed", name) for name in "abcd"]
    await w.route(grant(USER, "a", "g2", "7", generation=2))
    assert await kinds(w, "g2") == [("disconnect", "a")]
    await w.route(suspended("b"), grant(USER, "a", "g2", "7", generation=3))
    assert await kinds(w, "g2") == [("subscribed", "a")]
    await w.route(*(suspended(name) for name in "cd"), *grants("e"), suspended("e"), *grants("f"), suspended("f"))
    assert len(await w.store.subscribers(USER)) == 6
    await w.client.delete(w.keys.delivery("g1"))
    await w.route(*grants("g"))
    assert await kinds(w) == [("disconnect", "g")]


async def test_a_connection_that_is_missed_late_is_not_the_one_that_resumed(w: World) -> None:
    """A suspension of an earlier generation changes nothing, nor does one of a session that is over."""
    resumed = grant(USER, "a", "g2", "7", generation=2)
    await w.route(*grants("a", "b", "c"), resumed, suspended("a"), suspended("never"), *grants("d"))
    assert sorted(await w.store.subscribers(USER)) == ["a", "b", "c"]


async def test_the_end_of_a_refused_session_takes_no_place_from_others(w: World) -> None:
    """Its session.closed leads to an end on the user's topic, on which it never was."""
    await w.route(*grants("a", "b", "c", "d"), ended(USER, "d", "g1", "7"), *grants("e"))
    assert sorted(await w.store.subscribers(USER)) == ["a", "b", "c"]
    assert await w.client.hgetall(w.keys.topic(USER, "gateways")) == {b"g1": b"3"}


async def test_of_many_at_once_exactly_as_many_stay_as_may() -> None:
    """Eleven grants that race through eleven routers leave ten sessions, whatever the order."""
    async with world() as w:
        await asyncio.gather(*(w.route(one) for one in grants(*(f"s{n}" for n in range(11)))))
        delivered = [kind for kind, _ in await kinds(w)]
        assert sorted(delivered) == ["disconnect"] + ["subscribed"] * 10
        assert len(await w.store.subscribers(USER)) == 10


async def test_only_users_are_limited(w: World) -> None:
    """Channels take more sessions than a user may have, and so do sessions that are nobody's."""
    await w.route(*(grant("channel:room", f"s{n}", "g1") for n in range(9)))
    await w.route(*(entry(f"session:s{n}", SessionAuthenticated(user=None), f"s{n}", "g1") for n in range(9)))
    assert "disconnect" not in {kind for kind, _ in await kinds(w)}


async def test_without_a_limit_everybody_stays() -> None:
    """0 is no limit."""
    async with world(max_sessions_per_user=0) as w:
        await w.route(*grants(*(f"s{n}" for n in range(30))), message(user_topic("7"), 1))
        assert len(await w.store.subscribers(USER)) == 30
        assert places(await w.take("g1")) == [(1, 1)]
