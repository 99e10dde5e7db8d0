"""What reaches the application's server, byte by byte: no header of a stranger's, and no other server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from schemas.events import AuthRequested, Event, SessionOpened, SubscribeRequested
from tests.integration.processors_world import World, message, processors_world, running
from tests.support.waiting import eventually

BEGIN = SessionOpened(transport="wt", origin="", path="/", address="::1")
EVIL = "7\r\nX-Evil: 1\r\n\r\nPOST /evil HTTP/1.1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        made.settings = made.settings.model_copy(update={"max_attempts": 2})
        yield made


@asynccontextmanager
async def server(head: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers `head` to whatever it gets: its port, and all that came."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            came.append(data)
            writer.write(head + b"\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], came
    finally:
        listener.close()


def at(world: World, port: int) -> None:
    world.settings = world.settings.model_copy(update={"laravel_url": f"http://127.0.0.1:{port}"})


@pytest.mark.parametrize("event", [message("hi"), message("hi", channel="news"), BEGIN])
async def test_no_user_id_becomes_a_header(world: World, event: Event) -> None:
    """An entry whose user would end the header ends as a dead letter; nothing of it was sent."""
    async with server(b"HTTP/1.1 204 X") as (port, came):
        at(world, port)
        async with running(world, "laravel"):
            await world.append("s1", event, user=EVIL)
            await eventually(world.dead, 20)
            await world.append("s2", event, user="7é\u2028")
            await eventually(lambda: world.settled("laravel"), 20)
    sent = b"".join(came)
    assert b"evil" not in sent.lower()
    assert "X-User-Id: 7é\u2028".encode().lower() in sent.lower()
    assert sent.count(b"POST ") == 1


async def test_no_session_channel_or_token_becomes_a_header(world: World) -> None:
    """A channel stands in the body; a session or a token that would end a header is not sent at all."""
    async with server(b"HTTP/1.1 403 X") as (port, came):
        at(world, port)
        async with running(world, "auth", "channels", "laravel"):
            await world.append("s1", SubscribeRequested(channel=f"private-{EVIL}"), user="7")
            await world.append("s2", AuthRequested(token=world.sealed("s2", EVIL)))
            await world.append(f"s3{EVIL}", message("hi"), user="7")
            await eventually(lambda: world.settled("auth", "channels", "laravel"), 20)
    assert b"".join(came) == b""
    assert len(await world.dead()) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(world: World, status: int) -> None:
    """Neither tokens nor messages go to another server because the application says so."""
    async with server(b"HTTP/1.1 200 X") as (inside, leaked):
        head = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:%d/inside" % (status, inside)
        async with server(head) as (port, came):
            at(world, port)
            async with running(world, "auth", "channels", "laravel"):
                await world.append("s1", AuthRequested(token=world.sealed("s1", "t")))
                await world.append("s2", SubscribeRequested(channel="private-a"), user="7")
                await world.append("s3", message("hi"), user="7")
                await world.append("s4", BEGIN, user="7")
                paths = (b"/verify", b"/authorize", b"/handle", b"/event")
                await eventually(lambda: all(path in b"".join(came) for path in paths), 20)
    assert leaked == []
