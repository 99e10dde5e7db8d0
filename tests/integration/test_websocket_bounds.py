"""WebSocket clients that do not read, do not stop, do not ask or are gone."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import uvloop
from prometheus_client import REGISTRY
from websockets.exceptions import ConnectionClosed

from schemas.codec import FrameLimits
from tests.support.waiting import eventually
from tests.support.ws_client import trusting
from tests.support.ws_server import PING, Server, Start, close_of, pieces, starting


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(tmp_path) as start:
        yield start


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


def counted(event: str) -> float:
    return REGISTRY.get_sample_value("headgate_websocket_events_total", {"event": event}) or 0.0


async def test_a_message_over_the_limit_closes_with_4413(start: Start) -> None:
    """It is refused at its header, in one piece or many, however much of it still comes; what came before counts."""
    server = await start(frame=FrameLimits(max_bytes=1000))
    for message in ("x" * 4_000_000, pieces(["x" * 600] * 3)):
        async with await server.open() as socket:
            await socket.send(json.dumps(PING))
            sending = asyncio.create_task(socket.send(message))
            assert json.loads(await socket.recv()) == PING
            assert json.loads(await socket.recv()) == {"type": "disconnect", "code": 4413}
            assert (await close_of(socket))[0] == 4413
            await asyncio.gather(sending, return_exceptions=True)
        assert (await server.sessions[-1].end())[1] == 4413


async def test_a_client_that_breaks_the_protocol_is_closed_with_4400(server: Server) -> None:
    """A frame that is not masked ends the session with a code, not with a lost connection."""
    async with await server.open() as socket:
        socket.transport.write(b"\x81\x02hi")
        assert (await close_of(socket))[0] == 4400
    assert (await server.sessions[0].end())[1] == 4400


async def test_a_lost_connection_is_abrupt(server: Server) -> None:
    """A connection that ends without a close frame is told as such."""
    socket = await server.open()
    socket.transport.abort()
    assert await server.sessions[0].end() == ("closed", 0, "", True)


async def test_a_paused_session_leaves_the_client_to_tcp(server: Server) -> None:
    """While reading is paused what a client sends fills buffers up to a bound, and all of it is there afterwards."""
    async with await server.open() as socket:
        await socket.send('{"type":"pause"}')
        session = server.sessions[0]
        await eventually(lambda: len(session.calls) == 2)
        big = json.dumps({"type": "quiet", "pad": "x" * 60_000})

        async def send_all() -> None:
            for _ in range(400):
                await socket.send(big)

        sending = asyncio.create_task(send_all())
        await asyncio.wait([sending], timeout=1)
        assert not sending.done()
        received = len(session.calls)
        assert received < 20
        session.transport.resume_reading()
        await asyncio.wait_for(sending, 20)
        await eventually(lambda: len(session.calls) == 402)


async def test_what_a_client_does_not_read_is_seen(server: Server) -> None:
    """Unsent bytes are counted, too many of them close the session, and its connection ends though nobody reads."""
    socket = await server.open()
    socket.transport.pause_reading()
    await socket.send('{"type":"flood","count":20000}')
    session = await server.first()
    await eventually(lambda: session.transport.unsent_bytes() > 10_000_000)
    assert (await session.end())[1] == 3008
    await eventually(lambda: session.transport.unsent_bytes() < 1_000_000)
    await eventually(lambda: server.listener.connection_count == 0)
    socket.transport.abort()


async def test_what_a_session_writes_is_the_session_s_to_bound(start: Start) -> None:
    """It may write more than a client can be made to leave unread with pings, and the client may write meanwhile."""
    server = await start(max_unsent_bytes=200_000)
    async with await server.open() as socket:
        await socket.send('{"type":"flood","count":500}')
        await socket.send(json.dumps(PING))
        frames = [json.loads(await socket.recv()) for _ in range(501)]
        await socket.send(json.dumps(PING))
        frames.append(json.loads(await socket.recv()))
    assert [frame.get("n") for frame in frames[:500]] == [*range(500)]
    assert frames[500:] == [PING, PING]


async def test_unreliable_frames_do_not_pile_up(start: Start) -> None:
    """A client that does not read gets the newest of them later, in order, and as many as the bound says."""
    server = await start(max_unreliable=10)
    async with await server.open() as socket:
        socket.transport.pause_reading()
        await socket.send('{"type":"cursors","count":20000}')
        session = await server.first()
        await eventually(lambda: len(session.calls) == 2)
        assert session.transport.unsent_bytes() < 200_000
        socket.transport.resume_reading()
        numbers = [json.loads(await socket.recv())["n"]]
        while numbers[-1] != 19_999:
            numbers.append(json.loads(await socket.recv())["n"])
    assert numbers == sorted(numbers)
    assert len(numbers) < 10_000


async def test_a_client_that_pings_and_does_not_read_is_closed(start: Start) -> None:
    """Answers to pings are bounded like all else that is unread."""
    server = await start(max_unsent_bytes=200_000)
    socket = await server.open()
    socket.transport.pause_reading()
    session = await server.first()

    async def flood() -> None:
        while not session.ended.is_set():
            socket.transport.write((b"\x89\xfd" + os.urandom(4) + b"x" * 125) * 500)
            await asyncio.sleep(0)

    await asyncio.wait_for(flood(), 20)
    assert (await session.end())[1] == 3008
    socket.transport.abort()


async def test_a_silent_client_is_asked_and_a_dead_one_is_let_go(start: Start) -> None:
    """A client that answers pings stays; one whose machine is gone is closed as lost."""
    server = await start(idle_timeout=2)
    async with await server.open() as alive:
        dead = await server.open()
        dead.transport.pause_reading()
        assert await server.sessions[1].end() == ("closed", 0, "", True)
        dead.transport.abort()
        await alive.send(json.dumps(PING))
        assert json.loads(await alive.recv()) == PING


async def test_who_never_asks_is_let_go(start: Start) -> None:
    """A TCP connection without TLS, and one with TLS but without a request, end after their time."""
    server = await start(setup_timeout=2)
    before = counted("handshake_failed")
    for tls in (None, trusting()):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port, ssl=tls)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert counted("handshake_failed") == before + 1


async def test_connections_are_bounded(start: Start) -> None:
    """One beyond the bound is closed at once and counted; a place that is freed is given again."""
    server = await start(max_connections=1)
    before = counted("connection_refused")
    async with await server.open():
        with pytest.raises((OSError, EOFError, ConnectionClosed)):
            await server.open()
        assert counted("connection_refused") == before + 1

    async def opens() -> bool:
        try:
            async with await server.open():
                return True
        except (OSError, EOFError):
            return False

    await eventually(opens)


async def test_stopping_closes_and_refuses(server: Server) -> None:
    """Drained, nobody gets in and who is in stays; stopped, who is in is told 3001."""
    async with await server.open() as socket:
        await server.listener.drain()
        with pytest.raises(ConnectionRefusedError):
            await server.open()
        await socket.send(json.dumps(PING))
        assert json.loads(await socket.recv()) == PING
        stopping = asyncio.create_task(server.listener.stop())
        assert await close_of(socket) == (3001, "shutdown")
        await stopping
    assert server.listener.session_count == 0


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_message_over_the_limit_closes_with_4413,
        test_a_client_that_breaks_the_protocol_is_closed_with_4400,
        test_a_lost_connection_is_abrupt,
        test_a_paused_session_leaves_the_client_to_tcp,
        test_what_a_client_does_not_read_is_seen,
        test_what_a_session_writes_is_the_session_s_to_bound,
        test_unreliable_frames_do_not_pile_up,
        test_a_client_that_pings_and_does_not_read_is_closed,
        test_a_silent_client_is_asked_and_a_dead_one_is_let_go,
        test_who_never_asks_is_let_go,
        test_stopping_closes_and_refuses,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[Any], Awaitable[None]], tmp_path: Path) -> None:
    """Services run on uvloop, whose TLS and flow control are not asyncio's."""

    async def run() -> None:
        async with starting(tmp_path) as start:
            await scenario(start if "start" in signature(scenario).parameters else await start())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
