"""A WebSocket listener whose sessions answer frames with themselves and do what some of them say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ingress.server.certificates import CertificateFiles, development_certificate
from ingress.server.networks import PerNetwork
from ingress.server.transport import Admission, SessionRequest, Transport
from ingress.websocket.listener import WebSocketListener
from ingress.websocket.options import WebSocketOptions
from schemas.codec import decode_frame, encode_frame
from tests.support.waiting import eventually
from tests.support.ws_client import open_socket

PING = {"type": "ping"}
#: More bytes than that are too many.
UNREAD = 1_000_000


@dataclass
class Obedient:
    """Answers frames with themselves and does what some of them say."""

    transport: Transport
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def connected(self, request: SessionRequest) -> None:
        self.calls.append(("connected", request))
        if request.origin == "https://evil.test":
            self.transport.close(4403, "this origin may not connect")

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool) -> None:
        self.calls.append(("stream_data", stream_id, data))
        frame = decode_frame(data) if data else {}
        match frame.get("type"):
            case "close":
                self.transport.send(stream_id, data)
                self.transport.close(frame["code"], frame.get("reason", ""))
            case "fault":
                raise RuntimeError("a fault in a handler")
            case "push":
                self.transport.send(self.transport.open_bidirectional(), encode_frame({"type": "pushed"}, "json"), True)
            case "pause":
                self.transport.pause_reading()
            case "quiet":
                pass
            case "flood":
                for number in range(frame["count"]):
                    pad = {"type": "flood", "n": number, "pad": "x" * 1000}
                    self.transport.send(stream_id, encode_frame(pad, "json"))
                if self.transport.unsent_bytes() > UNREAD:
                    self.failed(3008, "too much is unread")
            case "cursors":
                for number in range(frame["count"]):
                    cursor = {"type": "cursor", "n": number, "pad": "x" * 1000}
                    assert self.transport.send_datagram(encode_frame(cursor, "json"))
            case _:
                self.transport.send(stream_id, data)

    def datagram(self, data: bytes) -> None:
        self.calls.append(("datagram", data))
        self.transport.send_datagram(data)

    def stream_reset(self, stream_id: int, code: int) -> None:
        raise AssertionError("WebSocket has no resets")

    def stream_stopped(self, stream_id: int, code: int) -> None:
        raise AssertionError("WebSocket has no stops")

    def failed(self, code: int, reason: str) -> None:
        self.calls.append(("failed", code, reason))
        self.transport.send(0, encode_frame({"type": "disconnect", "code": code}, "json"))
        self.transport.close(code, reason)

    def closed(self, code: int, reason: str, abrupt: bool) -> None:
        self.calls.append(("closed", code, reason, abrupt))
        self.ended.set()

    async def end(self) -> tuple[Any, ...]:
        """Wait for its end and give what it was told of it."""
        await asyncio.wait_for(self.ended.wait(), 10)
        assert [call[0] for call in self.calls].count("closed") == 1
        return self.calls[-1]


class Server:
    """A listener whose sessions obey."""

    def __init__(
        self, files: CertificateFiles, options: WebSocketOptions, addresses: PerNetwork[object] | None = None
    ) -> None:
        self.files = files
        self.sessions: list[Obedient] = []
        self.listener = WebSocketListener(
            "::", 0, files, self._session, admit=self._admit, options=options, addresses=addresses
        )

    def _session(self, transport: Transport) -> Obedient:
        self.sessions.append(Obedient(transport))
        return self.sessions[-1]

    def _admit(self, request: SessionRequest) -> Admission:
        if request.path == "/fault":
            raise RuntimeError("a fault in the decision")
        statuses = {"/full": 503, "/elsewhere": 404}
        protocol = "v1" if "v1" in request.protocols else None
        return Admission(statuses.get(request.path, 200), protocol)

    async def first(self) -> Obedient:
        """The first session, once it is there."""
        await eventually(lambda: self.sessions)
        return self.sessions[0]

    def open(self, path: str = "/", host: str = "127.0.0.1", **options: Any) -> Awaitable[ClientConnection]:
        return open_socket(f"wss://{host}:{self.listener.port}{path}", **options)


Start = Callable[..., Awaitable[Server]]


@asynccontextmanager
async def starting(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers that are stopped at the end."""
    running: list[Server] = []

    async def start(addresses: PerNetwork[object] | None = None, **options: Any) -> Server:
        server = Server(development_certificate(tmp_path, datetime.now(UTC)), WebSocketOptions(**options), addresses)
        await server.listener.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.listener.stop()


async def close_of(socket: ClientConnection) -> tuple[int, str]:
    """Read to the end and give code and reason."""
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 10)
    except ConnectionClosed as closed:
        received = closed.rcvd
    assert received is not None, "the connection ended without a close frame"
    return received.code, received.reason


async def pieces(parts: list[str]) -> AsyncIterator[str]:
    for part in parts:
        yield part
