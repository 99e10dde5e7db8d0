"""One WebTransport session as its handler sees it: the `Transport` over a QUIC connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

import structlog
from aioquic.quic.events import QuicEvent

from ingress.server.options import ListenerCounters, ListenerOptions
from ingress.server.transport import (
    Admission,
    Admit,
    SessionFactory,
    SessionHandler,
    SessionRequest,
    TransportKind,
)
from ingress.webtransport import (
    DatagramReceived,
    DrainReceived,
    SessionClosed,
    SessionRequested,
    State,
    StreamDataReceived,
    StreamReset,
    StreamStopped,
    WebTransportConnection,
    WebTransportEvent,
)
from ingress.webtransport.codes import MAX_CODE
from schemas.close_codes import CloseCode, clip_reason

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_log = structlog.get_logger(__name__)

REFUSED_BY_ERROR: Final = Admission(status=500)


class QuicSession:
    """Carries facts to a session's handler and commands to the connection, and sees the end through.

    The end: what was sent last gets `flush_timeout` to be acknowledged, then the client is told code and
    reason, and gets `close_timeout` to acknowledge that and `linger` to act on it; then the connection goes.
    """

    kind: TransportKind = "webtransport"

    def __init__(
        self,
        connection: WebTransportConnection,
        *,
        wake: Callable[[], None],
        address: Callable[[], str],
        factory: SessionFactory,
        admit: Admit,
        options: ListenerOptions,
        counters: ListenerCounters,
    ) -> None:
        self._connection = connection
        self._wake = wake
        self._address = address
        self._factory = factory
        self._admit = admit
        self._options = options
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._handler: SessionHandler | None = None
        self._over = False
        self._farewell: tuple[int, str] | None = None
        self._lingers = False
        self._timer: asyncio.TimerHandle | None = None

    # From the connection

    def receive(self, event: QuicEvent) -> None:
        """Pass on what a QUIC event means to the session."""
        self._deliver(self._connection.receive(event))

    def progress(self) -> None:
        """Take the next step towards the end, if one is due. Called whenever packets were read."""
        if self._farewell is not None and self._connection.unsent_bytes() == 0:
            self._say_farewell()
        if self._connection.state is not State.CLOSED:
            return
        if self._connection.can_disconnect and not self._lingers:
            self._lingers = True
            self._set_timer(self._options.linger, self.disconnect)
        elif self._timer is None:
            self._set_timer(self._options.close_timeout, self.disconnect)

    def disconnect(self) -> None:
        """Close the QUIC connection, whatever the client still has to learn."""
        self._cancel_timer()
        self._connection.disconnect()
        self._wake()

    def release(self) -> None:
        """The connection is gone: nothing more will be asked of it."""
        self._cancel_timer()

    @property
    def is_open(self) -> bool:
        """Whether the session was admitted and has not ended."""
        return self._handler is not None and not self._over

    @property
    def awaits_request(self) -> bool:
        """Whether the client has not asked for a session yet, or not sent the settings that this needs."""
        return self._connection.state in (State.IDLE, State.REQUESTED)

    def _deliver(self, events: list[WebTransportEvent]) -> None:
        for event in events:
            if isinstance(event, SessionRequested):
                self._requested(event)
            elif self._handler is not None and not self._over:
                self._tell(self._handler, event)

    def _tell(self, handler: SessionHandler, event: WebTransportEvent) -> None:
        match event:
            case StreamDataReceived(stream_id, data, ended, bidirectional):
                self._call(handler.stream_data, stream_id, data, ended, bidirectional)
            case DatagramReceived(data):
                self._call(handler.datagram, data)
            case StreamReset(stream_id, code):
                self._call(handler.stream_reset, stream_id, code)
            case StreamStopped(stream_id, code):
                self._call(handler.stream_stopped, stream_id, code)
            case SessionClosed(code, reason, abrupt):
                self._over = True
                self._call(handler.closed, 0 if abrupt else code, "" if abrupt else reason, abrupt)
            case DrainReceived() | SessionRequested():
                # A client that drains ends its session itself.
                pass

    def _requested(self, event: SessionRequested) -> None:
        request = SessionRequest(
            transport=self.kind,
            path=event.path,
            authority=event.authority,
            origin=event.origin,
            protocols=event.protocols,
            user_agent=event.user_agent,
            remote_address=self.remote_address,
        )
        admission = self._call(self._admit, request) or REFUSED_BY_ERROR
        if not admission.admitted:
            self._counters.sessions_refused += 1
            self._connection.reject(admission.status)
            return
        early = self._connection.accept(protocol=admission.protocol)
        self._counters.sessions += 1
        self._handler = self._call(self._factory, self)
        if self._handler is not None:
            self._call(self._handler.connected, request)
        self._deliver(early)

    def _call(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        try:
            return function(*args, **kwargs)
        except Exception:
            # A fault in one session's code must not end the others.
            self._counters.handler_errors += 1
            _log.exception("session_handler_failed", remote_address=self.remote_address)
            if self._connection.state is State.OPEN:
                self.close(CloseCode.INTERNAL_ERROR, "internal error")
            return None

    # Transport

    @property
    def remote_address(self) -> str:
        return self._address()

    @property
    def datagram_capacity(self) -> int:
        return 0 if self._over else self._connection.datagram_capacity

    def send(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        if not self._over and self._connection.send(stream_id, data, end_stream):
            self._wake()

    def send_all(self, stream_id: int, frames: Sequence[bytes]) -> None:
        self.send(stream_id, b"".join(frames))

    def open_bidirectional(self) -> int:
        return self._open(self._connection.open_bidirectional)

    def open_unidirectional(self) -> int:
        return self._open(self._connection.open_unidirectional)

    def send_datagram(self, data: bytes) -> bool:
        sent = not self._over and self._connection.send_datagram(data)
        if sent:
            self._wake()
        return sent

    def reset_stream(self, stream_id: int, code: int) -> None:
        if not self._over:
            self._connection.reset_stream(stream_id, code)
            self._wake()

    def stop_stream(self, stream_id: int, code: int) -> None:
        if not self._over:
            self._connection.stop_stream(stream_id, code)
            self._wake()

    def pause_reading(self) -> None:
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        self._connection.resume_reading()
        self._wake()

    def drain(self) -> None:
        if not self._over:
            self._connection.drain()
            self._wake()

    def close(self, code: int, reason: str) -> None:
        if not 0 <= code <= MAX_CODE:
            raise ValueError(f"a close code has 32 bits, {code} does not fit: use 0 to {MAX_CODE}")
        if self._over:
            return
        self._over = True
        self._farewell = (code, clip_reason(reason))
        if self._handler is not None:
            self._loop.call_soon(self._call, self._handler.closed, *self._farewell, False)
        self._set_timer(self._options.flush_timeout, self._say_farewell)
        self._loop.call_soon(self.progress)
        self._wake()

    def unsent_bytes(self) -> int:
        return self._connection.held_bytes()

    def _open(self, open_stream: Callable[[], int]) -> int:
        # After the end there is no stream to give; writes to this id are ignored as all others are.
        if self._over or self._connection.state is not State.OPEN:
            return -1
        stream_id = open_stream()
        self._wake()
        return stream_id

    def _say_farewell(self) -> None:
        self._cancel_timer()
        if self._farewell is not None:
            code, reason = self._farewell
            self._farewell = None
            self._connection.close(code, reason)
            self._wake()
            self.progress()

    def _set_timer(self, delay: float, action: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(delay, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
