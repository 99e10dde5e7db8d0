"""Processors, log and application fail and come back: nothing is lost, nothing is out of order."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from fastapi import Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from runtime.bus.servers import connect
from schemas.entry import Entry
from schemas.events import AuthRequested, DatagramReceived, SessionClosed, SubscribeRequested
from tests.integration.processors_world import (
    HANDLE,
    PARTITIONS,
    SECRET,
    VERIFY,
    Call,
    World,
    echo,
    message,
    processors_world,
    running,
)
from tests.support.waiting import PATIENCE, eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        yield made


async def test_each_session_is_answered_in_order(world: World) -> None:
    """However often single requests fail, a session's answers come in the order of its messages."""
    failed: dict[str, int] = defaultdict(int)

    def flaky(call: Call) -> Response:
        text = call.body["text"]
        failed[text] += 1
        return Response(status_code=503) if int(text) % 7 == 3 and failed[text] < 3 else echo(call)

    world.app.replies[HANDLE] = flaky
    sessions = [f"s{n}" for n in range(6)]
    async with running(world, "laravel"):
        for number in range(20):
            for session in sessions:
                await world.append(session, message(str(number)))
        await eventually(lambda: world.settled("laravel"), 40)
    for session in sessions:
        assert [frame["echo"] for frame in await world.frames(f"session:{session}")] == [str(n) for n in range(20)]


async def test_a_redelivery_publishes_the_same_ids(world: World) -> None:
    """Entries that are handled twice lead to the same entries twice, which the router can tell."""
    world.app.replies |= {HANDLE: echo, VERIFY: lambda _: JSONResponse({"user": {"id": 7}})}
    outbound = [world.keys.outbound(p) for p in range(PARTITIONS)]
    async with running(world, "auth", "channels", "laravel"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")))
        await world.append("s1", SubscribeRequested(channel="news"), user="7")
        await world.append("s1", message("hi"), user="7")
        await world.append("s1", SessionClosed(code=0, reason="", by="client"), user="7")
        await eventually(lambda: world.settled("auth", "channels", "laravel"))
    once = await world.entries(outbound)
    await world.replay()
    async with running(world, "auth", "channels", "laravel"):
        await eventually(lambda: world.settled("auth", "channels", "laravel"))
    twice = await world.entries(outbound)
    assert len(twice) == 2 * len(once) == 14
    assert {entry.id for entry in twice} == {entry.id for entry in once}


RUN = """
import asyncio, sys
from processors.app import run
from runtime.settings import Settings
asyncio.run(run(Settings(_env_file=None)))
"""


@asynccontextmanager
async def process(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    """The processors in a process of their own, which is killed when the block ends."""
    names = ("redis_url", "partitions", "laravel_url", "lease_seconds", "archive_url", "processors_http_port")
    environment = {f"HEADGATE_{name.upper()}": str(getattr(world.settings, name)) for name in names}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN,
        cwd=Path(__file__).parents[2], env={**os.environ, **environment, "HEADGATE_SECRET": SECRET},
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_killed_processors_lose_nothing(world: World) -> None:
    """SIGKILL within a request: after a restart every message is answered, in order, and archived."""
    held, release = asyncio.Event(), asyncio.Event()

    async def gate(call: Call) -> Response:
        if call.body["text"] == "5":
            held.set()
            await release.wait()
        return echo(call)

    world.app.replies[HANDLE] = gate
    sent = [await world.append("s1", message(str(number))) for number in range(8)]
    async with process(world) as child:
        await asyncio.wait_for(held.wait(), 30)
        child.kill()
    release.set()
    sent += [await world.append("s1", message(str(number))) for number in range(8, 10)]
    async with process(world):
        await eventually(lambda: world.settled("auth", "channels", "laravel"), 30)
        answers = [frame["echo"] for frame in await world.frames("session:s1")]
        await eventually(lambda: len(world.archived()) == 20, 30)
    assert answers == [str(number) for number in range(10)]
    handed = [call.headers["x-headgate-event-id"] for call in world.app.calls if call.path == HANDLE]
    assert list(dict.fromkeys(handed)) == [entry.id for entry in sent]
    assert await world.dead() == []


async def test_a_log_that_goes_away_is_waited_for(world: World) -> None:
    """Redis is killed while verdicts are on their way: they are asked for again, and nothing is lost."""
    release = asyncio.Event()

    async def gate(_: Call) -> Response:
        await release.wait()
        return JSONResponse({"user": {"id": 7}})

    world.app.replies |= {HANDLE: echo, VERIFY: gate}
    # Nobody asks any more when leases are in doubt.
    world.settings = world.settings.model_copy(update={"lease_seconds": 30.0})
    sessions = [f"s{number}" for number in range(5)]
    async with running(world):
        for session in sessions:
            await world.append(session, AuthRequested(token=world.sealed(session, "t")))
        await eventually(lambda: len(world.app.bodies(VERIFY)) == 5)
        await world.redis.kill()
        release.set()
        # More often than an entry may fail: what is away is not the entry's fault.
        enough = 5 * world.settings.max_attempts
        await eventually(lambda: len(world.app.bodies(VERIFY)) > enough, 30)
        await world.redis.start()
        await eventually(lambda: ping(world))
        for session in sessions:
            await world.append(session, SubscribeRequested(channel="news"), user="7")
            await world.append(session, message("hi"), user="7")
        await eventually(lambda: world.settled("auth", "channels", "laravel", "persistence"), 30)
    assert len(await world.published("channel:news")) == 5
    assert len(await world.published("user:7")) == 5
    assert [len(await world.published(f"session:{session}")) for session in sessions] == [2] * 5
    assert await world.dead() == []


async def test_a_burst_waits_for_a_connection(world: World) -> None:
    """More commands at once than connections are carried out one after the other, none of them fails."""
    client = connect(world.settings, max_connections=2)
    try:
        assert all(await asyncio.gather(*(client.ping() for _ in range(100))))
    finally:
        await client.aclose()


async def ping(world: World) -> bool:
    try:
        return bool(await world.client.ping())
    except RedisError:
        return False


async def test_poison_does_not_stop_its_session(world: World) -> None:
    """What can never be handled becomes a dead letter with its reason, and the session goes on."""

    def reply(call: Call) -> Response:
        return Response("<html>", 200) if call.body["text"] == "bad" else echo(call)

    world.app.replies[HANDLE] = reply
    key = world.keys.inbound_of("s1")
    async with running(world, "laravel"):
        await world.write(key, [b"no", b"entry"])
        broken = Entry(id="broken", type="message.received", v=1, ts=1, data=b"{", session="s1")
        await world.write(key, broken.fields())
        await world.append("s1", message("bad"))
        await world.append("s1", message("good"))
        await eventually(lambda: world.frames("session:s1"), 20)
        await eventually(lambda: world.settled("laravel"))
    letters = {letter[b"dead_error"].decode(): letter for letter in await world.dead()}
    assert await world.frames("session:s1") == [{"echo": "good"}]
    assert len(letters) == 3
    assert letters["the application's answer is not JSON"][b"dead_attempts"] == b"3"
    assert [letter[b"no"] for letter in letters.values() if b"no" in letter] == [b"entry"]
    assert [letter[b"id"] for letter in letters.values() if letter.get(b"id") == b"broken"] == [b"broken"]
    assert all(letter[b"dead_group"] == b"laravel" for letter in letters.values())


async def test_a_message_that_the_application_fails_on_holds_up_nobody(world: World) -> None:
    """A 500 for one message while others are answered is that message's: a dead letter, and its session goes on."""

    def reply(call: Call) -> Response:
        return Response("", 500) if call.body["text"] == "bad" else echo(call)

    world.app.replies[HANDLE] = reply
    async with running(world, "laravel"):
        await world.append("s1", message("bad"))
        await world.append("s1", message("good"))
        sent = 0
        while not await world.dead():
            sent += 1
            await world.append("s2", message("meanwhile"))
            await eventually(partial(answered, world, "session:s2", sent), 20)
        await eventually(lambda: world.settled("laravel"))
    assert await world.frames("session:s1") == [{"echo": "good"}]
    (letter,) = await world.dead()
    assert (letter[b"session"], letter[b"dead_error"]) == (b"s1", b"the application answered 500")
    assert letter[b"dead_attempts"] == b"3"


async def answered(world: World, topic: str, count: int) -> bool:
    return len(await world.frames(topic)) == count


async def test_the_archive_holds_every_entry_once(world: World, tmp_path: Path) -> None:
    """Inbound, datagrams and outbound are archived, as they were written; a redelivery adds nothing."""
    world.app.replies[HANDLE] = echo
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    spans = tmp_path / "spans.jsonl"
    world.settings = world.settings.model_copy(update={"traces": f"file:{spans}"})
    async with running(world):
        for number in range(50):
            await world.append(f"s{number % 5}", message(str(number)))
            await world.append(f"s{number % 5}", DatagramReceived(frame={"n": number}, channel="a", member=True))
        twice = Entry.of(message("again"), id="twice", ts=1, session="s1", traceparent=traceparent)
        for _ in range(2):
            await world.write(world.keys.inbound_of("s1"), twice.fields())
        await eventually(lambda: world.settled("laravel", "channels", "channels-datagrams"))
        await eventually(lambda: world.settled("persistence"))
    logged = {(key, entry.id) for key in world.logs() for entry in await world.entries([key])}
    assert sorted(world.archived()) == sorted(logged)
    assert (traceparent,) in world.archived("traceparent")
    assert {"process laravel", "POST /api/webtransport/handle"} <= {
        json.loads(line)["name"] for line in spans.read_text().splitlines()
    }
    await world.replay()
    async with running(world, "persistence"):
        await eventually(lambda: world.settled("persistence"))
    assert sorted(world.archived()) == sorted(logged)


async def test_stopping_does_not_wait_for_the_application(world: World) -> None:
    """With the application away and more waiting than fits, the service still stops within its drain time."""
    await world.app.stop()
    pipeline = world.client.pipeline(transaction=False)
    for number in range(1300):
        entry = Entry.of(message("x"), id=f"id-{number}", ts=1, session=f"s{number}")
        pipeline.execute_command("XADD", world.keys.inbound_of(f"s{number}"), "*", *entry.fields())
    await pipeline.execute()
    async with running(world, "laravel"):
        await eventually(lambda: _full(world), 20)
        began = time.monotonic()
    assert time.monotonic() - began < world.settings.drain_seconds + 3 * PATIENCE
    world.app.replies[HANDLE] = echo
    await world.app.start()
    async with running(world, "laravel"):
        await eventually(lambda: world.settled("laravel"), 60)
    assert {call.headers["x-headgate-event-id"] for call in world.app.calls} == {f"id-{n}" for n in range(1300)}


async def test_stopping_does_not_wait_for_the_log(world: World) -> None:
    """With the log away and acknowledgements unwritten, the service stops; what is repeated then is known."""
    held, release = asyncio.Event(), asyncio.Event()

    async def gate(_: Call) -> Response:
        held.set()
        await release.wait()
        return Response(status_code=204)

    world.app.replies[HANDLE] = gate
    sent = await world.append("s1", message("x"))
    async with running(world, "laravel"):
        await held.wait()
        await world.redis.kill()
        release.set()
        began = time.monotonic()
    assert time.monotonic() - began < 2 * world.settings.drain_seconds + 3 * PATIENCE
    await world.redis.start()
    await eventually(lambda: ping(world))
    async with running(world, "laravel"):
        await eventually(lambda: world.settled("laravel"))
    assert {call.headers["x-headgate-event-id"] for call in world.app.calls} == {sent.id}


async def _full(world: World) -> bool:
    return await world.pending("laravel") >= 1000
