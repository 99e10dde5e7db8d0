"""A batch of the router that Redis carries out in part: what comes after a refused operation waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import pytest
from redis.exceptions import RedisError

from egress.operations import End, Grant, Operation, Publish, Suspend
from egress.topics.store import TopicStore
from runtime.bus.appender import pack
from runtime.bus.outcomes import Outcome, Verdict
from runtime.bus.servers import connect
from runtime.settings import Settings
from tests.integration.router_world import ROOM, World, ended, grant, message, places, world
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually

MEMORY, FLUSH = (b"CONFIG", b"SET", b"maxmemory", b"0"), (b"SCRIPT", b"FLUSH")
BROKEN = "channel:broken"


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
def between(w: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has Redis carry out commands of others within the next batch: the first list behind its first operation, and so
    on."""
    round_trip = w.store._wire.round_trip

    def arrange(*others: Sequence[tuple[bytes, ...]]) -> None:
        async def meanwhile(server: Any, batch: Sequence[bytes]) -> list[Any]:
            monkeypatch.setattr(w.store._wire, "round_trip", round_trip)
            sent: list[tuple[bool, bytes]] = []
            for own, behind in zip_longest(batch, others, fillvalue=()):
                sent += [(True, bytes(own)), *((False, pack(command)) for command in behind)]
            answers = await round_trip(server, [command for _, command in sent])
            return [answer for (own, _), answer in zip(sent, answers, strict=True) if own]

        monkeypatch.setattr(w.store._wire, "round_trip", meanwhile)

    return arrange


async def test_a_topic_that_somebody_else_wrote_to_fails_alone(w: World) -> None:
    """A key of the wrong type is an attempt of that entry; what comes after it is not said to be handled."""
    await w.route(grant(ROOM, "a", "g1"))
    await w.take("g1")
    await w.route(message("channel:broken", 1))
    await w.client.set(w.keys.topic("channel:broken", "history"), "not a list")
    outcomes = await w.route(message(ROOM, 1), message("channel:broken", 2), message(ROOM, 2))
    assert [one.verdict for one in outcomes] == [Verdict.DONE, Verdict.AGAIN]
    assert await w.client.hget(w.keys.topic("channel:broken", "state"), "offset") == b"1"
    assert places(await w.take("g1")) == [(1, 1)]


async def test_a_server_that_lost_the_scripts_gets_them_again(w: World) -> None:
    """Routing survives SCRIPT FLUSH without losing or repeating an offset."""
    await w.route(grant(ROOM, "a", "g1"), message(ROOM, 1))
    await w.client.script_flush()
    assert await w.route(message(ROOM, 2)) == [Outcome.done()]
    assert places(await w.take("g1")) == [(1, 1), (2, 2)]


async def test_a_server_that_restarted_is_asked_for_nothing_that_it_does_not_know() -> None:
    """Scripts come before what needs them: another router that loads them in the middle of a batch would have its end
    published before its beginning."""
    async with redis_server(appendonly="yes") as server:
        settings = Settings(redis_url=server.url, _env_file=None)
        client = connect(settings)
        store = TopicStore(client, settings)
        batch = [Publish(ROOM, f"id-{n}", b"{}") for n in range(10)]
        await store.run(batch[:5])
        await server.kill()
        await server.start()
        replies: list[Any] = await _until_it_answers(store, batch)
        assert [reply.offset for reply in replies] == list(range(1, 11))
        assert "errorstat_NOSCRIPT" not in await client.info("errorstats")
        await client.aclose()


async def _until_it_answers(store: TopicStore, batch: Sequence[Operation]) -> list[Any]:
    replies: list[Any] = []

    async def answers() -> bool:
        try:
            replies[:] = await store.run(batch)
        except RedisError:
            return False
        return True

    await eventually(answers)
    return replies


async def test_without_memory_the_batch_waits(w: World) -> None:
    """When the server cannot write, the whole batch is handled later, dead entries included."""
    await w.client.config_set("maxmemory", "1")
    outcomes = await w.route(message(ROOM, 1), replace(message(ROOM, 2), type="unknown"))
    assert [one.verdict for one in outcomes] == [Verdict.LATER, Verdict.LATER]
    await w.client.config_set("maxmemory", "0")
    assert [one.verdict for one in await w.route(message(ROOM, 1))] == [Verdict.DONE]


async def test_what_is_behind_a_refused_publication_waits_for_it(w: World, between: Callable[..., None]) -> None:
    """Memory comes back within a batch: the publications behind the refused one are published behind it."""
    await w.route(grant(ROOM, "a", "g1"))
    await w.take("g1")
    batch = [message(ROOM, 1), message(ROOM, 2), message("channel:other", 9), message(ROOM, 3), ended(ROOM, "a", "g1")]
    await w.client.config_set("maxmemory", "1")
    between([MEMORY])
    assert await w.route(*batch) == [Outcome.later("OutOfMemoryError")] * 5
    assert await w.store.subscribers(ROOM) == ["a"]
    assert await w.route(*batch) == [Outcome.done()] * 5
    assert places(await w.take("g1")) == [(1, 1), (2, 2), (3, 3)]
    assert await w.client.hget(w.keys.topic("channel:other", "state"), "offset") == b"1"


async def test_what_comes_twice_in_a_batch_vouches_for_nobody(w: World, between: Callable[..., None]) -> None:
    """A repeat of what was published stands between a refused publication and the next one: that still waits."""
    first, second, third = (message(ROOM, n) for n in (1, 2, 3))
    await w.route(grant(ROOM, "a", "g1"), first)
    await w.take("g1")
    await w.client.config_set("maxmemory", "1")
    between([], [MEMORY])
    batch = [first, second, first, third]
    assert {one.verdict for one in await w.route(*batch)} == {Verdict.LATER}
    await w.route(*batch)
    assert places(await w.take("g1")) == [(1, 1), (2, 2), (1, 1), (3, 3)]


async def test_what_is_remembered_of_an_earlier_batch_vouches_for_nobody(
    w: World, between: Callable[..., None]
) -> None:
    """So does a publication between them that is on the log once more, behind the batch that had it first."""
    first, second, third = (message(ROOM, n) for n in (1, 2, 3))
    await w.route(grant(ROOM, "a", "g1"), first)
    await w.take("g1")
    await w.client.config_set("maxmemory", "1")
    between([MEMORY])
    batch = [second, first, third]
    assert {one.verdict for one in await w.route(*batch)} == {Verdict.LATER}
    await w.route(*batch)
    assert places(await w.take("g1")) == [(2, 2), (1, 1), (3, 3)]


async def test_scripts_flushed_within_a_batch_change_no_order(w: World, between: Callable[..., None]) -> None:
    """Somebody flushes the scripts in the middle, and somebody else loads them: the whole batch again, in its order."""
    await w.route(grant(ROOM, "a", "g1"))
    await w.take("g1")
    loads = [(b"SCRIPT", b"LOAD", one.source.encode()) for one in w.store._scripts]
    between([FLUSH])
    assert await w.route(*(message(ROOM, n) for n in range(4))) == [Outcome.done()] * 4
    between([FLUSH], loads)
    assert await w.route(*(message(ROOM, n) for n in range(4, 8))) == [Outcome.done()] * 4
    assert places(await w.take("g1")) == [(n + 1, n) for n in range(8)]


@pytest.mark.parametrize(
    "first",
    [
        Publish(ROOM, "first", b"x"),
        Grant(ROOM, "first", "b", "g1", "", generation=2),
        Grant(ROOM, "first", "a", "g1", ""),
        Suspend(ROOM, "first", "a", 2),
        Suspend(ROOM, "first", "a", 1),
        Suspend(ROOM, "first", "nobody", 1),
        End(ROOM, "first", "a"),
        End(ROOM, "first", "nobody"),
    ],
    ids=str,
)
async def test_every_operation_is_waited_for(w: World, first: Operation) -> None:
    """Also those that change nothing: they are remembered, so that what is behind them is carried out."""
    await w.store.run([Grant(ROOM, "granted", "a", "g1", "", generation=2)])
    batch = [first, Publish(ROOM, "second", b"x")]
    replies: list[Any] = await w.store.run(batch)
    assert replies[1].offset == 1 + isinstance(first, Publish)
    again: list[Any] = await w.store.run(batch)
    assert (again[1].offset, again[1].repeated) == (replies[1].offset, True)


async def test_a_grant_that_came_too_late_is_too_late_again(w: World) -> None:
    """A later connection has the subscription: the grant of the former one stays void when that has ended too."""
    late, end = Grant(ROOM, "late", "a", "g1", ""), End(ROOM, "end", "a")
    await w.store.run([Grant(ROOM, "granted", "a", "g2", "", generation=2), late, end])
    await w.store.run([late, end])
    assert await w.store.subscribers(ROOM) == []
    await w.store.run([Grant(ROOM, "late", "a", "g1", "", generation=3)])
    assert await w.store.subscribers(ROOM) == ["a"]


async def test_what_is_behind_a_topics_own_error_waits_for_it(w: World) -> None:
    """A publication that a broken key refuses: who was granted behind it is no subscriber before it is settled."""
    await w.route(message(BROKEN, 1))
    await w.client.set(w.keys.topic(BROKEN, "history"), "not a list")
    behind = grant(BROKEN, "a", "g1")
    outcomes = await w.route(message(BROKEN, 2), behind)
    assert [one.verdict for one in outcomes] == [Verdict.AGAIN]
    assert await w.store.subscribers(BROKEN) == []
    await w.route(behind)
    assert await w.store.subscribers(BROKEN) == ["a"]
