"""A client that speaks the wire protocol, for tests and benches."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from schemas.codec import Encoding, FrameDecoder, FrameLimits, decode_frame, encode_frame
from tests.support import ws_client, wt_client
from tests.support.ws_client import MessageStream, WebSocketClient
from tests.support.wt_client import Closed, StreamResetError, WebTransportClient

#: Longer than any timeout of a gateway under test.
WITHIN_S = 40.0
_LIMITS = FrameLimits(max_bytes=1 << 20, max_keys=100_000, max_depth=64)

#: After that long services drop a datagram, so that another may be sent in its place.
_DATAGRAM_LIFE_S = 2.0

TransportName = Literal["webtransport", "websocket"]


class Stream(Protocol):
    """What a scenario needs of a stream."""

    id: int

    def write(self, data: bytes, end: bool = False) -> None: ...

    async def read(self, within: float = ...) -> bytes: ...


class Carrier(Protocol):
    """What a scenario needs of a transport."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def open_bidirectional(self) -> Stream: ...

    def send_datagram(self, data: bytes) -> None: ...

    async def receive_datagram(self, within: float = ...) -> bytes: ...

    def close(self, code: int = ..., reason: str = ...) -> None: ...

    async def wait_closed(self, within: float = ...) -> Closed: ...


AnyCarrier = TypeVar("AnyCarrier", bound=Carrier)
Received = TypeVar("Received")


async def sent_until(send: Callable[[], None], receiving: Coroutine[Any, Any, Received]) -> Received:
    """What `receiving` gives, with `send` called again each time that the datagram before must have been dropped."""
    received = asyncio.ensure_future(receiving)
    while not received.done():
        send()
        await asyncio.wait([received], timeout=_DATAGRAM_LIFE_S)
    return received.result()


class Frames:
    """The frames of one stream, decoded as they come."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._decoder = FrameDecoder(_LIMITS)
        self._ready: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """The next frame; raises EOFError when the stream ended."""
        while not self._ready:
            data = await self.stream.read(WITHIN_S)
            if not data:
                raise EOFError("the stream ended")
            if isinstance(self.stream, MessageStream):
                # Each message is one frame, in an encoding of its own.
                return decode_frame(data, _LIMITS)
            self._ready.extend(self._decoder.feed(data))
        return self._ready.pop(0)


class Party(Generic[AnyCarrier]):
    """One session over any transport, its control stream, and every frame that arrived on it."""

    def __init__(self, transport: AnyCarrier) -> None:
        self.transport = transport
        self.received: list[dict[str, Any]] = []
        self.session = ""
        self.user: str | None = None
        self.pings = 0
        """How often the gateway asked."""
        self.answers_pings = True
        self._control: Stream | None = None
        self._encoding: Encoding = "json"
        self._reader: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        await self.transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self.transport.__aexit__(kind, error, trace)

    async def control(self) -> Stream:
        """The control stream, opened at the first use."""
        if self._control is None:
            self._control = await self.transport.open_bidirectional()
            self._reader = asyncio.create_task(self._read(Frames(self._control)))
        return self._control

    async def send(self, frame: dict[str, Any]) -> None:
        """Write a frame to the control stream."""
        (await self.control()).write(encode_frame(frame, self._encoding))

    async def send_raw(self, data: bytes) -> None:
        """Write bytes to the control stream."""
        (await self.control()).write(data)

    async def wait(self, wanted: Callable[[dict[str, Any]], bool], within: float = WITHIN_S) -> dict[str, Any]:
        """The first frame that is `wanted`, received already or yet to come; it is taken out of `received`."""
        async with asyncio.timeout(within):
            while True:
                for index, frame in enumerate(self.received):
                    if wanted(frame):
                        return self.received.pop(index)
                self._arrived.clear()
                await self._arrived.wait()

    async def wait_type(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The first frame of a type with these fields."""
        return await self.wait(
            lambda frame: frame.get("type") == kind and all(frame.get(key) == value for key, value in fields.items())
        )

    async def authenticate(
        self, token: str, *, encoding: Encoding = "json", resume: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Authenticate as a client of protocol 1 and give the auth_success frame."""
        self._encoding = encoding
        wish = {} if resume is None else {"resume": resume}
        await self.send({"type": "auth", "token": token, "protocol": 1, **wish})
        frame = await self.wait_type("auth_success")
        self.session, self.user = frame["sessionId"], frame["userId"]
        return frame

    async def subscribe(self, channel: str) -> dict[str, Any]:
        """Subscribe and give the subscribed (or error) frame."""
        return await self.ask({"type": "subscribe", "channel": channel})

    async def ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Send a frame with an id and give the answer with that id that is no ack."""
        frame_id = f"q{next(self._ids)}"
        await self.send(frame | {"id": frame_id})
        return await self.wait(lambda answer: answer.get("id") == frame_id and answer.get("type") != "ack")

    async def message(self, channel: str, content: str) -> dict[str, Any]:
        """Send a channel message and give its ack."""
        frame_id = f"m{next(self._ids)}"
        await self.send({"type": "message", "channel": channel, "data": {"content": content}, "id": frame_id})
        return await self.wait(lambda answer: answer.get("id") == frame_id and answer.get("type") in ("ack", "error"))

    def datagram(self, frame: dict[str, Any], encoding: Encoding = "msgpack") -> None:
        """Send a datagram."""
        self.transport.send_datagram(encode_frame(frame, encoding))

    async def receive_datagram(self) -> dict[str, Any]:
        """The next datagram."""
        data = await self.transport.receive_datagram(WITHIN_S)
        (frame,) = FrameDecoder(_LIMITS).feed(data)
        return frame

    async def datagram_to(
        self, receiver: Party[Any], frame: dict[str, Any], encoding: Encoding = "msgpack"
    ) -> dict[str, Any]:
        """What `receiver` gets of a datagram that is sent until it arrives."""
        return await sent_until(lambda: self.datagram(frame, encoding), receiver.receive_datagram())

    async def closed(self) -> Closed:
        """Wait for the end of the session."""
        return await self.transport.wait_closed(WITHIN_S)

    async def _read(self, frames: Frames) -> None:
        while True:
            try:
                frame = await frames.next()
            except (EOFError, StreamResetError, ConnectionError):
                return
            except TimeoutError:
                continue
            if frame.get("type") == "ping":
                self.pings += 1
                if self.answers_pings:
                    await self.send({"type": "pong"})
            self.received.append(frame)
            self._arrived.set()


class Client(Party[WebTransportClient]):
    """A session over WebTransport."""

    @classmethod
    async def connect(cls, url: str, *, origin: str | None = None) -> Self:
        """Open a session."""
        return cls(await wt_client.connect(url, origin=origin))


class SocketClient(Party[WebSocketClient]):
    """A session over WebSocket; the URL is the same."""

    @classmethod
    async def connect(cls, url: str, *, origin: str | None = None) -> Self:
        """Open a session."""
        return cls(await ws_client.connect(url, origin=origin))


def json_frame(frame: object) -> bytes:
    """A frame as the older client wrote it: JSON, nothing after it."""
    return json.dumps(frame).encode()
