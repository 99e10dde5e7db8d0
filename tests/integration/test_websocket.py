"""Sessions over WebSocket and real TLS, with the `websockets` client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from prometheus_client import REGISTRY
from websockets.exceptions import InvalidStatus

from ingress.server.transport import SessionRequest
from tests.support.ws_client import trusting
from tests.support.ws_server import PING, Server, Start, close_of, pieces, starting


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(tmp_path) as start:
        yield start


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_session_over_each_ip_version(host: str, server: Server) -> None:
    """One listener serves IPv4 and IPv6, and tells the address and headers of the request."""
    async with await server.open(
        "/a?b=c", host, origin="https://app.test", subprotocols=["x", "v1"], user_agent_header="Test/1"
    ) as socket:
        assert socket.subprotocol == "v1"
        await socket.send(json.dumps(PING))
        assert json.loads(await socket.recv()) == PING
    assert server.sessions[0].calls[0] == (
        "connected",
        SessionRequest(
            transport="websocket",
            path="/a?b=c",
            authority=f"{host}:{server.listener.port}",
            origin="https://app.test",
            protocols=("x", "v1"),
            user_agent="Test/1",
            remote_address=host.strip("[]"),
        ),
    )


async def test_text_and_binary_messages_of_one_session_are_answered_in_kind(server: Server) -> None:
    """JSON in text, msgpack and JSON in binary messages: each is answered as it came; pushes are messages too."""
    async with await server.open() as socket:
        for message in (json.dumps(PING), msgpack.packb(PING), json.dumps(PING).encode()):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(json.dumps({"type": "push"}))
        assert json.loads(await socket.recv()) == {"type": "pushed"}
    assert [call[1] for call in server.sessions[0].calls if call[0] == "stream_data"] == [0, 4, 8, 0]


async def test_fragments_make_one_message(server: Server) -> None:
    """A message that comes in pieces, with a ping between them, is one frame."""
    async with await server.open() as socket:
        await socket.send(pieces(['{"type":', "", '"ping"}']))
        await (await socket.ping())
        assert json.loads(await socket.recv()) == PING


async def test_unreliable_frames_take_the_way_of_datagrams(server: Server) -> None:
    """The mark is taken off on the way in, put on on the way out; a frame over the bound is dropped and counted."""

    def dropped() -> float:
        return REGISTRY.get_sample_value("headgate_datagrams_dropped_total", {"reason": "too_large"}) or 0.0

    before = dropped()
    cursor = {"type": "cursor", "x": 1}
    async with await server.open() as socket:
        await socket.send(json.dumps(cursor | {"unreliable": True, "pad": "x" * 1200}))
        await socket.send(msgpack.packb({"unreliable": True} | cursor))
        assert msgpack.unpackb(await socket.recv()) == cursor | {"unreliable": True}
    assert server.sessions[0].calls[1] == ("datagram", msgpack.packb(cursor))
    assert dropped() == before + 1


@pytest.mark.parametrize(
    "message", ["", b"", "hello", '{"type":"x"', '{"type":"x"}{"type":"x"}', msgpack.packb(PING) * 2, b"\xc1"]
)
async def test_a_message_that_is_not_one_frame_closes_with_4400(server: Server, message: str | bytes) -> None:
    """The session is told, has its last word, and is closed by this side."""
    async with await server.open() as socket:
        await socket.send(message)
        assert json.loads(await socket.recv()) == {"type": "disconnect", "code": 4400}
        code, reason = await close_of(socket)
    assert code == 4400
    assert await server.sessions[0].end() == ("closed", 4400, reason, False)


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        ({"type": "close", "code": 3500, "reason": "signed out"}, 3500, "signed out"),
        ({"type": "close", "code": 0}, 1000, ""),
        ({"type": "close", "code": 4999, "reason": "ü" * 200}, 4999, "ü" * 61),
        ({"type": "fault"}, 3000, "internal error"),
    ],
)
async def test_a_session_closes_with_code_and_reason(
    server: Server, frame: dict[str, Any], code: int, reason: str
) -> None:
    """What was sent before arrives, then the code and as much of the reason as a close frame holds."""
    async with await server.open() as socket:
        await socket.send(json.dumps(frame))
        if frame["type"] == "close":
            assert json.loads(await socket.recv()) == frame
        assert await close_of(socket) == (code, reason)
    told = await server.sessions[0].end()
    assert told[1:] == (frame.get("code", 3000), frame.get("reason", reason), False)


@pytest.mark.parametrize(("sent", "told"), [(1000, 0), (1001, 0), (3999, 3999)])
async def test_a_client_closes(server: Server, sent: int, told: int) -> None:
    """The session is told the client's code and reason; leaving is normal."""
    async with await server.open() as socket:
        await socket.close(sent, "bye")
    assert await server.sessions[0].end() == ("closed", told, "bye", False)


async def test_a_forbidden_origin_gets_a_code_that_its_page_can_read(server: Server) -> None:
    """The session closes itself after it was accepted."""
    async with await server.open(origin="https://evil.test") as socket:
        assert await close_of(socket) == (4403, "this origin may not connect")


@pytest.mark.parametrize(("path", "status"), [("/elsewhere", 404), ("/full", 503), ("/fault", 500)])
async def test_who_is_not_admitted_gets_a_status(server: Server, path: str, status: int) -> None:
    """The decision of the gateway is the answer to the request."""
    with pytest.raises(InvalidStatus) as refused:
        await server.open(path)
    assert refused.value.response.status_code == status
    assert refused.value.response.body
    assert not server.sessions


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"426"),
        (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: " + b"x" * 9000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_is_no_websocket_request_gets_an_answer(server: Server, request_line: bytes, status: bytes) -> None:
    """Plain HTTP is told so, and the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port, ssl=trusting())
    writer.write(request_line)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.split(b" ")[1] == status
    writer.close()


async def test_nothing_is_compressed(server: Server) -> None:
    """A client that offers permessage-deflate does not get it."""
    async with await server.open(compression="deflate") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
