"""One TCP connection: the request for a session, WebSocket frames in and out, its timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from websockets.exceptions import InvalidHeader
from websockets.frames import CloseCode as FrameCode
from websockets.frames import Frame, Opcode
from websockets.headers import parse_subprotocol
from websockets.http11 import Request
from websockets.protocol import CONNECTING, OPEN
from websockets.server import ServerProtocol

from ingress.server.transport import Admission, Admit, SessionFactory, SessionRequest
from ingress.websocket.metrics import EVENTS
from ingress.websocket.options import WebSocketOptions
from ingress.websocket.outbox import Outbox
from ingress.websocket.session import WebSocketSession
from schemas.close_codes import CloseCode

_log = structlog.get_logger(__name__)

_SWITCHING: Final = 101
_WHY: Final = {
    429: "There are too many connections from this address.\n",
    404: "No session is to be had under this path: see HEADGATE_INGRESS_PATH.\n",
    503: "No session is to be had now: try again later.\n",
}
#: How a client fails in WebSocket itself, as its session's close code and reason.
_FAILURES: Final[dict[int, tuple[CloseCode, str]]] = {
    FrameCode.MESSAGE_TOO_BIG: (CloseCode.TOO_LARGE, "sender's message is over the limit of a frame: split it"),
    FrameCode.PROTOCOL_ERROR: (CloseCode.MALFORMED, "sender broke the WebSocket protocol (RFC 6455)"),
    FrameCode.INVALID_DATA: (CloseCode.MALFORMED, "sender's close reason is not UTF-8"),
}


class FailingProtocol(ServerProtocol):
    """Says that the client failed before it gives up, while something can still be sent."""

    def __init__(self, failing: Callable[[int], None], max_size: int) -> None:
        # No permessage-deflate: it costs up to 300 KB of memory a connection, and guessing at secrets is easier in
        # what is compressed. Long frames are compressed by the wire protocol, where the client asks for it.
        super().__init__(extensions=None, max_size=max_size)
        self._failing = failing

    def fail(self, code: FrameCode | int, reason: str = "") -> None:
        self._failing(code)
        super().fail(code, reason)


class WebSocketConnection(asyncio.Protocol):
    """Carries bytes between a socket, behind TLS, and the session on it. A fault in here ends this one alone."""

    def __init__(
        self,
        *,
        factory: SessionFactory,
        admit: Admit,
        options: WebSocketOptions,
        client: Callable[[WebSocketConnection, list[str]], str | None],
        made: Callable[[WebSocketConnection], None],
        gone: Callable[[WebSocketConnection], None],
    ) -> None:
        """`client` tells the client's address by `X-Forwarded-For`, and None when it has too many connections."""
        self._options = options
        self._client = client
        self._made = made
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._protocol = FailingProtocol(self._failing, options.frame.max_bytes)
        self._message = bytearray()
        self._text = False
        self._ending = False
        self._reading = True
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.remote_address = ""
        self.session = WebSocketSession(self, factory=factory, admit=admit, limits=options.frame)

    # From the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.remote_address = str(peer[0]).removeprefix("::ffff:") if peer else ""
        self._outbox = Outbox(self._transport, max_unreliable=self._options.max_unreliable, emptied=self._emptied)
        self._set_timer(self._options.setup_timeout, self._transport.close)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            self._protocol.receive_data(data)
            self._handle_events()
            self._write()
            # The session knows what it has written; answers to pings it does not see.
            if self._outbox.unsent_control > self._options.max_unsent_bytes:
                self.session.fail(CloseCode.SLOW_CONSUMER, "too much is unread: read faster or ask for less")
        except Exception:
            # websockets or this package failed on what this client sent: the others go on.
            EVENTS.labels("connection_error").inc()
            _log.exception("connection_failed", remote_address=self.remote_address)
            self._transport.abort()

    def pause_writing(self) -> None:
        self._outbox.pause()

    def resume_writing(self) -> None:
        self._outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self.session.lost()
        self._gone(self)

    # Events of WebSocket

    def _handle_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._requested(event)
            elif isinstance(event, Frame):
                self._frame(event)

    def _requested(self, request: Request) -> None:
        protocol = self._protocol
        if protocol.eof_sent:
            return  # What came right after the request was no WebSocket frame.
        response = protocol.accept(request)
        address = self._client(self, request.headers.get_all("X-Forwarded-For"))
        self.remote_address = address or self.remote_address
        asked = self._asked(request)
        if response.status_code == _SWITCHING:
            too_many = Admission(HTTPStatus.TOO_MANY_REQUESTS)
            admission = too_many if address is None else self.session.admit(asked)
            if not admission.admitted:
                why = _WHY.get(admission.status, HTTPStatus(admission.status).phrase + "\n")
                response = protocol.reject(admission.status, why)
            elif admission.protocol is not None:
                response.headers["Sec-WebSocket-Protocol"] = admission.protocol
        protocol.send_response(response)
        self._write()
        if response.status_code == _SWITCHING:
            EVENTS.labels("session").inc()
            self._set_timer(self._options.idle_timeout / 2, self._keep_alive)
            self.session.begin(asked)
        else:
            EVENTS.labels("session_refused").inc()

    def _asked(self, request: Request) -> SessionRequest:
        headers = request.headers
        try:
            offered = [parse_subprotocol(value) for value in headers.get_all("Sec-WebSocket-Protocol")]
        except InvalidHeader:
            offered = []  # The request is refused for it.
        return SessionRequest(
            transport="websocket",
            path=request.path,
            authority=_first(headers.get_all("Host")) or "",
            origin=_first(headers.get_all("Origin")),
            protocols=tuple(str(one) for several in offered for one in several),
            user_agent=_first(headers.get_all("User-Agent")),
            remote_address=self.remote_address,
        )

    def _frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self.session.message(bytes(frame.data), self._text)
                else:
                    self._message[:] = frame.data
            case Opcode.CONT:
                self._message += frame.data
                if frame.fin:
                    message = bytes(self._message)
                    self._message.clear()
                    self.session.message(message, self._text)
            case Opcode.CLOSE:
                received = self._protocol.close_rcvd
                assert received is not None
                self.session.client_closed(received.code, received.reason)

    def _failing(self, code: int) -> None:
        # What came before in the same read comes first.
        self._handle_events()
        self.session.fail(*_FAILURES.get(code, (CloseCode.INTERNAL_ERROR, "internal error")))

    # Line

    @property
    def unsent_bytes(self) -> int:
        return self._outbox.unsent

    def send(self, data: bytes, *, text: bool) -> None:
        if self._protocol.state is OPEN:
            self._encode(data, text)
            self._write()

    def send_unreliable(self, data: bytes, *, text: bool) -> bool:
        if self._protocol.state is not OPEN:
            return True
        self._write()  # What waits is not to be dropped with it.
        self._encode(data, text)
        return self._outbox.put_unreliable(b"".join(self._protocol.data_to_send()))

    def say_goodbye(self, code: int, reason: str) -> None:
        self.read(True)  # For its answer.
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._write()
        self._set_timer(self._options.flush_timeout, self._hurry)

    def read(self, wanted: bool) -> None:
        if wanted is self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._heard = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    @property
    def awaits_request(self) -> bool:
        """Whether the client has not asked for a session yet."""
        return self._protocol.state is CONNECTING

    def abort(self) -> None:
        """Close the connection without a word."""
        self._transport.abort()

    def _encode(self, data: bytes, text: bool) -> None:
        if text:
            self._protocol.send_text(data)
        else:
            self._protocol.send_binary(data)

    def _write(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._outbox.put(data)
            elif not self._ending:
                self._ending = True
                self._outbox.flush_soon()

    # Time

    def _keep_alive(self) -> None:
        """Find out whether the client is still there, as QUIC's idle timer does."""
        idle, silent = self._options.idle_timeout, self._loop.time() - self._heard
        if not self._reading or silent < idle / 2:
            self._set_timer(idle / 2 if not self._reading else idle / 2 - silent, self._keep_alive)
        elif silent < idle:
            self._protocol.send_ping(b"")
            self._write()
            self._set_timer(idle - silent, self._keep_alive)
        else:
            EVENTS.labels("idle").inc()
            self._transport.abort()

    def _hurry(self) -> None:
        """The client does not read: let go of everything but the close frame."""
        self._outbox.drop_data()
        self._set_timer(self._options.close_timeout, self._transport.abort)

    def _emptied(self) -> None:
        if not self._ending:
            return
        if self._protocol.close_rcvd is not None:
            # Both sides have said it, so nothing more comes.
            self._transport.close()
        else:
            self._set_timer(self._options.linger, self._transport.close)

    def _set_timer(self, delay: float, action: Callable[[], Any]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(delay, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _first(values: list[str]) -> str | None:
    return values[0] if values else None
