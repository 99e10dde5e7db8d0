"""Which requests an application is sent again that must not be handed an entry twice, over a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Final

import pytest
from fastapi.responses import JSONResponse

from processors.app import PROCESSORS, build
from processors.laravel.store import EVENTS, KEPT_S, Beginning, Begun
from runtime.bus.dead import DeadLetters
from runtime.bus.outcomes import Received
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import AuthRequested
from tests.integration.processors_world import HANDLE, VERIFY, World, echo, message, processors_world, running
from tests.support.waiting import eventually

Writer = asyncio.StreamWriter


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        made.settings = made.settings.model_copy(update={"laravel_idempotent": False, "laravel_timeout": 2.0})
        yield made


@dataclass
class Server:
    """An HTTP server that misbehaves as told, once; then it says yes."""

    misbehave: Callable[[Writer], Awaitable[None]]
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (size,) = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(size)
        self.requests.append(head)
        if len(self.requests) == 1:
            await self.misbehave(writer)
        else:
            await status(204)(writer)
        writer.close()


def status(code: int, body: bytes = b"") -> Callable[[Writer], Awaitable[None]]:
    async def answer(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nLocation: /\r\n\r\n" % (code, len(body)) + body)
        await writer.drain()

    return answer


async def silence(writer: Writer) -> None:
    """No answer in time."""
    await asyncio.sleep(6)


async def break_off(writer: Writer) -> None:
    """The connection ends without an answer."""
    writer.transport.abort()


async def break_in_the_middle(writer: Writer) -> None:
    """The answer's beginning, and no end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def served(world: World, misbehave: Callable[[Writer], Awaitable[None]]) -> AsyncIterator[Server]:
    made = Server(misbehave)
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    world.settings = world.settings.model_copy(update={"laravel_url": f"http://127.0.0.1:{port}"})
    try:
        yield made
    finally:
        listener.close()


@pytest.mark.parametrize("code", [503, 429, 408])
async def test_a_request_that_was_turned_away_is_sent_again(world: World, code: int) -> None:
    """Where the application must not be asked twice, too: it had not begun with it."""
    async with served(world, status(code)) as server, running(world, "laravel"):
        await world.append("s1", message("hi"), user="7")
        await eventually(lambda: len(server.requests) == 2)
        await eventually(lambda: world.settled("laravel"))
    assert await world.dead() == []


async def test_a_request_that_met_no_server_is_sent_again(world: World) -> None:
    """A refused connection; when the application is there the entry is handed over, once."""
    await world.app.stop()
    async with running(world, "laravel"):
        await world.append("s1", message("hi"), user="7")
        await eventually(lambda: world.pending("laravel"))
        await world.app.start()
        await eventually(lambda: world.settled("laravel"), 20)
    assert len(world.app.bodies(HANDLE)) == 1
    assert await world.dead() == []


DOUBTFUL: Final = {
    "silence": (silence, b"did not answer within"),
    "500": (status(500), b"answered 500"),
    "502": (status(502), b"answered 502"),
    "504": (status(504), b"answered 504"),
    "a redirect": (status(302), b"redirects (302)"),
    "broken off": (break_off, b"no connection"),
    "broken in the middle": (break_in_the_middle, b"no connection"),
    "no JSON": (status(200, b"<html>"), b"not JSON"),
}


@pytest.mark.parametrize("case", DOUBTFUL)
async def test_a_request_that_may_have_been_handled_is_not(world: World, case: str) -> None:
    """It becomes a dead letter at once, which says why; what comes after it is handed over."""
    misbehave, why = DOUBTFUL[case]
    async with served(world, misbehave) as server, running(world, "laravel"):
        await world.append("s1", message("hi"), user="7")
        await world.append("s1", message("ho"), user="7")
        await eventually(lambda: world.settled("laravel"), 20)
    (letter,) = await world.dead()
    assert why in letter[b"dead_error"]
    assert b"HEADGATE_LARAVEL_IDEMPOTENT" in letter[b"dead_error"]
    assert letter[b"dead_attempts"] == b"1"
    assert len(server.requests) == 2


async def test_a_processor_that_ends_in_the_middle_leaves_a_dead_letter(world: World) -> None:
    """The next one cannot know what became of the request; what was not begun with is handed over."""
    asked = asyncio.Event()

    async def hang(writer: Writer) -> None:
        asked.set()
        await asyncio.sleep(30)

    world.settings = world.settings.model_copy(update={"drain_seconds": 0.05, "laravel_timeout": 20.0})
    async with served(world, hang) as server:
        async with running(world, "laravel"):
            await world.append("s1", message("hi"), user="7")
            await world.append("s1", message("ho"), user="7")
            await asked.wait()
        async with running(world, "laravel"):
            await eventually(lambda: world.settled("laravel"), 20)
    (letter,) = await world.dead()
    assert b"its processor ended" in letter[b"dead_error"]
    assert b'"hi"' in letter[b"data"]
    assert len(server.requests) == 2


async def test_what_a_client_sends_again_is_not_handed_over_again(world: World) -> None:
    """Its acknowledgement was lost: the same event has another place in the log."""
    world.app.replies[HANDLE] = echo
    async with running(world, "laravel"):
        for text in ("hi", "ho", "hi"):
            await world.append("s1", message(text), user="7", id=f"event-{text}")
        await world.append("s2", message("hi"), user="7", id="event-hi of another session")
        await eventually(lambda: world.settled("laravel"), 20)
    assert sorted(body["text"] for body in world.app.bodies(HANDLE)) == ["hi", "hi", "ho"]
    assert len(await world.frames("session:s1")) == 2
    assert await world.dead() == []


async def test_what_met_no_server_and_is_sent_again_is_handed_over_once(world: World) -> None:
    """What was not begun with is not taken for begun with, whatever its client does meanwhile."""
    await world.app.stop()
    async with running(world, "laravel"):
        for _ in range(2):
            await world.append("s1", message("hi"), user="7", id="event-hi")
        await eventually(lambda: world.pending("laravel"))
        await world.app.start()
        await eventually(lambda: world.settled("laravel"), 20)
    assert len(world.app.bodies(HANDLE)) == 1
    assert await world.dead() == []


async def test_what_an_operator_retries_is_handed_over_again(world: World) -> None:
    """But not what the client sends again while it is a dead letter: that is for the operator to decide."""
    async with served(world, status(500)) as server, running(world, "laravel"):
        for _ in range(2):
            await world.append("s1", message("hi"), user="7", id="event-hi")
        await eventually(lambda: world.settled("laravel"), 20)
        assert len(server.requests) == 1
        dead = DeadLetters(world.client, world.keys)
        (letter,) = [letter async for letter in dead.all()]
        await dead.retry(letter)
        await eventually(lambda: len(server.requests) == 2)
        await eventually(lambda: world.settled("laravel"), 20)
    assert await world.dead() == []


async def test_the_events_of_a_session_that_are_known_are_bounded(world: World) -> None:
    """The latest of them, and for as long as the session's place in the log is known."""
    begun = Begun(world.client, world.keys)
    for n in range(1, EVENTS + 4):
        entry = Entry.of(message("hi"), id=f"event-{n}", ts=n, session="s1")
        assert (await begun.begin(Received(0, f"{n}-0", entry)))[0] is Beginning.FIRST
    (key,) = await world.client.keys("*laravel_events*")
    assert await world.client.zcard(key) == EVENTS
    assert await world.client.zscore(key, "event-3") is None
    assert await world.client.zscore(key, "event-4") == 4
    assert 0 < await world.client.ttl(key) <= KEPT_S


async def test_questions_are_asked_again_all_the_same(world: World) -> None:
    """Whose token it is can be asked twice: only what is handled is at stake."""
    answers = chain([500, 500], repeat(200))
    world.app.replies[VERIFY] = lambda _: JSONResponse({"user": {"id": 7}}, next(answers))
    async with running(world, "auth"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")))
        (told,) = await eventually(lambda: world.published("session:s1"), 20)
    assert told.type == "session.authenticated"


async def test_an_application_that_reads_the_log_is_not_asked_to_handle_anything(world: World) -> None:
    """By default the forwarder does not run then, and to choose it is a contradiction."""
    world.settings = world.settings.model_copy(update={"laravel_via": "log"})
    async with running(world):
        await world.append("s1", message("hi"), user="7")
        await eventually(lambda: world.settled(*PROCESSORS))
        groups = await world.client.xinfo_groups(world.keys.inbound_of("s1"))
    assert {info["name"] for info in groups} == {b"auth", b"channels", b"persistence"}
    assert world.app.calls == []
    with pytest.raises(ConfigurationError, match="HEADGATE_LARAVEL_VIA"):
        build(world.settings, ["laravel"])
