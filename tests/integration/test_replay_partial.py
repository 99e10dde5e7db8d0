"""Replays of what is not whole: of some of it a part was erased, trimmed, or kept for a shorter time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse

from console.recordings import ArchiveRecording
from console.replay.beginning import beginning
from processors.persistence import rules
from processors.persistence.erasing import Eraser, Traces
from processors.persistence.reader import ArchiveReader
from processors.persistence.store import Archive
from runtime.recording import LogRecording, Selection, recorded
from schemas.events import AuthRequested, MessagePublished, SessionDisconnected, SubscribeRequested, WhisperReceived
from schemas.keys import Keys
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
from tests.integration.test_replay import answer, replayed, routed, settled
from tests.support.waiting import eventually

ROOM = "presence-room"
#: Who is in the room, by session; user 8 is the one to be erased.
USERS = {"s0": "7", "s1": "8", "s2": "7", "s3": "9"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Sessions of three users that met in a channel: handled, routed, and over."""

    def who(call: Call) -> JSONResponse:
        return JSONResponse({"user": {"id": int(call.headers["authorization"].split()[1])}})

    async with processors_world(tmp_path) as made:
        made.app.replies[VERIFY] = who
        made.app.replies[AUTHORIZE] = lambda call: JSONResponse({"member": {"name": "somebody"}})
        made.app.replies[HANDLE] = answer
        async with running(made, "auth", "channels", "laravel"), routed(made):
            await talk(made)
        yield made


async def talk(world: World) -> None:
    for one, user in USERS.items():
        await world.append(one, AuthRequested(token=world.sealed(one, user), protocol=1))
    await eventually(lambda: settled(world))
    for one, user in USERS.items():
        await world.append(one, SubscribeRequested(channel=ROOM), user=user)
    await eventually(lambda: settled(world))
    for n in range(6):
        for one, user in USERS.items():
            await world.append(one, message(f"{n}", frame_id=str(n), channel=ROOM if n % 2 else None), user=user)
            await world.append(one, WhisperReceived(event="client-x", channel=ROOM, data=n, member=True), user=user)
        await eventually(lambda: settled(world), 30)
    for one, user in USERS.items():
        event = SessionDisconnected(generation=1, code=0, reason="bye", by="client", final=True)
        await world.append(one, event, user=user)
    await eventually(lambda: settled(world), 30)


@asynccontextmanager
async def archived(world: World) -> AsyncIterator[ArchiveReader]:
    """An archive of all that is on the log."""
    url = world.settings.archive_url
    archive, reader = Archive(url), ArchiveReader(url)
    await archive.start()
    try:
        async for batch in LogRecording(world.client).read(recorded(world.keys), Selection()):
            await archive.insert([rules.row(*one) for one in batch])
        yield reader
    finally:
        await reader.close()
        await archive.stop()


async def test_what_a_user_left_who_was_erased_is_decided_as_it_was(world: World) -> None:
    """Places in a channel that nobody has any more are passed over; who was there besides is not asked."""
    async with archived(world) as reader:
        whole, found = await replayed(world, source=ArchiveRecording(reader))
        assert found == []
        eraser, traces = Eraser(world.settings.archive_url), Traces("8")
        try:
            await eraser.find(traces)
            assert await eraser.erase(traces, 1) > 20
        finally:
            await eraser.close()
        tally, found = await replayed(world, Selection(erased=True), source=ArchiveRecording(reader))
    assert found == []
    assert tally.notes["topics of which something is gone"] > 0
    assert tally.notes["erased"] > 20
    assert whole.outputs["identical"] / 2 < tally.outputs["identical"] < whole.outputs["identical"]


async def middle(world: World) -> str:
    """The stream id of the message that is in the middle of the outbound log with the most of them."""
    found: Any = [await world.client.xrange(world.keys.outbound(p)) for p in range(world.keys.partitions)]
    longest = max(found, key=len)
    return str(longest[len(longest) // 2][0].decode())


@pytest.mark.parametrize("trimmed", ["inbound", "outbound", "trail"])
async def test_a_log_that_was_trimmed_here_and_there_is_replayed_from_where_all_of_it_is(
    world: World, trimmed: str
) -> None:
    """Nothing is new or missing for its other half went first."""
    keys = world.keys
    logs = list(map(keys.outbound if trimmed == "outbound" else keys.inbound, range(keys.partitions)))
    cut = await middle(world)
    for log in map(Keys.trail, logs) if trimmed == "trail" else logs:
        await world.client.xtrim(log, minid=cut, approximate=False)
    begins = await beginning(LogRecording(world.client), world.settings, world.client, keys)
    assert begins.parts > 0
    tally, found = await replayed(world, begins.of(Selection(erased=True)))
    assert found == []
    assert tally.outputs["identical"] > 3


async def test_a_log_that_is_whole_is_replayed_from_its_beginning(world: World) -> None:
    """Nothing is left out where nothing was trimmed."""
    begins = await beginning(LogRecording(world.client), world.settings, world.client, world.keys)
    assert (begins.since, begins.parts) == (0, 0)


async def test_an_archive_is_replayed_from_where_all_types_are_kept(world: World) -> None:
    """But for those of which nothing else knows anything; and no earlier than what was chosen."""
    async with archived(world) as reader:

        async def begins(*rules: str) -> int:
            settings = world.settings.model_copy(update={"archive_retention": rules})
            found = await beginning(ArchiveRecording(reader), settings, world.client, world.keys)
            return round(time.time() - found.since / 1000) if found.since else 0

        assert await begins("whisper.*=1d") == 0
        assert await begins() == 0
        assert 86_000 < await begins("*=30d", f"{MessagePublished.TYPE}=1d") < 86_400
