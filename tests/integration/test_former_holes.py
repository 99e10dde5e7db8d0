"""Requests to the application that somebody else would like to steer. docs/security.md has the whole list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, RedirectResponse

from schemas.events import AuthRequested, SubscribeRequested
from tests.integration.processors_world import (
    AUTHORIZE,
    EVENT,
    HANDLE,
    VERIFY,
    World,
    message,
    processors_world,
    running,
)
from tests.support.waiting import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(world: World, status: int) -> None:
    """An answer that points elsewhere is followed by no request there: the application counts as away."""
    visitors: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(writer.get_extra_info("peername"))
        writer.close()

    elsewhere = await asyncio.start_server(visited, "127.0.0.1", 0)
    port = elsewhere.sockets[0].getsockname()[1]
    world.app.replies[HANDLE] = lambda _: RedirectResponse(f"http://127.0.0.1:{port}/internal", status)
    async with running(world, "laravel"):
        await world.append("s1", message("hi", frame_id="m1"), user="7")
        await eventually(lambda: len(world.app.bodies(HANDLE)) > 1)
        assert await world.published("session:s1") == []
        world.app.replies[HANDLE] = lambda _: JSONResponse({"type": "heard"})
        (told,) = await eventually(lambda: world.published("session:s1"), 20)
    assert told.payload()["frame"]["type"] == "heard"
    assert visitors == []
    elsewhere.close()


@pytest.mark.parametrize("token", ["t\r\nX-User-Id: 1", "t\nX-User-Id: 1", "t\r", "t\0", "t t", "é"])
async def test_a_token_adds_no_header(world: World, token: str) -> None:
    """What cannot be a token in one header is no token: the application is not even asked."""
    async with running(world, "auth"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", token)))
        (told,) = await eventually(lambda: world.published("session:s1"))
    assert told.type == "session.auth_failed"
    assert world.app.calls == []


async def test_a_user_id_adds_no_header(world: World) -> None:
    """A user id with a line break authenticates nobody, so that it is in no later request."""
    world.app.replies[VERIFY] = lambda _: JSONResponse({"user": {"id": "7\r\nX-Admin: 1"}})
    async with running(world, "auth"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")))
        (told,) = await eventually(lambda: world.published("session:s1"))
    assert told.type == "session.auth_failed"


async def test_what_a_frame_holds_adds_no_header(world: World) -> None:
    """Frames and channel names travel in bodies: headers are the same whatever is in them."""
    hostile = "x\r\nX-User-Id: 1\r\n\r\nGET /admin HTTP/1.1"
    async with running(world, "laravel", "channels"):
        await world.append("s1", message("plain"), user="7")
        await world.append("s1", message(hostile, frame_id=hostile, channel="news"), user="7")
        await world.append("s1", SubscribeRequested(channel="private-a", frame_id=hostile), user="7")
        await eventually(lambda: len(world.app.calls) == 4)

    def names(path: str, place: int) -> dict[str, Any]:
        headers = [call.headers for call in world.app.calls if call.path == path][place]
        return {name: headers.get(name) for name in ("x-user-id", "host", "x-webtransport-session")}

    assert names(HANDLE, 0) == names(HANDLE, 1) == names(AUTHORIZE, 0) == names(EVENT, 0)
    assert names(HANDLE, 0)["x-user-id"] == "7"
    assert {call.path for call in world.app.calls} == {HANDLE, AUTHORIZE, EVENT}
