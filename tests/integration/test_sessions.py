"""The record of sessions over a real Redis: beginnings, connections that come and go, ends, and who may resume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from runtime.bus.servers import connect
from runtime.memberships import Memberships
from runtime.sessions import RETRIES, Claim, ClaimResult, SessionRecord
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import ChannelSubscribed, DisconnectRequested, SessionDisconnected, SessionOpened
from schemas.ids import of_session_end
from tests.support.redis_server import redis_server


class World:
    """A record, and what it wrote to the log."""

    def __init__(self, settings: Settings, client: aioredis.Redis) -> None:
        self.settings, self.client, self.keys = settings, client, settings.keys
        self.sessions = SessionRecord(client, settings.keys, 30)

    async def open(self, session: str = "s", gateway: str = "g1", user: str = "7", *, resumable: bool = True) -> bool:
        event = SessionOpened(transport="webtransport", origin="", path="/", address="")
        opened = Entry.of(event, id=f"opened/{session}", ts=11, session=session, user=user, gateway=gateway)
        return await self.sessions.open(opened, asked_at=15, resumable=resumable)

    async def claim(self, generation: int = 1, *, request: str = "r1", asked_at: int = 20, **how: str) -> Claim:
        who = {"session": "s", "user": "7", "gateway": "g2"} | how
        session = who.pop("session")
        return await self.sessions.claim(session, generation, request=request, asked_at=asked_at, **who)

    async def disconnect(
        self,
        generation: int = 1,
        *,
        gateway: str = "g1",
        user: str = "",
        final: bool = False,
        record: SessionRecord | None = None,
    ) -> str:
        event = SessionDisconnected(generation=generation, code=3001, reason="gone", by="gateway", final=final)
        entry = Entry.of(event, id=f"d{generation}", ts=12, session="s", user=user, gateway=gateway)
        return await (record or self.sessions).disconnect(entry, event)

    async def types(self, session: str = "s") -> list[str]:
        return [entry.type for entry in await self.log(session)]

    async def log(self, session: str = "s") -> list[Entry]:
        found: Any = await self.client.xrange(self.keys.inbound_of(session))
        return [one for one in (Entry.from_fields(fields) for _, fields in found) if one.session == session]

    async def left(self) -> list[str]:
        """The keys of the record that are there for good."""
        found: Any = await self.client.keys("hg:*}:*")
        return [key.decode() for key in found if await self.client.ttl(key) == -1]


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with redis_server() as server:
        settings = Settings(redis_url=server.url, secret="s" * 32, partitions=2, _env_file=None)
        client = connect(settings)
        try:
            yield World(settings, client)
        finally:
            await client.aclose()


async def test_a_session_begins_once(w: World) -> None:
    """A repeat writes no second beginning; after the session's end it writes none either."""
    assert await w.open()
    assert await w.open()
    assert await w.types() == ["session.opened"]
    await w.disconnect(final=True)
    assert not await w.open()
    assert await w.types() == ["session.opened", "session.closed"]


async def test_a_final_disconnection_ends_the_session_at_once_and_for_good(w: World) -> None:
    """Its end names the user and what ended the connection; nothing of the record stays, and nobody resumes it."""
    await w.open()
    assert await w.disconnect(final=True) == ""
    assert await w.disconnect(final=True) == ""
    (_, end) = await w.log()
    assert (end.id, end.user, end.cause, end.ts) == (of_session_end("s"), "7", "d1", 12)
    assert end.payload() == {"code": 3001, "reason": "gone", "by": "gateway"}
    assert await w.left() == []
    assert (await w.claim()).result is ClaimResult.UNKNOWN


async def test_a_session_that_was_lost_with_its_log_ends_with_its_connection(w: World) -> None:
    """Nobody could resume it, and what other servers have of it must not stay: its gateway knows whose it was. Once."""
    await w.open()
    await w.client.flushall()
    for _ in range(2):
        assert await w.disconnect(user="7") == ""
    (end,) = await w.log()
    assert (end.type, end.id, end.user, end.cause) == ("session.closed", of_session_end("s"), "7", "d1")
    assert await w.left() == []
    assert not await w.open()


@pytest.mark.parametrize("why", ["no window", "an older client"])
async def test_where_nobody_can_resume_every_disconnection_is_final(w: World, why: str) -> None:
    """Without a window, or a client that was given a secret, there is nothing to wait for."""
    await w.open(resumable=why == "no window")
    record = SessionRecord(w.client, w.keys, 0) if why == "no window" else w.sessions
    await w.disconnect(record=record)
    assert await w.types() == ["session.opened", "session.closed"]


async def test_a_session_is_resumed_by_its_user(w: World) -> None:
    """It keeps when it began and has the next generation at the new gateway, whether or not it was missed before."""
    await w.open()
    assert await w.claim() == Claim(ClaimResult.RESUMED, 2, 11)
    assert await w.client.hgetall(w.keys.connected(w.keys.inbound_of("s"), "g1")) == {}
    assert await w.client.hgetall(w.keys.connected(w.keys.inbound_of("s"), "g2")) == {b"s": b"2"}
    assert await w.sessions.connected_in() == {"g2": [0 if w.keys.inbound_of("s") == w.keys.inbound(0) else 1]}
    await w.disconnect(2, gateway="g2")
    assert await w.claim(2, request="r2", gateway="g1") == Claim(ClaimResult.RESUMED, 3, 11)
    assert await w.types() == ["session.opened"]


async def test_a_late_end_of_an_earlier_connection_ends_nothing(w: World) -> None:
    """What the former gateway says after the session was resumed is about a connection that it has no more."""
    await w.open()
    await w.claim()
    await w.disconnect(1, final=True)
    await w.disconnect(1)
    assert await w.types() == ["session.opened"]
    assert await w.client.exists(w.keys.disconnected(w.keys.inbound_of("s"))) == 0


async def test_a_request_that_is_handled_again_gets_the_same_answer(w: World) -> None:
    """Also when another one came in between: then nobody waits for the first any more."""
    await w.open()
    assert await w.claim() == await w.claim() == Claim(ClaimResult.RESUMED, 2, 11)
    assert (await w.claim(request="r2")).generation == 3
    assert (await w.claim()).result is ClaimResult.SUPERSEDED
    assert (await w.claim(request="r2")).generation == 3


async def test_only_who_had_the_last_secrets_resumes(w: World) -> None:
    """Another's session, one that never was, a secret that was replaced and one of the future: no."""
    await w.open()
    assert (await w.claim(user="8")).result is ClaimResult.FOREIGN
    assert (await w.claim(user="")).result is ClaimResult.FOREIGN
    assert (await w.claim(session="never")).result is ClaimResult.UNKNOWN
    assert (await w.claim(2)).result is ClaimResult.VOID
    assert (await w.claim(1)).generation == 2
    assert (await w.claim(2, request="r2")).generation == 3
    assert (await w.claim(1, request="r3")).result is ClaimResult.VOID


async def test_a_request_that_comes_behind_a_later_one_takes_nothing_away(w: World) -> None:
    """A client asks over a second connection, and the first request is handled after that: its connection is gone."""
    await w.open()
    assert await w.claim(request="second", asked_at=21) == Claim(ClaimResult.RESUMED, 2, 11)
    assert (await w.claim(request="first", asked_at=20)).result is ClaimResult.SUPERSEDED
    assert await w.claim(request="second", asked_at=21) == Claim(ClaimResult.RESUMED, 2, 11)
    assert (await w.claim(2, request="third", asked_at=21)).generation == 3


async def test_a_secret_works_again_until_its_successor_was_used_and_not_for_ever(w: World) -> None:
    """The answer with the next secret may have been lost: so the client may try again, a number of times."""
    await w.open()
    for attempt in range(RETRIES):
        assert (await w.claim(request=f"r{attempt}")).generation == attempt + 2
    assert (await w.claim(request="one more")).result is ClaimResult.VOID
    assert (await w.claim(RETRIES + 1, request="the last")).generation == RETRIES + 2


async def test_two_that_resume_at_once_have_it_one_after_the_other(w: World) -> None:
    """Each gets a generation of its own, and the later one the session."""
    await w.open()
    claims = await asyncio.gather(*(w.claim(request=f"r{n}", gateway=f"g{n}") for n in range(2, 7)))
    assert sorted(claim.generation for claim in claims) == [2, 3, 4, 5, 6]
    last = claims.index(max(claims, key=lambda claim: claim.generation)) + 2
    assert list(await w.sessions.connected_in()) == [f"g{last}"]


async def test_a_session_that_nobody_resumes_in_time_ends(w: World) -> None:
    """Not before its window is over; then once, with the words of its connection's end, whoever looks."""
    record = SessionRecord(w.client, w.keys, 30)
    await w.open()
    assert await w.disconnect(record=record) == await w.disconnect(record=record) == "7"
    assert await record.end_overdue(99) == 0
    await w.client.zadd(w.keys.disconnected(w.keys.inbound_of("s")), {"s": 0})
    assert sum(await asyncio.gather(record.end_overdue(99), record.end_overdue(99))) == 1
    (_, end) = await w.log()
    assert (end.type, end.id, end.user, end.gateway, end.ts) == ("session.closed", of_session_end("s"), "7", "g1", 99)
    assert end.payload() == {"code": 3001, "reason": "gone", "by": "gateway"}
    assert await w.left() == []
    assert (await w.claim()).result is ClaimResult.UNKNOWN


@pytest.mark.parametrize("left", [b'{"code":0,"reason":"","by":"proxy"}', b"{", b"\xff"])
async def test_an_end_that_cannot_be_read_keeps_no_session_open(w: World, left: bytes) -> None:
    """Another version may have written it, or an operator spoiled it: it counts as none, and others end with it."""
    for session in ("other", "s"):
        await w.open(session)
    log = w.keys.inbound_of("s")
    await w.disconnect()
    await w.client.zadd(w.keys.disconnected(log), {"s": 0})
    await w.client.hset(w.keys.session_state(log, "auth", "s"), "left", left)
    await w.client.zadd(w.keys.disconnected(w.keys.inbound_of("other")), {"other": 0})
    with capture_logs() as logs:
        assert await w.sessions.end_overdue(99) == 2
    assert [one["session"] for one in logs if one["event"] == "session.end_unreadable"] == ["s"]
    for session in ("other", "s"):
        (*_, end) = await w.log(session)
        assert end.payload() == {"code": 0, "reason": "", "by": "gateway"}


async def test_a_session_that_was_resumed_in_time_does_not_end(w: World) -> None:
    """Its window is forgotten, and a later disconnection has one of its own."""
    record = SessionRecord(w.client, w.keys, 0.05)
    await w.open()
    await w.disconnect(record=record)
    assert (await w.claim()).generation == 2
    await asyncio.sleep(0.06)  # The time that is over is the point.
    assert await record.end_overdue(99) == 0
    assert await w.types() == ["session.opened"]


async def force(w: World, *, ts: int = 20, ordered_at: int = 20) -> bool:
    event = DisconnectRequested(code=3500, reason="signed out")
    order = Entry.of(event, id="order", ts=ts, topic="user:7")
    return await w.sessions.force("s", order, event, ordered_at=ordered_at)


async def test_a_session_that_waits_is_ended_by_the_application(w: World) -> None:
    """At once, for its reason, and once; it leaves its channels first, and nobody resumes it."""
    await w.open()
    memberships = Memberships(w.client, w.keys)
    joined = Entry.of(ChannelSubscribed(channel="news"), id="j", ts=11, session="s", user="7", gateway="g1")
    assert await memberships.join("1-1", joined, "news", None)
    await w.disconnect()
    assert await force(w)
    assert not await force(w)
    assert (await w.claim()).result is ClaimResult.UNKNOWN
    *_, left, closed = await w.log()
    assert (left.type, left.payload()) == ("channel.unsubscribed", {"channel": "news", "reason": "closed"})
    assert (closed.id, closed.user, closed.cause) == (of_session_end("s"), "7", "order")
    assert closed.payload() == {"code": 3500, "reason": "signed out", "by": "application"}
    assert await memberships.close("s") == ["news"]
    assert await w.left() == []


async def test_a_connected_session_that_is_to_end_does_not_come_back(w: World) -> None:
    """Its connection may break before the order reaches it: then it ends all the same."""
    await w.open()
    assert not await force(w)
    assert await w.types() == ["session.opened"]
    assert (await w.claim()).result is ClaimResult.UNKNOWN
    await w.disconnect()
    assert await w.types() == ["session.opened", "session.closed"]


async def test_an_order_is_not_about_sessions_that_began_after_it(w: World) -> None:
    """Handled again, it must not end the session of a user who has signed in anew."""
    await w.open()
    assert not await force(w, ordered_at=14)
    assert await w.disconnect() == "7"
    assert not await force(w, ordered_at=14)
    assert (await w.claim()).result is ClaimResult.RESUMED


@pytest.mark.parametrize("ts", [1, 99])
async def test_the_clocks_of_gateways_and_egress_do_not_decide_which_sessions_an_order_is_about(
    w: World, ts: int
) -> None:
    """What counts is when Redis had the request and the order: a user who is sent away must not come back."""
    await w.open()
    await w.disconnect()
    assert not await force(w, ts=ts, ordered_at=14)
    assert await force(w, ts=ts, ordered_at=15)
    assert (await w.claim()).result is ClaimResult.UNKNOWN
