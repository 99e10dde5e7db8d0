"""`headgate inspect` over what processors and router really did."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from schemas.events import AuthRequested, SubscribeRequested, WhisperReceived
from tests.integration.processors_world import (
    AUTHORIZE,
    HANDLE,
    VERIFY,
    World,
    message,
    processors_world,
    running,
)
from tests.integration.test_replay import ROOM, routed, settled
from tests.support.command import outcome
from tests.support.waiting import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Ada is in the room and Bob is not let in; a whisper, a message that is answered and one that is not."""
    async with processors_world(tmp_path) as made:
        made.app.replies[VERIFY] = lambda call: JSONResponse({"user": {"id": call.headers["authorization"][-3:]}})
        made.app.replies[AUTHORIZE] = lambda call: (
            Response(status_code=403) if call.body["user"] == "bob" else JSONResponse({})
        )
        made.app.replies[HANDLE] = lambda call: (
            PlainTextResponse("what?") if call.body["text"] == "odd" else JSONResponse({"echo": call.body["text"]})
        )
        async with running(made, "auth", "channels", "laravel"), routed(made):
            for user in ("ada", "bob"):
                await made.append(user, AuthRequested(token=made.sealed(user, f"token-of-{user}"), protocol=1))
            await eventually(lambda: settled(made), 30)
            for user in ("ada", "bob"):
                await made.append(user, SubscribeRequested(channel=ROOM, frame_id="1"), user=user)
            await eventually(lambda: settled(made), 30)
            whisper = WhisperReceived(event="client-x", channel=ROOM, data={"n": 1}, member=True)
            await made.append("eve", whisper, user="eve", id="whisper-1")
            await made.append("ada", message("hello", frame_id="2"), user="ada")
            await made.append("ada", message("odd", frame_id="3"), user="ada")
            await eventually(lambda: settled(made), 30)
        yield made


async def inspected(world: World, tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    """What the command says as JSON."""
    status, output, errors = await outcome("inspect", *arguments, "--json", env=env(world), cwd=tmp_path)
    assert status == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def env(world: World) -> dict[str, str]:
    return {"HEADGATE_REDIS_URL": world.settings.redis_url, "COLUMNS": "200"}


async def test_why_somebody_got_it_and_somebody_did_not(world: World, tmp_path: Path) -> None:
    """Ada's timeline has the whisper, on her gateway; Bob's has the refusal in its place."""
    ada = await inspected(world, tmp_path, "user", "ada")
    (whisper,) = [one for one in ada if one["entry"]["cause"] == "whisper-1"]
    assert whisper["delivered"].startswith("publication to gw at offset 1")
    bob = await inspected(world, tmp_path, "user", "bob")
    assert not any(one["entry"]["cause"] == "whisper-1" for one in bob)
    (asked,) = [one for one in bob if one["entry"]["type"] == "channel.subscribe_requested"]
    assert [(one["processor"], one["outcome"], one["asked"]["status"]) for one in asked["handled"]] == [
        ("channels", "done", 403)
    ]


async def test_what_every_processor_did_with_an_entry_and_how_long_it_took(world: World, tmp_path: Path) -> None:
    """Of a message: when it was settled, by whom, after how many attempts, and what the application said."""
    steps = await inspected(world, tmp_path, "session", "ada")
    messages = [one for one in steps if one["entry"]["type"] == "message.received"]
    good, odd = [one["handled"][0] for one in messages]
    assert (good["outcome"], good["attempts"], good["asked"]["route"], good["asked"]["status"]) == (
        "done",
        1,
        HANDLE,
        200,
    )
    assert good["ms"] > 0
    assert good["at"] >= messages[0]["at"]
    assert (odd["outcome"], odd["attempts"], odd["asked"]["status"]) == ("dead", 3, 200)
    assert all(one["waits_for"] == [] for one in steps)


async def test_an_event_with_what_led_to_it_and_what_followed(world: World, tmp_path: Path) -> None:
    """Named by any of its entries, the whole of it is shown: the frame and the publication."""
    (received, published) = await inspected(world, tmp_path, "event", "whisper-1")
    assert (received["entry"]["type"], published["entry"]["type"]) == ("whisper.received", "message.published")
    assert await inspected(world, tmp_path, "event", published["entry"]["id"]) == [received, published]


async def test_people_read_it_too(world: World, tmp_path: Path) -> None:
    """Of a channel, as text: who asked, what was answered, who was delivered what."""
    status, output, errors = await outcome("inspect", "channel", ROOM, env=env(world), cwd=tmp_path)
    assert status == 0, errors
    assert "whisper.received" in output
    assert "channels: done at" in output
    assert "/api/webtransport/authorize answered 403" in output
    assert "publication to gw at offset 1" in output


async def test_what_nobody_has_settled_is_said(world: World, tmp_path: Path) -> None:
    """An entry that still waits shows for whom."""
    await world.append("ada", message("later"), user="ada", id="later-1")
    (step,) = await inspected(world, tmp_path, "event", "later-1")
    assert step["waits_for"] == ["laravel"]
    status, _, errors = await outcome("inspect", "event", "nothing", env=env(world), cwd=tmp_path)
    assert status == 2
    assert "nothing" in errors
