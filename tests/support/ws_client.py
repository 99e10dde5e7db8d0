"""A WebSocket client with the face of the WebTransport one, so that the same scenario runs over both.

A stream here is nothing but a way to write messages: all answers and pushes come on the first one that was opened.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runtime.tasks import cancel
from schemas.codec import FrameLimits, decode_frame, encode_frame
from tests.support.waiting import PATIENCE
from tests.support.wt_client import Closed, SessionRefusedError

TIMEOUT: Final = 5.0 * PATIENCE
_LIMITS: Final = FrameLimits(max_bytes=1 << 20, max_keys=100_000, max_depth=64)


class MessageStream:
    """Writes one message for each call, a text for JSON, and reads the messages that are not marked unreliable."""

    id = 0

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, data: bytes, end: bool = False) -> None:
        """Send a message."""
        self._send(data)

    async def read(self, within: float = TIMEOUT) -> bytes:
        """The next message; empty at the end of the session."""
        return await asyncio.wait_for(self._messages.get(), within)

    def feed(self, data: bytes) -> None:
        """Take in a message. Called by the client."""
        self._messages.put_nowait(data)


class WebSocketClient:
    """One session."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._datagrams: asyncio.Queue[bytes] = asyncio.Queue()
        self._stream = MessageStream(self._outgoing.put_nowait)
        self._ended: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()
        await cancel(*self._tasks)

    async def open_bidirectional(self) -> MessageStream:
        """The one stream there is."""
        return self._stream

    def send_datagram(self, data: bytes) -> None:
        """Send a frame as a message marked unreliable; what is no frame as it is."""
        if data[:1] == b"{":
            self._outgoing.put_nowait(encode_frame(decode_frame(data) | {"unreliable": True}, "json"))
        else:
            self._outgoing.put_nowait(encode_frame(decode_frame(data) | {"unreliable": True}, "msgpack"))

    async def receive_datagram(self, within: float = TIMEOUT) -> bytes:
        """The next message that is marked unreliable."""
        return await asyncio.wait_for(self._datagrams.get(), within)

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the session."""
        self._tasks.append(asyncio.create_task(self.connection.close(code or 1000, reason)))

    async def wait_closed(self, within: float = TIMEOUT) -> Closed:
        """How the session ended, by either side."""
        return await asyncio.wait_for(asyncio.shield(self._ended), within)

    async def _write(self) -> None:
        while True:
            data = await self._outgoing.get()
            try:
                await self.connection.send(data.decode() if data[:1] == b"{" else data)
            except ConnectionClosed:
                return

    async def _read(self) -> None:
        try:
            async for message in self.connection:
                data = message.encode() if isinstance(message, str) else message
                if decode_frame(data, _LIMITS).get("unreliable") is True:
                    self._datagrams.put_nowait(data)
                else:
                    self._stream.feed(data)
        except ConnectionClosed:
            pass
        code, reason = self.connection.close_code, self.connection.close_reason
        abrupt = code in (None, 1006)
        self._ended.set_result(Closed(0 if abrupt or code == 1000 else int(code or 0), reason or "", abrupt))
        self._stream.feed(b"")


def trusting() -> ssl.SSLContext:
    """Takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def open_socket(
    url: str, *, origin: str | None = None, headers: Iterable[tuple[str, str]] = (), **options: Any
) -> Awaitable[ClientConnection]:
    """The bare connection to a wss or https URL; `options` are those of `websockets.connect`."""
    return ws_connect(
        url.replace("https:", "wss:", 1),
        ssl=trusting(),
        additional_headers=[*headers, *([] if origin is None else [("Origin", origin)])],
        proxy=None,
        **options,
    )


async def connect(url: str, *, origin: str | None = None, within: float = TIMEOUT) -> WebSocketClient:
    """Open a session. Raises SessionRefusedError with the server's status, and TimeoutError."""
    try:
        return WebSocketClient(await open_socket(url, origin=origin, open_timeout=within))
    except InvalidStatus as error:
        raise SessionRefusedError(error.response.status_code) from error
