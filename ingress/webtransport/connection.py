"""One WebTransport session on one QUIC connection, server side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from aioquic.h3 import events as h3_events
from aioquic.h3.connection import Setting
from aioquic.h3.events import Headers
from aioquic.quic import events as quic_events
from aioquic.quic.connection import stream_is_unidirectional

from ingress.webtransport import private, requests
from ingress.webtransport.codes import H3Error, from_http3
from ingress.webtransport.connect_stream import ConnectStream
from ingress.webtransport.early import EarlyEvent, EarlyEvents, EarlyLimits
from ingress.webtransport.errors import WrongStateError
from ingress.webtransport.events import (
    DatagramReceived,
    SessionClosed,
    SessionRequested,
    StreamDataReceived,
    StreamReset,
    StreamStopped,
    WebTransportEvent,
)
from ingress.webtransport.private import BoundedQuicConnection, WebTransportH3Connection
from ingress.webtransport.streams import SessionStreams

_MAX_STREAM_ID: Final = 2**62 - 1


class State(Enum):
    """Where the connection's one session stands; it only ever moves down this list."""

    IDLE = auto()
    REQUESTED = auto()
    OPEN = auto()
    CLOSED = auto()


@dataclass(slots=True)
class Counters:
    """What was refused or dropped since the connection began."""

    requests_refused: int = 0
    streams_refused: int = 0
    datagrams_refused: int = 0
    """Received before the session could take them, after its end, or for no session at all."""
    datagrams_dropped: int = 0
    """Waited to be sent when newer ones needed the room."""


class WebTransportConnection:
    """Turns QUIC events into facts about the session, and commands into QUIC.

    `receive` every event of `quic`, and send what `quic` has to send after each call. A second session is
    refused: without WebTransport's own flow control there may be only one (draft, section 5.2).
    """

    def __init__(
        self,
        quic: BoundedQuicConnection,
        *,
        early: EarlyLimits | None = None,
        max_pending_datagrams: int = 256,
        counters: Counters | None = None,
    ) -> None:
        """`counters` may be shared by connections."""
        self.counters = counters or Counters()
        self.state = State.IDLE
        self._quic = quic
        self._early = EarlyEvents(early or EarlyLimits())
        self._max_pending_datagrams = max_pending_datagrams
        self._session_id = -1
        self._waits_for_settings: SessionRequested | None = None
        self._early_close: SessionClosed | None = None
        self._broken = False

    # What arrives

    def receive(self, event: quic_events.QuicEvent) -> list[WebTransportEvent]:
        """The facts that a QUIC event amounts to. A client's breach of HTTP/3 closes the QUIC connection."""
        if isinstance(event, quic_events.ProtocolNegotiated):
            self._h3 = WebTransportH3Connection(self._quic)
            self._streams = SessionStreams(self._quic, self._h3)
            return []
        if isinstance(event, quic_events.ConnectionTerminated):
            return self._client_closed(SessionClosed(0, "", abrupt=True))
        return [] if self._broken else self._quic_event(event)

    def _quic_event(self, event: quic_events.QuicEvent) -> list[WebTransportEvent]:
        match event:
            case quic_events.StreamReset(stream_id=stream_id, error_code=error):
                # Looked up first: HTTP/3 forgets a stream that is over both ways.
                session_id = self._h3.session_of(stream_id)
                self._h3.handle_event(event)
                if self._streams.is_stopped(stream_id, ended=True):
                    return []
                return self._aborted(session_id, StreamReset(stream_id, from_http3(error) or 0))
            case quic_events.StopSendingReceived(stream_id=stream_id, error_code=error):
                session_id = self._h3.session_of(stream_id)
                self._h3.handle_event(event)
                return self._aborted(session_id, StreamStopped(stream_id, from_http3(error) or 0))
            case quic_events.StreamDataReceived() | quic_events.DatagramFrameReceived():
                facts: list[WebTransportEvent] = []
                h3_events = self._h3.handle_event(event)
                for h3_event in h3_events:
                    facts += self._http_event(h3_event)
                if not h3_events and isinstance(event, quic_events.StreamDataReceived):
                    self._named(event.stream_id)
                return self._requested() + facts
        return []

    def _http_event(self, event: h3_events.H3Event) -> list[WebTransportEvent]:
        match event:
            case h3_events.WebTransportStreamDataReceived():
                return self._stream_data(event)
            case h3_events.DatagramReceived(stream_id=session_id) if session_id > _MAX_STREAM_ID:
                return self._breach(H3Error.DATAGRAM_ERROR, "a datagram of a stream beyond the last one")
            case h3_events.DatagramReceived(stream_id=session_id, data=data):
                return self._session_event(session_id, DatagramReceived(data))
            case h3_events.DataReceived(stream_id=stream_id, data=data, stream_ended=ended):
                if stream_id == self._session_id:
                    return self._said(self._connect.receive(data, ended))
                self._streams.is_stopped(stream_id, ended=ended)
            case h3_events.HeadersReceived(stream_id=stream_id, headers=headers, stream_ended=ended):
                if stream_id == self._session_id:
                    return self._client_closed(self._connect.violated("the client sent trailers"))
                return self._request(stream_id, headers, ended)
        return []

    def _request(self, stream_id: int, headers: Headers, ended: bool) -> list[WebTransportEvent]:
        request = requests.read(headers)
        if isinstance(request, int):
            self.counters.requests_refused += 1
            # Trailers are read as a request too: one that was answered already, or whose answer nobody wants.
            if self._h3.can_send(stream_id):
                self._h3.send_headers(stream_id, [(b":status", str(request).encode())], end_stream=True)
            self._streams.abort(stream_id, H3Error.NO_ERROR)
        elif self.state is not State.IDLE:
            self.counters.requests_refused += 1
            self._streams.abort(stream_id, H3Error.REQUEST_REJECTED)
        else:
            self.state = State.REQUESTED
            self._session_id = stream_id
            self._connect = ConnectStream(stream_id, self._quic, self._h3, self._streams)
            self._waits_for_settings = request
            self._offered = request.protocols
            if ended:
                return self._client_closed(SessionClosed(0, ""))
        return []

    def _requested(self) -> list[WebTransportEvent]:
        # No request is processed before the client's SETTINGS (draft, section 3.1), which it may overtake.
        request, settings = self._waits_for_settings, self._h3.received_settings
        if request is None or settings is None:
            return []
        self._waits_for_settings = None
        if settings.get(Setting.H3_DATAGRAM) == 1 and self.datagram_capacity:
            return [request]
        # Without datagrams in HTTP/3 and in QUIC a session is malformed (draft, section 3.1).
        self.counters.requests_refused += 1
        self.state = State.CLOSED
        self._streams.abort(self._session_id, H3Error.MESSAGE_ERROR)
        self._take_early(-1)
        return []

    def _named(self, stream_id: int) -> None:
        # A stream may say whose it is and nothing else for long; HTTP/3 tells of it with its first data or end.
        session_id = self._h3.session_of(stream_id)
        if session_id is None:
            return
        if session_id % 4:
            self._breach(H3Error.ID_ERROR, f"{session_id} is no session id")
        elif self.state is State.CLOSED or (self.state is State.OPEN and session_id != self._session_id):
            self._refuse_stream(stream_id, session_id)

    def _stream_data(self, event: h3_events.WebTransportStreamDataReceived) -> list[WebTransportEvent]:
        stream_id, session_id = event.stream_id, event.session_id
        if self._streams.is_stopped(stream_id, ended=event.stream_ended):
            return []
        if session_id % 4:
            # Only a stream that the client opened, both ways, can be a session (draft, section 4).
            return self._breach(H3Error.ID_ERROR, f"{session_id} is no session id")
        bidirectional = not stream_is_unidirectional(stream_id)
        return self._session_event(
            session_id, StreamDataReceived(stream_id, event.data, event.stream_ended, bidirectional)
        )

    def _breach(self, error: H3Error, reason: str) -> list[WebTransportEvent]:
        """Close the connection of a client that broke a rule which aioquic does not keep."""
        self._broken = True
        self._quic.close(error_code=error, reason_phrase=reason)
        return []

    def _session_event(self, session_id: int, event: EarlyEvent) -> list[WebTransportEvent]:
        """The event, if its session is open; kept, if it still may be; else its stream is refused."""
        if self.state is State.OPEN and session_id == self._session_id:
            return [event]
        if self.state in (State.IDLE, State.REQUESTED) and self._early.keep(session_id, event):
            return []
        match event:
            case DatagramReceived():
                self.counters.datagrams_refused += 1
            case StreamDataReceived(stream_id):
                self._refuse_stream(stream_id, session_id)
        return []

    def _aborted(self, session_id: int | None, event: StreamReset | StreamStopped) -> list[WebTransportEvent]:
        if event.stream_id == self._session_id:
            return self._client_closed(SessionClosed(0, ""))
        return [] if session_id is None else self._session_event(session_id, event)

    def _said(self, facts: Iterable[EarlyEvent | SessionClosed]) -> list[WebTransportEvent]:
        said: list[WebTransportEvent] = []
        for fact in facts:
            if isinstance(fact, SessionClosed):
                said += self._client_closed(fact)
            else:
                said += self._session_event(self._session_id, fact)
        return said

    def _client_closed(self, event: SessionClosed) -> list[WebTransportEvent]:
        if self.state is State.REQUESTED and not event.abrupt:
            # Told after the session was accepted, so that open comes before closed.
            self._early_close = self._early_close or event
            return []
        if self.state in (State.IDLE, State.CLOSED):
            return []
        told = self._waits_for_settings is None
        self._end()
        return [event] if told else []

    # What is answered

    def accept(
        self, *, protocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> list[WebTransportEvent]:
        """Open the requested session and return what the client already sent for it.

        `protocol` is the chosen one of `SessionRequested.protocols`, ValueError is raised if it is none of them
        (draft, section 3.3). Raises WrongStateError when no session was requested; after the client is gone it
        does nothing.
        """
        if self.state is State.CLOSED:
            return []
        self._expect(State.REQUESTED, "accept")
        if protocol is not None and protocol not in self._offered:
            raise ValueError(f"the client did not offer {protocol!r}: choose one of {self._offered}, or none")
        chosen = [] if protocol is None else [requests.protocol_header(protocol)]
        said = self._connect.accept([(b":status", b"200"), *chosen, *headers])
        self.state = State.OPEN
        early: list[WebTransportEvent] = [*self._take_early(self._session_id)]
        return early + self._said(said if self._early_close is None else [*said, self._early_close])

    def reject(self, status: int) -> None:
        """Refuse the requested session with an HTTP status, which a browser's script does not see.

        Raises WrongStateError when no session was requested; after the client is gone it does nothing.
        """
        if self.state is State.CLOSED:
            return
        self._expect(State.REQUESTED, "reject")
        self.counters.requests_refused += 1
        self._connect.refuse([(b":status", str(status).encode())])
        self.state = State.CLOSED
        self._take_early(-1)

    def _take_early(self, session_id: int) -> list[EarlyEvent]:
        early, orphans = self._early.take(session_id)
        named = {stream_id for stream_id, owner in self._h3.session_streams() if owner != session_id}
        for stream_id in orphans | named:
            self._refuse_stream(stream_id, -1)
        return early

    # What is sent: outside of an open session, nothing

    def send(self, stream_id: int, data: bytes, end_stream: bool = False) -> bool:
        """Append to a stream; False when it can no longer be written."""
        return self._owns(stream_id) and self._streams.send(stream_id, data, end_stream)

    def open_bidirectional(self) -> int:
        """Open a stream and return its id. Raises WrongStateError when the session is not open."""
        self._expect(State.OPEN, "open a stream")
        return self._streams.open(self._session_id, bidirectional=True)

    def open_unidirectional(self) -> int:
        """Open a stream that only this side writes. Raises WrongStateError when the session is not open."""
        self._expect(State.OPEN, "open a stream")
        return self._streams.open(self._session_id, bidirectional=False)

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abandon this side's half of a stream. Raises ValueError when the code does not fit 32 bits."""
        if self._owns(stream_id):
            self._streams.reset(stream_id, code)

    def stop_stream(self, stream_id: int, code: int) -> None:
        """Ask the client to end its half of a stream, and drop what still comes. Raises as `reset_stream`."""
        if self._owns(stream_id):
            self._streams.stop(stream_id, code)

    def send_datagram(self, data: bytes) -> bool:
        """Queue a datagram, in place of the oldest if too many wait; False when it can never fit."""
        if self.state is not State.OPEN:
            return False
        capacity = private.datagram_capacity(self._quic, self._session_id)
        if capacity is None or len(data) > capacity:
            return False
        self.counters.datagrams_dropped += private.send_datagram(
            self._quic, self._session_id, data, self._max_pending_datagrams
        )
        return True

    @property
    def datagram_capacity(self) -> int:
        """Bytes of the largest datagram that fits, 0 when the client takes none."""
        if self.state is State.IDLE:
            return 0
        return private.datagram_capacity(self._quic, max(0, self._session_id)) or 0

    def unsent_bytes(self) -> int:
        """Bytes of streams and datagrams that the client has not acknowledged."""
        return private.unacknowledged_bytes(self._quic)

    def held_bytes(self) -> int:
        """Memory that the client makes this side hold: unacknowledged bytes, and a price for each open stream."""
        return private.held_bytes(self._quic)

    def pause_reading(self) -> None:
        """Grant the client no more credit on streams."""
        self._quic.reading_paused = True

    def resume_reading(self) -> None:
        """Grant credit again."""
        self._quic.reading_paused = False

    # The end

    def drain(self) -> None:
        """Ask the client to bring the session to an end; the session goes on."""
        if self.state is State.OPEN:
            self._connect.drain()

    def close(self, code: int, reason: str) -> None:
        """End the session with a code of 32 bits and a reason, cut to 1,024 bytes; no event reports it.

        Raises OverflowError when the code does not fit, WrongStateError before the session is open. After its
        end it does nothing.
        """
        if self.state is State.CLOSED:
            return
        self._expect(State.OPEN, "close")
        self._connect.close(code, reason)
        self._end()

    @property
    def can_disconnect(self) -> bool:
        """Both sides ended the session and the client has all of it: the QUIC connection may close.

        Closed any sooner, the client would see a lost connection in place of the code and reason.
        """
        return self.state is State.CLOSED and self._connect.is_over

    def disconnect(self) -> None:
        """Close the QUIC connection. A session that is open sees its connection lost."""
        self._quic.close(error_code=H3Error.NO_ERROR)

    def _end(self) -> None:
        self.state = State.CLOSED
        self._waits_for_settings = None
        self._connect.finish()
        for stream_id, session_id in self._h3.session_streams():
            if session_id == self._session_id:
                self._streams.abort(stream_id, H3Error.WT_SESSION_GONE)

    def _refuse_stream(self, stream_id: int, session_id: int) -> None:
        if self._streams.is_stopped(stream_id, ended=False):
            return
        self.counters.streams_refused += 1
        gone = self.state is State.CLOSED and session_id == self._session_id
        self._streams.abort(stream_id, H3Error.WT_SESSION_GONE if gone else H3Error.WT_BUFFERED_STREAM_REJECTED)

    def _owns(self, stream_id: int) -> bool:
        return self.state is State.OPEN and self._h3.session_of(stream_id) == self._session_id

    def _expect(self, state: State, what: str) -> None:
        if self.state is not state:
            raise WrongStateError(f"cannot {what}: the session is {self.state.name.lower()}")
