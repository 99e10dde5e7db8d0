"""Both ends of a transport in memory, with everything that WebTransport offers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

from ingress.server.transport import SessionHandler, TransportKind
from schemas.close_codes import clip_reason
from tests.support.wt_client import Closed
from tests.support.wt_stream import TIMEOUT, ClientStream, StreamResetError


class MemoryCarrier:
    """The client's end. What it does reaches the handler in a later turn of the loop, in order."""

    def __init__(self) -> None:
        self.drained = asyncio.Event()
        self.reads = True
        """Whether what comes is taken; it waits in `end.unread` otherwise."""
        self.end = GatewayEnd(self)
        self.streams: dict[int, ClientStream] = {}
        self.accepted: asyncio.Queue[ClientStream] = asyncio.Queue()
        self.datagrams: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._opened = {True: 0, False: 0}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.ended.done():
            self.ended.set_result(Closed(0, "", abrupt=True))
            self.end.tell("closed", 0, "", True)
        await self.end.heard()

    def stream(self, stream_id: int) -> ClientStream:
        """Made when it is first spoken of."""
        return self.streams.setdefault(stream_id, ClientStream(self, stream_id))

    def _open(self, *, bidirectional: bool) -> ClientStream:
        number, self._opened[bidirectional] = self._opened[bidirectional], self._opened[bidirectional] + 1
        return self.stream(4 * number + (0 if bidirectional else 2))

    async def open_bidirectional(self) -> ClientStream:
        """As WebTransportClient, and so are the others."""
        return self._open(bidirectional=True)

    async def open_unidirectional(self) -> ClientStream:
        return self._open(bidirectional=False)

    async def accept_stream(self, within: float = TIMEOUT) -> ClientStream:
        return await asyncio.wait_for(self.accepted.get(), within)

    def send_datagram(self, data: bytes) -> None:
        self.end.tell("datagram", data)

    async def receive_datagram(self, within: float = TIMEOUT) -> bytes:
        return await asyncio.wait_for(self.datagrams.get(), within)

    def close(self, code: int = 0, reason: str = "") -> None:
        if not self.ended.done():
            self.ended.set_result(Closed(code, reason))
            self.end.tell("closed", code, reason, False)

    async def wait_closed(self, within: float = TIMEOUT) -> Closed:
        return await asyncio.wait_for(asyncio.shield(self.ended), within)

    def write_stream(self, stream_id: int, data: bytes, end: bool) -> None:
        self.end.tell("stream_data", stream_id, data, end, not stream_id & 2)

    def reset_stream(self, stream_id: int, code: int) -> None:
        self.end.tell("stream_reset", stream_id, code)

    def stop_stream(self, stream_id: int, code: int) -> None:
        self.end.stopped(stream_id)
        self.end.tell("stream_stopped", stream_id, code)

    def take(self, give: Callable[[], None], size: int) -> None:
        """Something came."""
        if self.reads:
            give()
        else:
            self.end.unread.append((give, size))


class GatewayEnd:
    """The `Transport` that a session is given."""

    kind: TransportKind = "webtransport"
    remote_address = "127.0.0.1"
    datagram_capacity = 1200

    def __init__(self, client: MemoryCarrier) -> None:
        self.handler: SessionHandler | None = None
        self.unread: deque[tuple[Callable[[], None], int]] = deque()
        self._client = client
        self._mute: set[int] = set()
        self._opened = 0
        self._over = False
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._paused = False

    def tell(self, what: str, *about: Any) -> None:
        """Tell the handler, in a later turn."""
        self._waiting.append((what, about))
        asyncio.get_running_loop().call_soon(self._tell_one)

    async def heard(self) -> None:
        """The handler was told everything."""
        while self._waiting and not self._paused:  # noqa: ASYNC110  # turns of the loop are what is waited for
            await asyncio.sleep(0)

    def stopped(self, stream_id: int) -> None:
        """The client reads no more of a stream."""
        self._mute.add(stream_id)

    def _tell_one(self) -> None:
        if self._paused or not self._waiting:
            return
        what, about = self._waiting.popleft()
        if self._over or self.handler is None:
            return
        self._over = what == "closed"
        getattr(self.handler, what)(*about)

    def send(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        if self._over or stream_id in self._mute:
            return
        if end_stream:
            self._mute.add(stream_id)
        stream = self._client.stream(stream_id)
        self._client.take(lambda: stream.feed(data, end_stream), len(data))

    def send_all(self, stream_id: int, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.send(stream_id, frame)

    def open_bidirectional(self) -> int:
        self._opened += 1
        stream = self._client.stream(4 * self._opened + 1)
        self._client.accepted.put_nowait(stream)
        return stream.id

    def open_unidirectional(self) -> int:
        raise AssertionError("sessions open none")

    def send_datagram(self, data: bytes) -> bool:
        if len(data) <= self.datagram_capacity:
            self._client.take(lambda: self._client.datagrams.put_nowait(data), 0)
        return len(data) <= self.datagram_capacity

    def reset_stream(self, stream_id: int, code: int) -> None:
        self._mute.add(stream_id)
        self._client.stream(stream_id).fail(StreamResetError(code))

    def stop_stream(self, stream_id: int, code: int) -> None:
        self._client.stream(stream_id).stopped.set_result(code)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        for _ in self._waiting:
            asyncio.get_running_loop().call_soon(self._tell_one)

    def drain(self) -> None:
        self._client.drained.set()

    def close(self, code: int, reason: str) -> None:
        if self._over or self.handler is None:
            return
        self._over = True
        closed = Closed(code, clip_reason(reason))
        self._client.take(lambda: self._ended(closed), 0)
        asyncio.get_running_loop().call_soon(self.handler.closed, code, closed.reason, False)

    def _ended(self, closed: Closed) -> None:
        for stream in self._client.streams.values():
            stream.feed(b"", True)
        if not self._client.ended.done():
            self._client.ended.set_result(closed)

    def unsent_bytes(self) -> int:
        return sum(size for _, size in self.unread)
