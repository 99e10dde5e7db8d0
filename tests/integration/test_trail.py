"""The trail: what became of each entry, left beside the log and kept by the archive."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse

from processors.asked import KEPT_BYTES
from runtime.bus.trim import Trimmer
from schemas.events import AuthRequested, EntryHandled, SessionOpened, SubscribeRequested
from schemas.groups import TRAIL
from schemas.handled import Asked
from schemas.ids import of_handling
from schemas.keys import Keys
from tests.integration.processors_world import (
    AUTHORIZE,
    HANDLE,
    VERIFY,
    Call,
    World,
    echo,
    message,
    processors_world,
    running,
)
from tests.support.waiting import eventually

DECIDING = ("auth", "channels", "laravel")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        yield made


def trails(world: World) -> list[str]:
    return [Keys.trail(world.keys.inbound(p)) for p in range(world.keys.partitions)]


async def left(world: World) -> list[EntryHandled]:
    """What the trails say, in the order of their streams."""
    found = [entry.event() for entry in await world.entries(trails(world))]
    return [event for event in found if isinstance(event, EntryHandled)]


async def handled(world: World, entry_id: str, group: str) -> EntryHandled:
    """What the trail says of an entry, once it does."""

    async def found() -> list[EntryHandled]:
        entries = await world.entries(trails(world))
        return [one.event() for one in entries if one.id == of_handling(entry_id, group)]  # type: ignore[misc]

    event = (await eventually(found))[0]
    assert isinstance(event, EntryHandled)
    return event


async def test_the_trail_says_what_the_application_was_asked_and_answered(world: World) -> None:
    """Route, status and answer stand in the trail of a message, beside outcome, attempts and time."""
    world.app.replies[HANDLE] = echo
    entry = await world.append("s1", message("hello", frame_id="1"))
    async with running(world, "laravel"):
        event = await handled(world, entry.id, "laravel")
    assert (event.processor, event.outcome, event.attempts, event.redelivered) == ("laravel", "done", 1, False)
    assert event.ms > 0
    assert event.asked is not None
    assert event.asked.model_copy(update={"sent": ""}) == Asked(
        route=HANDLE, sent="", status=200, answer={"echo": "hello"}
    )


async def test_what_is_handled_again_is_said_to_be(world: World) -> None:
    """An application that was away may have done all of it at the first attempt: the trail of the last one says so."""
    answers = iter([lambda: JSONResponse({}, status_code=503)])
    world.app.replies[HANDLE] = lambda call: next(answers, lambda: echo(call))()
    entry = await world.append("s1", message("hello"))
    async with running(world, "laravel"):
        event = await handled(world, entry.id, "laravel")
    assert (event.outcome, event.attempts, event.redelivered) == ("done", 1, True)


async def test_no_token_is_in_a_trail(world: World) -> None:
    """Neither the client's token nor what else an application puts into its verdict is kept."""
    secret = "a-token-that-nobody-may-read"
    verdict = {"user": {"id": 7, "info": {"name": "Ada"}, "api_token": secret}, "token": secret}
    world.app.replies[VERIFY] = lambda call: JSONResponse(verdict)
    world.app.replies[AUTHORIZE] = lambda call: JSONResponse({"member": {"name": "Ada"}, "auth": secret})
    auth = await world.append("s1", AuthRequested(token=world.sealed("s1", secret)))
    join = await world.append("s1", SubscribeRequested(channel="presence-room"), user="7")
    async with running(world, "auth", "channels"):
        verified = await handled(world, auth.id, "auth")
        authorised = await handled(world, join.id, "channels")
    assert verified.asked is not None
    assert authorised.asked is not None
    assert verified.asked.answer == {"user": {"id": 7, "info": {"name": "Ada"}}}
    assert authorised.asked.answer == {"member": {"name": "Ada"}}
    raw = [entry.data for entry in await world.entries(trails(world))]
    assert not any(secret.encode() in data for data in raw)


async def test_a_long_answer_is_left_out_and_said_to_be(world: World) -> None:
    """An answer beyond the bound is not in the trail, which says that there was one."""
    world.app.replies[HANDLE] = lambda call: JSONResponse({"text": "x" * KEPT_BYTES})
    entry = await world.append("s1", message("hello"))
    async with running(world, "laravel"):
        event = await handled(world, entry.id, "laravel")
    assert event.asked is not None
    assert (event.asked.status, event.asked.answer, event.asked.left_out) == (200, None, True)


async def test_a_dead_letter_leaves_a_trail_too(world: World) -> None:
    """What became a dead letter is in the trail with its error, its attempts and the last answer."""
    world.app.replies[HANDLE] = lambda call: PlainTextResponse("not JSON")
    entry = await world.append("s1", message("hello"))
    async with running(world, "laravel"):
        event = await handled(world, entry.id, "laravel")
    assert (event.outcome, event.attempts) == ("dead", 3)
    assert event.asked is not None
    assert (event.asked.kind, event.asked.status) == ("bad_answer", 200)
    assert event.error == event.asked.error


async def test_the_archive_keeps_one_of_each_entry_and_processor(world: World) -> None:
    """However often entries are handled again, the archive has one entry of a trail for each processor of each."""
    world.app.replies[HANDLE] = echo
    written = [await world.append(f"s{n % 5}", message(str(n))) for n in range(20)]
    opened = SessionOpened(transport="quic", origin="", path="/", address="")
    written += [await world.append(f"s{n}", opened) for n in range(5)]
    wanted = {of_handling(entry.id, "laravel") for entry in written}
    for _ in range(2):
        async with running(world):
            await eventually(lambda: world.settled(*DECIDING, "persistence"), 30)
            await eventually(lambda: wanted <= {one for _, one in world.archived(trails=True)})
        await world.replay()
    kept = Counter(one for _, one in world.archived(trails=True))
    assert set(kept) == wanted
    assert set(kept.values()) == {1}
    assert len(await left(world)) == 2 * len(written), "they were not handled twice"


async def test_a_killed_processor_leaves_one_trail_in_the_archive(world: World, tmp_path: Path) -> None:
    """A process that is killed while it handles leaves nothing unsaid: the next one's trail and its own are one."""
    killed = 0

    def answer(call: Call) -> Any:
        nonlocal killed
        killed += 1
        if killed == 5:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        return echo(call)

    world.app.replies[HANDLE] = answer
    written = [await world.append("s1", message(str(n))) for n in range(10)]
    code = (
        "import asyncio, os, sys; from pathlib import Path; from runtime.settings import Settings; "
        "from processors.app import run; Path(sys.argv[1]).write_text(str(os.getpid())); asyncio.run(run(Settings()))"
    )
    environment = os.environ | {
        "HEADGATE_REDIS_URL": world.settings.redis_url,
        "HEADGATE_SECRET": world.settings.secret.get_secret_value(),
        "HEADGATE_PARTITIONS": str(world.settings.partitions),
        "HEADGATE_LARAVEL_URL": world.app.url,
        "HEADGATE_LEASE_SECONDS": "0.6",
        "HEADGATE_PROCESSORS_HTTP_PORT": "0",
        "HEADGATE_ARCHIVE_URL": world.settings.archive_url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path / "pid"), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    wanted = {of_handling(entry.id, "laravel") for entry in written}
    async with running(world):
        await eventually(lambda: wanted <= {one for _, one in world.archived(trails=True)}, 30)
    kept = Counter(one for _, one in world.archived(trails=True))
    assert kept == Counter(wanted)


async def test_without_trails_nothing_is_left(world: World) -> None:
    """HEADGATE_TRAIL=0: entries are handled as ever and leave no trail."""
    without = replace(world, settings=world.settings.model_copy(update={"trail": 0}))
    world.app.replies[HANDLE] = echo
    await world.append("s1", message("hello"))
    async with running(without, "laravel"):
        await eventually(lambda: world.frames("session:s1"))
        await eventually(lambda: world.settled("laravel"))
    assert await left(world) == []


async def test_a_trail_is_trimmed_behind_the_archive_and_bounded(world: World) -> None:
    """It stays while the archive has not read it, up to its bound; what the archive has goes as the log does."""
    (trail, *_) = trails(world)
    pipeline = world.client.pipeline(transaction=False)
    for n in range(3000):
        pipeline.xadd(trail, {"n": str(n)})
    await pipeline.execute()
    await world.client.xgroup_create(trail, TRAIL[0], id="0")
    later = int((await world.client.time())[0]) * 1000 + 86_400_000

    async def trimmed(**update: Any) -> int:
        settings = world.settings.model_copy(update=update)
        await Trimmer(world.client, settings, lambda: range(settings.partitions), lambda: later).trim()
        return int(await world.client.xlen(trail))

    assert await trimmed() == 3000
    assert 1000 <= await trimmed(trail=1000) <= 1100
    await world.client.xgroup_setid(trail, TRAIL[0], "$")
    assert await trimmed() < 100
