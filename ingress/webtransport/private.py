"""Leans, as no module but private_lifetime does, on attributes that aioquic keeps to itself: see `LEANED_ON`.

aioquic 1.7 has no public way to learn how much of a stream waits, to bound what a client may make it hold, to
receive on a stream that it opened for WebTransport itself, or to choose connection ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pylsqpack
from aioquic.buffer import encode_uint_var, size_uint_var
from aioquic.h3.connection import (
    ErrorCode,
    FrameType,
    FrameUnexpected,
    H3Connection,
    H3Stream,
    HeadersState,
    ProtocolError,
    Setting,
    StreamType,
)
from aioquic.h3.events import Headers
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.events import QuicEvent
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.quic.stream import QuicStream
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Re-exported by aioquic.buffer, which type checkers do not take for an export.
from aioquic._buffer import Buffer  # isort: skip

#: What a server says so that each generation of clients goes on (draft-ietf-webtrans-http3): Chromium wants
#: the first. Draft 15's 0x2c7cf000 is left out: it promises RESET_STREAM_AT, which aioquic does not have.
SETTINGS_WEBTRANSPORT: Final = {
    0x2B603742: 1,  # ENABLE_WEBTRANSPORT, draft 02
    0xC671706A: 1,  # WEBTRANSPORT_MAX_SESSIONS, draft 07
    0x14E9CD29: 1,  # WT_MAX_SESSIONS, drafts 13 and 14
}

#: Bytes of the longest header section and control frame that a client may send.
MAX_FIELD_SECTION_SIZE: Final = 16_384

#: Pieces of a stream, apart from each other, that may wait for what is between them. Each that comes is compared
#: with all: without a bound, 400 packets of single bytes keep a server busy for a minute.
MAX_PIECES: Final = 256

#: Bytes of a client's handshake messages at one level of encryption. A ClientHello has two thousand; aioquic holds what
#: comes in order without end, at a cost that grows with its square, and reserves 512 KiB for a single byte.
MAX_CRYPTO_BYTES: Final = 8192

#: Datagrams that one batch of packets may bring; what comes with them is dropped unread. Packed into packets they
#: are a tenth of the bytes that their handling is worth.
MAX_RECEIVED_DATAGRAMS: Final = 128
#: What a stream of this side's own costs in memory, beside its bytes, for as long as the client leaves it open.
STREAM_BYTES: Final = 4096

_AEAD_TAG_BYTES: Final = 16
_SHORT_HEADER_BYTES: Final = 3
_DATAGRAM_FRAME_BYTES: Final = 3
_FIELD_BYTES: Final = 32
#: Of this side's own: control and QPACK.
_HTTP3_STREAMS: Final = 3

#: What is read or replaced here, by the class or module that has it: (owner, attribute, what for).
LEANED_ON: Final[tuple[tuple[str, str, str], ...]] = (
    ("H3Connection", "_check_control_frame_type", "a bound on the size of control frames"),
    ("H3Connection", "_check_request_or_push_frame_type", "a bound on the size of header sections"),
    ("H3Connection", "_get_local_settings", "announcing every draft of WebTransport"),
    ("H3Connection", "_init_connection", "a QPACK decoder without a dynamic table"),
    ("H3Connection", "_get_or_create_stream", "marking the streams that are opened here, and ending them"),
    ("H3Connection", "_stream", "which streams a session has"),
    ("H3Connection", "_quic", "whether a stream can be written"),
    ("H3Connection", "_max_table_capacity", "a QPACK decoder without a dynamic table"),
    ("H3Connection", "_blocked_streams", "a QPACK decoder without a dynamic table"),
    ("H3Connection", "_decoder", "a QPACK decoder without a dynamic table"),
    ("H3Connection", "_peer_control_stream_id", "a bound on the size of control frames"),
    ("QuicConnection", "_write_connection_limits", "a fixed window of credit per connection"),
    ("QuicConnection", "_write_stream_limits", "a fixed window of credit per stream"),
    ("QuicConnection", "_local_max_data", "a fixed window of credit per connection"),
    ("QuicConnection", "_local_max_streams_bidi", "limits on streams"),
    ("QuicConnection", "_local_max_streams_uni", "limits on streams"),
    ("QuicConnection", "_streams", "bytes that wait to be acknowledged"),
    ("QuicConnection", "_datagrams_pending", "a bound on datagrams that wait"),
    ("QuicConnection", "_remote_max_datagram_frame_size", "the largest datagram that fits"),
    ("QuicConnection", "_max_datagram_size", "the largest datagram that fits"),
    ("QuicConnection", "_peer_cid", "the largest datagram that fits"),
    ("QuicConnection", "_crypto_streams", "a bound on the pieces of a handshake"),
    ("QuicConnection", "_handle_crypto_frame", "a bound on the bytes of a handshake"),
    ("QuicConnection", "_get_or_create_stream", "a bound on the pieces of a stream"),
    ("QuicConnection", "_events", "a bound on datagrams that came and wait"),
    ("QuicConnection", "_handle_datagram_frame", "a bound on datagrams that came and wait"),
    ("H3Connection", "_decode_headers", "a bound on the size of header sections"),
    ("QuicConnection", "_initialize", "a bound on the pieces of a handshake"),
    ("QuicStreamReceiver", "_ranges", "a bound on the pieces of a stream"),
    ("QuicConnection", "_host_cids", "connection ids that name a worker"),
    ("QuicConnection", "_local_initial_source_connection_id", "connection ids that name a worker"),
    ("QuicConnection", "_replenish_connection_ids", "connection ids that name a worker"),
    ("QuicRetryTokenHandler", "_aead", "Retry tokens that all workers take"),
    ("QuicStreamSender", "_buffer_start", "bytes that wait to be acknowledged"),
    ("QuicStreamSender", "_buffer_stop", "bytes that wait to be acknowledged"),
    (
        "QuicStreamSender",
        "_reset_error_code",
        "whether a stream can be written",
    ),
)


class FieldSectionTooLargeError(ProtocolError):
    """The client's: it announced a frame that would have to be held whole, larger than is allowed."""

    error_code = ErrorCode.H3_EXCESSIVE_LOAD


class MisplacedStreamFrameError(FrameUnexpected):
    """The client's: WT_STREAM is not its stream's first frame (draft-ietf-webtrans-http3, section 4.2)."""

    error_code = ErrorCode.H3_FRAME_ERROR


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """What a client may have open and in flight at once.

    aioquic doubles its windows with what arrives, and allocates the gaps: ten packets make it hold 512 MB.
    """

    stream_window: int = 65_536
    """Bytes beyond those delivered in order, per stream."""
    connection_window: int = 262_144
    """The same for all streams together."""
    bidirectional_streams: int = 33
    """Open at a time, the CONNECT stream included."""
    unidirectional_streams: int = 36
    """Open at a time, HTTP/3's own three and a grease stream included."""


class _Pieces(RangeSet):
    """What has arrived of a stream. Too many gaps end the connection, as in other implementations of QUIC."""

    def add(self, start: int, stop: int | None = None) -> None:
        super().add(start, stop)
        if len(self) > MAX_PIECES:
            raise QuicConnectionError(
                error_code=QuicErrorCode.INTERNAL_ERROR,
                frame_type=QuicFrameType.STREAM_BASE,
                reason_phrase="too many gaps in a stream",
            )


class BoundedQuicConnection(QuicConnection):
    """A QUIC connection that grants the peer a fixed window of credit, and none while `reading_paused`.

    `new_id` makes its connection ids, of the configured length; without it they are random.
    """

    def __init__(self, *, limits: FlowLimits, new_id: Callable[[], bytes] | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._new_id = new_id
        if new_id is not None:
            # Nothing has been sent or derived from the random one yet.
            first = self._host_cids[0]
            first.cid = self.host_cid = self._local_initial_source_connection_id = new_id()
        self.reading_paused = False
        self.violated = False
        """Whether this side has closed the connection because the client broke a rule."""
        self.overrun = 0
        """Datagrams that were dropped unread."""
        self._received_datagrams = 0
        for limit, value in (
            (self._local_max_streams_bidi, limits.bidirectional_streams),
            (self._local_max_streams_uni, limits.unidirectional_streams),
        ):
            limit.value = limit.sent = value

    def _replenish_connection_ids(self) -> None:
        known = len(self._host_cids)
        super()._replenish_connection_ids()
        if self._new_id is not None:
            for connection_id in self._host_cids[known:]:
                connection_id.cid = self._new_id()

    def close(
        self, error_code: int = QuicErrorCode.NO_ERROR, frame_type: int | None = None, reason_phrase: str = ""
    ) -> None:
        self.violated = self.violated or error_code not in (QuicErrorCode.NO_ERROR, ErrorCode.H3_NO_ERROR)
        super().close(error_code, frame_type, reason_phrase)

    def next_event(self) -> QuicEvent | None:
        event = super().next_event()
        if event is None:
            self._received_datagrams = 0
        return event

    def _handle_datagram_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        super()._handle_datagram_frame(context, frame_type, buf)
        self._received_datagrams += 1
        if self._received_datagrams > MAX_RECEIVED_DATAGRAMS:
            self._events.pop()
            self.overrun += 1

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        if buf.pull_uint_var() + buf.pull_uint_var() > MAX_CRYPTO_BYTES:
            raise QuicConnectionError(
                error_code=QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
                frame_type=frame_type,
                reason_phrase="a handshake that is too long",
            )
        buf.seek(start)
        super()._handle_crypto_frame(context, frame_type, buf)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        for stream in self._crypto_streams.values():
            stream.receiver._ranges = _Pieces()

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream(frame_type, stream_id)
        if not isinstance(stream.receiver._ranges, _Pieces):
            stream.receiver._ranges = _Pieces()
        return stream

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        credit = self._local_max_data
        window = self._limits.connection_window
        if not self.reading_paused and credit.value - credit.used < window // 2:
            # Bytes of ended streams count as delivered; those behind a gap do not.
            behind_gaps = sum(
                stream.receiver.highest_offset - stream.receiver.starting_offset()
                for stream in self._streams.values()
                if not stream.receiver.is_finished
            )
            credit.value = max(credit.value, credit.used - behind_gaps + window)
        # The base class doubles the limit when half is used, so it is told that nothing is.
        used, credit.used = credit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            credit.used = used

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        receiver = stream.receiver
        window = self._limits.stream_window
        if receiver.is_finished or not stream.max_stream_data_local:
            return
        target = receiver.starting_offset() + window
        if not self.reading_paused and target - stream.max_stream_data_local >= window // 2:
            stream.max_stream_data_local = target
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        # As above.
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest


class RetryTokens(QuicRetryTokenHandler):
    """Makes and checks Retry tokens with a given key (of AES, 16 or 32 bytes) in place of one of its own."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)


class WebTransportH3Connection(H3Connection):
    """HTTP/3 with what WebTransport needs, and without what lets a client make the server hold memory."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic, enable_webtransport=True)

    def _init_connection(self) -> None:
        # With a dynamic table, 64 kB of references decode to more than 200 MB of headers.
        self._max_table_capacity = 0
        self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        settings = super()._get_local_settings()
        settings[Setting.MAX_FIELD_SECTION_SIZE] = MAX_FIELD_SECTION_SIZE
        return settings | SETTINGS_WEBTRANSPORT

    def _check_control_frame_type(self, frame_type: int) -> None:
        super()._check_control_frame_type(frame_type)
        if frame_type in (FrameType.SETTINGS, FrameType.MAX_PUSH_ID):
            assert self._peer_control_stream_id is not None
            _check_frame_size(self._stream[self._peer_control_stream_id])

    def _check_request_or_push_frame_type(self, frame_type: int, stream: H3Stream) -> None:
        super()._check_request_or_push_frame_type(frame_type, stream)
        if frame_type == FrameType.HEADERS:
            _check_frame_size(stream)
        if frame_type == FrameType.WEBTRANSPORT_STREAM and stream.headers_recv_state != HeadersState.INITIAL:
            raise MisplacedStreamFrameError("WT_STREAM is not the first frame of the stream")

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        headers = super()._decode_headers(stream_id, frame_data)
        # References to the static table make fifty bytes of one (RFC 9114, section 4.2.2).
        size = sum(len(name) + len(value) + _FIELD_BYTES for name, value in headers)
        if size > MAX_FIELD_SECTION_SIZE:
            raise FieldSectionTooLargeError(f"a header section of {size} bytes is over {MAX_FIELD_SECTION_SIZE}")
        return headers

    def open_stream(self, session_id: int, *, bidirectional: bool) -> int:
        """Open a stream of the session and return its id.

        Marked as WebTransport's, or the bytes that the client answers with would be taken for HTTP/3 frames.
        """
        stream_id = self.create_webtransport_stream(session_id, is_unidirectional=not bidirectional)
        with self._get_or_create_stream(stream_id) as stream:
            stream.session_id = session_id
            if bidirectional:
                stream.frame_type = FrameType.WEBTRANSPORT_STREAM
            else:
                stream.stream_type = StreamType.WEBTRANSPORT
        return stream_id

    def mark_sending_ended(self, stream_id: int) -> None:
        """Note that a FIN or a reset was sent past HTTP/3, or the stream's record is never dropped."""
        with self._get_or_create_stream(stream_id) as stream:
            stream.sending_ended = True

    def session_streams(self) -> Iterator[tuple[int, int]]:
        """Each WebTransport stream that is open in a direction: (stream id, session id)."""
        for stream_id, stream in list(self._stream.items()):
            if stream.session_id is not None:
                yield stream_id, stream.session_id

    def session_of(self, stream_id: int) -> int | None:
        """The session that a stream belongs to; None when it is not WebTransport's, or is over both ways."""
        stream = self._stream.get(stream_id)
        return None if stream is None else stream.session_id

    def can_send(self, stream_id: int) -> bool:
        """Whether this side may still write to a stream.

        A STOP_SENDING counts from when its packet was read, before its event was handled.
        """
        stream = self._stream.get(stream_id)
        carrier = self._quic._streams.get(stream_id)
        return (
            stream is not None
            and not stream.sending_ended
            and carrier is not None
            and carrier.sender._reset_error_code is None
        )

    def can_receive(self, stream_id: int) -> bool:
        """Whether the client may still write to a stream."""
        stream = self._stream.get(stream_id)
        return stream is not None and not stream.receiving_ended and stream_id in self._quic._streams


def _check_frame_size(stream: H3Stream) -> None:
    if stream.frame_size is not None and stream.frame_size > MAX_FIELD_SECTION_SIZE:
        raise FieldSectionTooLargeError(f"a frame of {stream.frame_size} bytes is over {MAX_FIELD_SECTION_SIZE}")


def unacknowledged_bytes(quic: QuicConnection) -> int:
    """Bytes of streams and datagrams that were written and not yet acknowledged; of a reset stream none."""
    waiting = sum(
        stream.sender._buffer_stop - stream.sender._buffer_start
        for stream in quic._streams.values()
        if stream.sender._reset_error_code is None
    )
    return waiting + sum(map(len, quic._datagrams_pending))


def held_bytes(quic: QuicConnection) -> int:
    """Memory that the client has this side hold: `unacknowledged_bytes`, and the streams it has not let end."""
    own = sum(stream_id & 1 for stream_id in quic._streams)
    return unacknowledged_bytes(quic) + STREAM_BYTES * max(0, own - _HTTP3_STREAMS)


def is_delivered(quic: QuicConnection, stream_id: int) -> bool:
    """Whether the client has acknowledged everything on a stream, up to its FIN or reset."""
    stream = quic._streams.get(stream_id)
    return stream is None or stream.sender.is_finished


def datagram_capacity(quic: QuicConnection, session_id: int) -> int | None:
    """Bytes of the largest WebTransport datagram that fits one packet, None when the peer takes none.

    A larger one would stay at the head of aioquic's queue and block all others.
    """
    if quic._remote_max_datagram_frame_size is None:
        return None
    packet = quic._max_datagram_size - _SHORT_HEADER_BYTES - len(quic._peer_cid.cid) - _AEAD_TAG_BYTES
    frame = min(packet, quic._remote_max_datagram_frame_size)
    capacity = frame - _DATAGRAM_FRAME_BYTES - size_uint_var(session_id // 4)
    return None if capacity < 0 else capacity


def send_datagram(quic: QuicConnection, session_id: int, data: bytes, max_pending: int) -> int:
    """Queue a datagram and return how many older ones had to be dropped to keep `max_pending`."""
    dropped = 0
    while len(quic._datagrams_pending) >= max_pending:
        quic._datagrams_pending.popleft()
        dropped += 1
    quic.send_datagram_frame(encode_uint_var(session_id // 4) + data)
    return dropped
