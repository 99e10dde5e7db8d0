"""QUIC with fixed windows of credit, and bounds on what a client can have it hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aioquic.h3.connection import ErrorCode
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.events import QuicEvent
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from ingress.webtransport.private.leaned_on import LeanedOn

# Re-exported by aioquic.buffer, which type checkers do not take for an export.
from aioquic._buffer import Buffer  # isort: skip

#: Pieces of a stream, apart from each other, that may wait for what is between them. Each that comes is compared
#: with all: without a bound, 400 packets of single bytes keep a server busy for a minute.
MAX_PIECES: Final = 256

#: Bytes of a client's handshake messages at one level of encryption. A ClientHello has two thousand; aioquic holds what
#: comes in order without end, at a cost that grows with its square, and reserves 512 KiB for a single byte.
MAX_CRYPTO_BYTES: Final = 8192

#: Datagrams that one batch of packets may bring; what comes with them is dropped unread. Packed into packets they
#: are a tenth of the bytes that their handling is worth.
MAX_RECEIVED_DATAGRAMS: Final = 128

#: See the package.
LEANED_ON: Final[LeanedOn] = (
    ("QuicConnection", "_write_connection_limits", "a fixed window of credit per connection"),
    ("QuicConnection", "_write_stream_limits", "a fixed window of credit per stream"),
    ("QuicConnection", "_local_max_data", "a fixed window of credit per connection"),
    ("QuicConnection", "_local_max_streams_bidi", "limits on streams"),
    ("QuicConnection", "_local_max_streams_uni", "limits on streams"),
    ("QuicConnection", "_streams", "a fixed window of credit per connection"),
    ("QuicConnection", "_crypto_streams", "a bound on the pieces of a handshake"),
    ("QuicConnection", "_handle_crypto_frame", "a bound on the bytes of a handshake"),
    ("QuicConnection", "_get_or_create_stream", "a bound on the pieces of a stream"),
    ("QuicConnection", "_events", "a bound on datagrams that came and wait"),
    ("QuicConnection", "_handle_datagram_frame", "a bound on datagrams that came and wait"),
    ("QuicConnection", "_initialize", "a bound on the pieces of a handshake"),
    ("QuicStreamReceiver", "_ranges", "a bound on the pieces of a stream"),
    ("QuicConnection", "_host_cids", "connection ids that name a worker"),
    ("QuicConnection", "_local_initial_source_connection_id", "connection ids that name a worker"),
    ("QuicConnection", "_replenish_connection_ids", "connection ids that name a worker"),
)


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
        granted, window = stream.max_stream_data_local, self._limits.stream_window
        # Asked for every stream with every packet: nearly always there is nothing to say.
        due = not self.reading_paused and receiver.starting_offset() + window - granted >= window // 2
        if not (due or stream.max_stream_data_local_sent != granted) or not granted or receiver.is_finished:
            return
        if due:
            stream.max_stream_data_local = receiver.starting_offset() + window
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        # As above.
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest
