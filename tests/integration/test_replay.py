"""Replays of what processors and router did, against a real Redis."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.responses import JSONResponse
from redis.asyncio import Redis

from console.replay import processing
from console.replay.differences import Difference, Tally
from console.replay.live import MARK, Live
from console.replay.routing import UNKNOWN_SUBSCRIBERS
from console.replay.running import sandboxed
from console.replay.sandbox import PREFIX
from egress.app import build as egress
from egress.routing import deliveries
from processors.channels import rules
from runtime.bus.servers import connect
from runtime.recording import LogRecording, Record, Recording, Selection, recorded
from schemas.entry import Entry
from schemas.errors import ConfigurationError, ErrorCode
from schemas.events import (
    AuthRequested,
    EntryHandled,
    MessagePublished,
    MessageReceived,
    SessionDisconnected,
    SubscribeRequested,
    WhisperReceived,
)
from schemas.ids import derived, uuid7
from tests.integration.processors_world import (
    AUTHORIZE,
    HANDLE,
    VERIFY,
    Call,
    World,
    message,
    processors_world,
    running,
)
from tests.support.waiting import eventually

ROOM = "presence-room"
SESSIONS = 4
ALL = Selection()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        made.app.replies[VERIFY] = lambda call: JSONResponse({"user": {"id": 7, "info": {"name": "Ada"}}})
        made.app.replies[AUTHORIZE] = lambda call: JSONResponse({"member": {"name": "Ada"}})
        made.app.replies[HANDLE] = answer
        yield made


def answer(call: Call) -> JSONResponse:
    """A broadcast to a channel, a refusal of what is bad, else an echo."""
    if call.body.get("text") == "bad":
        return JSONResponse({}, status_code=422)
    if call.body["type"] == "channel_message":
        return JSONResponse({"broadcast": True, "channel": call.body["channel"], "data": call.body["data"]})
    return JSONResponse({"echo": call.body.get("text")})


@asynccontextmanager
async def routed(world: World) -> AsyncIterator[None]:
    """Egress in this process until the block ends."""
    components, _ = egress(world.settings.model_copy(update={"api_port": 0}))
    started = []
    try:
        for component in components:
            started.append(component)
            await component.start()
        yield
    finally:
        for component in reversed(started):
            await component.stop()


async def settled(world: World) -> bool:
    return await world.settled("auth", "channels", "laravel", "router")


async def record(world: World) -> None:
    """Sessions that begin, subscribe, talk and end, handled and routed."""
    async with running(world, "auth", "channels", "laravel"), routed(world):
        sessions = [f"s{n}" for n in range(SESSIONS)]
        for one in sessions:
            await world.append(one, AuthRequested(token=world.sealed(one, "token"), protocol=1))
        await eventually(lambda: settled(world))
        for one in sessions:
            await world.append(one, SubscribeRequested(channel=ROOM), user="7")
        for n in range(20):
            one = sessions[n % SESSIONS]
            await world.append(one, message(f"{n}", frame_id=str(n), channel=ROOM if n % 2 else None), user="7")
            await world.append(one, WhisperReceived(event="client-x", channel=ROOM, data=n, member=True), user="7")
        await world.append("s0", message("bad"), user="7")
        for one in sessions:
            event = SessionDisconnected(generation=1, code=0, reason="bye", by="client", final=one != "s1")
            await world.append(one, event, user="7")
        await eventually(lambda: settled(world), 30)


async def replayed(
    world: World,
    wanted: Selection = ALL,
    *,
    late: tuple[str, ...] = (),
    source: Recording | None = None,
    **options: Any,
) -> tuple[Tally, list[Difference]]:
    """How a replay goes, of the log if there is no `source`, and every difference.

    `late`: processors that told last what they had settled.
    """
    found: list[Difference] = []
    client: Redis = connect(world.settings)
    try:
        async with sandboxed(world.settings, world.keys, found.append, log=client, **options) as (decided, _):
            behind: list[Record] = []
            async for batch in (source or LogRecording(client)).read(recorded(world.keys), wanted):
                behind += [one for one in batch if _by(one, late)]
                await decided.take([one for one in batch if not _by(one, late)])
            if behind:
                await decided.take(behind)
            await decided.finish()
            return decided.tally, found
    finally:
        await client.aclose()


def _by(record: Record, processors: tuple[str, ...]) -> bool:
    event = record.entry.event() if processors else None
    return isinstance(event, EntryHandled) and event.processor in processors


async def test_unchanged_code_replays_identically(world: World) -> None:
    """Every output is what it was, the application is not asked, and nothing is left of the sandbox."""
    await record(world)
    asked = len(world.app.calls)
    tally, found = await replayed(world)
    assert found == []
    assert tally.outputs["identical"] > 150
    assert not any("not answered" in why or "not settled" in why for why, count in tally.notes.items() if count)
    assert len(world.app.calls) == asked
    assert [key async for key in world.client.scan_iter(f"{PREFIX}*")] == []


@pytest.mark.parametrize("late", [("channels",), ("auth",), ("auth", "channels"), ("laravel",)], ids=str)
async def test_whoever_tells_late_is_not_taken_for_one_who_acted_late(world: World, late: tuple[str, ...]) -> None:
    """The log says which channels a session had joined when it ended, whatever the order of the trail."""
    await record(world)
    tally, found = await replayed(world, late=late)
    assert found == []
    assert tally.outputs["identical"] > 150
    assert not any("settled" in why for why, count in tally.notes.items() if count)


async def test_a_changed_rule_shows_what_it_changes_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whispers that say who whispers in another way: each of them differs there, and nothing else does."""
    await record(world)
    monkeypatch.setattr(rules, "sender", lambda entry: {"id": f"user-{entry.user}"})
    _, found = await replayed(world)
    whispers = [one for one in await world.entries(world.logs()) if one.payload().get("frame", {}).get("from")]
    assert {one.id for one in found} == {one.id for one in whispers}
    assert len(found) == 20
    assert {one.kind for one in found} == {"changed"}
    assert all(one.changes == {"data.frame.from.id": ("7", "user-7")} for one in found)


async def test_a_rule_that_says_no_shows_what_is_missing_and_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where subscriptions are refused now: the grants are missing, the refusals are new."""
    await record(world)
    refusal = rules.Refusal(ErrorCode.FORBIDDEN, "no")
    monkeypatch.setattr(rules, "judged", lambda entry, event, answer: refusal)
    _, found = await replayed(world)
    kinds = {(one.kind, one.type) for one in found if one.processor in ("", "channels")}
    assert ("missing", "subscription.granted") in kinds
    assert ("new", "message.published") in kinds
    assert sum(one.kind == "missing" and one.type == "subscription.granted" for one in found) == SESSIONS


async def test_a_changed_router_shows_what_it_delivers_otherwise(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that tells nobody of new members: only the entries with which members came differ."""
    await record(world)
    well = deliveries._presence
    monkeypatch.setattr(deliveries, "_presence", lambda change, *rest: well("left", *rest))
    _, found = await replayed(world)
    assert {(one.kind, one.processor, tuple(one.changes)) for one in found} == {
        ("changed", "router", ("routed.content",))
    }
    assert len(found) == 1, "one user joined once"


async def test_a_sandbox_forgets_sessions_that_are_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not grow with the number of sessions that were there once; those that wait to be resumed are kept."""
    await record(world)
    monkeypatch.setattr(processing, "OVER", 0)
    monkeypatch.setattr(processing, "FORGOTTEN", 1)
    _, found = await replayed(world, keep=True)
    assert found == []
    left = {key.decode() async for key in world.client.scan_iter(f"{PREFIX}*")}
    assert {one for one in ("s0", "s1", "s2", "s3") if any(re.search(rf"\b{one}\b", key) for key in left)} == {"s1"}


async def test_what_was_handled_and_then_lost_is_told_from_a_change(world: World) -> None:
    """A master that had no replica yet takes an append with it, and the client sends its message again: the answer is
    that to the first one, which is gone, and says no more than its time."""
    async with running(world, "laravel"):
        first = await world.append("s1", message("hello"))
        await eventually(lambda: world.settled("laravel"))
        await eventually(lambda: world.frames("session:s1"))
        log = world.keys.inbound_of("s1")
        for stream in (log, world.keys.trail(log)):
            await world.client.xtrim(stream, maxlen=0)
        await world.write(log, replace(first, ts=first.ts + 5_000).fields())
        await eventually(lambda: world.settled("laravel"))
    tally, found = await replayed(world, router=False)
    assert found == []
    assert tally.notes["made of another append of the same event, which is not there"] == 1


async def test_another_time_is_a_change(world: World) -> None:
    """An output that says of itself to be later than what led to it: no append of that explains it."""
    async with running(world, "laravel"):
        await world.append("s1", message("hello"))
        await eventually(lambda: world.frames("session:s1"))
        await eventually(lambda: world.settled("laravel"))
    log = world.keys.outbound_of("session:s1")
    (reply,) = await world.entries([log])
    await world.client.delete(log)
    await world.write(log, replace(reply, ts=reply.ts + 5).fields())
    _, found = await replayed(world, router=False)
    assert [one.changes for one in found] == [{"ts": (reply.ts + 5, reply.ts)}]


async def test_what_was_not_recorded_is_reported(world: World) -> None:
    """Answers that the trail does not have are not guessed: the entry is said to be unanswered."""
    world.app.replies[HANDLE] = lambda call: JSONResponse({"text": "x" * 70_000})
    async with running(world, "laravel"):
        await world.append("s1", message("hello"))
        await eventually(lambda: world.settled("laravel"))
        await eventually(lambda: world.frames("session:s1"))
    tally, found = await replayed(world, router=False)
    assert found == []
    assert tally.notes[f"not answered: the trail does not hold what {HANDLE} answered"] == 1


async def test_a_test_application_can_be_asked(world: World) -> None:
    """With the URL of an application the answers are its own, and show as changes."""
    world.app.replies[HANDLE] = lambda call: JSONResponse({"says": "then"})
    async with running(world, "laravel"):
        await world.append("s1", message("hello"))
        await eventually(lambda: world.frames("session:s1"))
        await eventually(lambda: world.settled("laravel"))
    world.app.replies[HANDLE] = lambda call: JSONResponse({"says": "now"})
    _, found = await replayed(world, router=False, application=world.app.url)
    assert [one.changes for one in found] == [{"data.frame.says": ("then", "now")}]


async def test_sessions_that_began_before_are_not_judged_by_what_is_unknown(world: World) -> None:
    """From the middle on: messages are compared, ends of sessions that began before are counted, nothing differs."""
    await record(world)
    first = min(one.ts for one in await world.entries(world.logs()) if one.type == MessageReceived.TYPE)
    tally, found = await replayed(world, Selection(since=first))
    assert found == []
    assert tally.notes["of sessions that began before the beginning"] > 0
    assert tally.notes[UNKNOWN_SUBSCRIBERS] > 0, "and who gets what of such topics is not said to be as it was"
    assert tally.outputs["identical"] > 50


def published(cause: Entry, id: str) -> Entry:
    """What the Composer package writes to the log when the application publishes while it handles `cause`."""
    told = MessagePublished(frame={"type": "channel_broadcast", "channel": "news", "data": 1})
    return Entry.of(told, id=id, ts=cause.ts + 3, topic="channel:news", cause=cause.id)


@pytest.mark.parametrize("once", [False, True], ids=["an id of its own", "once, under a key"])
async def test_what_the_application_publishes_meanwhile_is_its_own(world: World, once: bool) -> None:
    """No processor makes it, then or now: it is counted and neither missing nor judged."""
    world.app.replies[HANDLE] = answer
    async with running(world, "laravel"):
        cause = await world.append("s1", message("hello"))
        await eventually(lambda: world.frames("session:s1"))
        await eventually(lambda: world.settled("laravel"))
    own = published(cause, derived("default", "api/order-7") if once else uuid7(cause.ts, b"0123456789"))
    await world.write(world.keys.outbound_of(own.topic), own.fields())
    tally, found = await replayed(world, router=False)
    assert found == []
    assert (tally.outputs["identical"], tally.notes["published by the application"]) == (2, 1)


async def test_where_the_application_reads_the_log_its_answers_are_its_own(world: World) -> None:
    """With HEADGATE_LARAVEL_VIA=log nobody waits for a forwarder; what follows from messages is the application's."""
    await record(world)
    for p in range(world.keys.partitions):
        trail = world.keys.trail(world.keys.inbound(p))
        for stream_id, fields in cast("Any", await world.client.xrange(trail)):
            if b'"processor":"laravel"' in fields[b"data"]:
                await world.client.xdel(trail, stream_id)
    world.settings = world.settings.model_copy(update={"laravel_via": "log"})
    tally, found = await replayed(world)
    assert found == []
    assert tally.notes["published by the application"] > 20
    assert not any("settled" in why or "before" in why for why, count in tally.notes.items() if count), tally.notes


async def test_a_live_replay_is_no_output_of_what_was_replayed(world: World) -> None:
    """Messages and publications that are on the log again, caused by the first ones, are decided as messages are."""
    world.app.replies[HANDLE] = answer
    async with running(world, "laravel"), routed(world):
        first = await world.append("s1", message("hello"))
        own = Entry.of(MessagePublished(frame={"n": 1}), id=uuid7(first.ts, b"9876543210"), ts=1, topic="channel:news")
        await world.write(world.keys.outbound_of(own.topic), own.fields())
        await eventually(lambda: settled(world))
        live = Live(world.client, world.keys, "a-run")
        live.queue(world.keys.inbound_of("s1"), "0-1", first)
        live.queue(world.keys.outbound_of(own.topic), "0-1", own)
        await live.flush()
        await eventually(lambda: settled(world))
    tally, found = await replayed(world)
    assert found == []
    assert tally.outputs["identical"] == 8, "two messages asked about and answered, four entries routed"


async def test_what_is_replayed_into_the_log_is_marked(world: World) -> None:
    """Into the log only messages go, under ids of their own, caused by the first ones and marked in the payload."""
    entry = await world.append("s1", message("hello"), user="7")
    await world.append("s1", SessionDisconnected(generation=1, code=0, reason="", by="client", final=True))
    live = Live(world.client, world.keys, "a-run")
    with pytest.raises(ConfigurationError, match="something else"):
        live.confirmed("yes")
    live.confirmed("replay into hg:")
    log = world.keys.inbound_of("s1")
    for one in await world.entries([log]):
        live.queue(log, "0-1", one)
    await live.flush()
    *_, again = await world.entries([log])
    assert (again.cause, again.type, again.session, again.user) == (entry.id, entry.type, "s1", "7")
    assert again.id != entry.id
    assert again.payload()[MARK]
    assert isinstance(again.event(), MessageReceived)
    assert len(await world.entries([log])) == 3
