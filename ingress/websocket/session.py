"""One session over WebSocket as its handler sees it: the `Transport` over a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

import structlog

from ingress import metrics
from ingress.server.transport import Admission, Admit, SessionFactory, SessionHandler, SessionRequest, TransportKind
from ingress.websocket import messages
from ingress.websocket.metrics import EVENTS
from ingress.webtransport.codes import MAX_CODE
from schemas.close_codes import MAX_WEBSOCKET_REASON_BYTES, CloseCode, clip_reason
from schemas.codec import FrameError, FrameLimits

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_log = structlog.get_logger(__name__)


class Line(Protocol):
    """What a session needs of the connection that it is on."""

    @property
    def remote_address(self) -> str: ...

    @property
    def unsent_bytes(self) -> int: ...

    def send(self, data: bytes, *, text: bool) -> None:
        """Send one message."""
        ...

    def send_unreliable(self, data: bytes, *, text: bool) -> bool:
        """Send one message, or drop it; False when an older one was dropped for it."""
        ...

    def say_goodbye(self, code: int, reason: str) -> None:
        """Send a close frame after what was sent, and see the end of the connection through."""
        ...

    def read(self, wanted: bool) -> None:
        """Read from the socket, or leave what comes to TCP's flow control."""
        ...


class WebSocketSession:
    """Carries messages to a session's handler and its commands to the connection.

    Nothing can be reset or stopped here, and DRAIN has no counterpart: frames say it.
    """

    kind: TransportKind = "websocket"
    datagram_capacity = messages.MAX_UNRELIABLE

    def __init__(self, line: Line, *, factory: SessionFactory, admit: Admit, limits: FrameLimits) -> None:
        self._line = line
        self._factory = factory
        self._admit = admit
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._handler: SessionHandler | None = None
        self._over = True

    # From the connection

    def admit(self, request: SessionRequest) -> Admission:
        """The answer to a client's request."""
        return self._call(self._admit, request) or Admission(status=500)

    def begin(self, request: SessionRequest) -> None:
        """The client was told that it is admitted."""
        self._over = False
        self._handler = self._call(self._factory, self)
        if self._handler is not None:
            self._call(self._handler.connected, request)

    def message(self, data: bytes, text: bool) -> None:
        """A message came, whole."""
        if self._over or self._handler is None:
            return
        try:
            message = messages.read(data, text, self._limits)
        except FrameError as error:
            self.fail(error.code, error.message, messages.stream_of(data, text))
            return
        if not message.unreliable:
            self._call(self._handler.stream_data, message.stream, message.data, False, True)
        elif len(message.data) <= messages.MAX_UNRELIABLE:
            self._call(self._handler.datagram, message.data)
        else:
            metrics.DATAGRAMS_DROPPED.labels("too_large").inc()

    def fail(self, code: int, reason: str, stream: int = messages.TEXT_STREAM) -> None:
        """The client sent what cannot be taken (on `stream`, if that is known), or does not take what it is sent."""
        if not self._over and self._handler is not None:
            # So that the session knows a stream on which to say why it closes, though it may be the first message.
            self._call(self._handler.stream_data, stream, b"", False, True)
            self._call(self._handler.failed, code, reason)
            self.close(code, reason)

    def client_closed(self, code: int, reason: str) -> None:
        """A close frame came, to which this side has not asked."""
        self._end(messages.from_close_frame(code), reason, abrupt=False)

    def lost(self) -> None:
        """The connection is gone."""
        self._end(CloseCode.NORMAL, "", abrupt=True)

    @property
    def is_open(self) -> bool:
        """Whether the session was admitted and has not ended."""
        return not self._over

    def _end(self, code: int, reason: str, *, abrupt: bool) -> None:
        if self._over:
            return
        self._over = True
        if self._handler is not None:
            self._call(self._handler.closed, code, reason, abrupt)

    def _call(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        try:
            return function(*args, **kwargs)
        except Exception:
            # A fault in one session's code must not end the others.
            EVENTS.labels("handler_error").inc()
            _log.exception("session_handler_failed", remote_address=self.remote_address)
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
            return None

    # Transport

    @property
    def remote_address(self) -> str:
        return self._line.remote_address

    def send(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        if data and not self._over:
            self._line.send(data, text=messages.is_text(stream_id, data))

    def send_all(self, stream_id: int, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.send(stream_id, frame)

    def open_bidirectional(self) -> int:
        return -1 if self._over else messages.PUSH_STREAM

    def open_unidirectional(self) -> int:
        return self.open_bidirectional()

    def send_datagram(self, data: bytes) -> bool:
        if self._over or len(data) > messages.MAX_UNRELIABLE:
            return False
        if not self._line.send_unreliable(messages.marked(data), text=data.startswith(b"{")):
            metrics.DATAGRAMS_DROPPED.labels("congested").inc()
        return True

    def reset_stream(self, stream_id: int, code: int) -> None:
        pass

    def stop_stream(self, stream_id: int, code: int) -> None:
        pass

    def pause_reading(self) -> None:
        self._line.read(False)

    def resume_reading(self) -> None:
        self._line.read(True)

    def drain(self) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        if not 0 <= code <= MAX_CODE:
            raise ValueError(f"a close code has 32 bits, {code} does not fit: use 0 to {MAX_CODE}")
        if self._over:
            return
        self._over = True
        if self._handler is not None:
            self._loop.call_soon(self._call, self._handler.closed, code, clip_reason(reason), False)
        self._line.say_goodbye(messages.to_close_frame(code), clip_reason(reason, MAX_WEBSOCKET_REASON_BYTES))

    def unsent_bytes(self) -> int:
        return self._line.unsent_bytes
