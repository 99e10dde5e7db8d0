"""Replays of what was done in another order than it was told, and of what was done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.responses import JSONResponse

from console.replay.routing import UNKNOWN_SUBSCRIBERS
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    EntryHandled,
    SessionAuthenticated,
    SessionClosed,
    SessionDisconnected,
    SubscribeRequested,
)
from schemas.keys import Keys
from tests.integration.processors_world import AUTHORIZE, HANDLE, VERIFY, World, processors_world, running
from tests.integration.test_replay import ROOM, answer, record, replayed, routed, settled
from tests.support.waiting import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        made.app.replies[VERIFY] = lambda call: JSONResponse({"user": {"id": 7}})
        made.app.replies[AUTHORIZE] = lambda call: JSONResponse({"member": {"name": "Ada"}})
        made.app.replies[HANDLE] = answer
        yield made


@pytest.mark.parametrize("late", [(), ("auth",)], ids=str)
async def test_a_session_ends_when_its_time_is_over_after_its_connection_was_lost(
    world: World, late: tuple[str, ...]
) -> None:
    """Also where that was told later than the session was ended."""
    world.settings = world.settings.model_copy(update={"resume_seconds": 1})
    async with running(world, "auth", "channels", "laravel"), routed(world):
        await world.append("s", AuthRequested(token=world.sealed("s", "token"), protocol=1))
        await eventually(lambda: settled(world))
        await world.append("s", SubscribeRequested(channel=ROOM), user="7")
        await eventually(lambda: settled(world))
        event = SessionDisconnected(generation=1, code=0, reason="lost", by="gateway", final=False)
        await world.append("s", event, user="7")
        await eventually(lambda: ended(world), 20)
        await eventually(lambda: settled(world))
    tally, found = await replayed(world, late=late)
    assert found == []
    assert tally.outputs["identical"] > 10


async def ended(world: World) -> bool:
    entries = await world.entries([world.keys.inbound_of("s")])
    return entries[-1].type == SessionClosed.TYPE


@pytest.mark.parametrize("redelivered", [True, False])
async def test_what_led_to_nothing_when_it_was_routed_again_is_not_judged(world: World, redelivered: bool) -> None:
    """A router died after it had routed a claim and the one that followed: to who routed both again the first said
    nothing. What it said the first time is not told, and no change; of what was routed once it would be one."""
    await record(world)
    log = Keys.trail(world.keys.outbound_of("session:s0"))
    told = await world.entries([log])
    await world.client.delete(log)
    for one in told:
        event = one.event()
        assert isinstance(event, EntryHandled)
        if one.cause == (await claimed(world, "s0")).id:
            event = event.model_copy(update={"routed": None, "redelivered": redelivered})
        await world.write(log, replace(one, data=event.model_dump_json().encode()).fields())
    tally, found = await replayed(world)
    assert [one.processor for one in found] == ([] if redelivered else ["router"])
    assert tally.notes[UNKNOWN_SUBSCRIBERS] == redelivered


async def claimed(world: World, session: str) -> Entry:
    """What put a session on its topic."""
    entries = await world.entries([world.keys.outbound_of(f"session:{session}")])
    return next(one for one in entries if one.type == SessionAuthenticated.TYPE and one.session == session)
