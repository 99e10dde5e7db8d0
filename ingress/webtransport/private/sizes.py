"""How much waits to be sent or acknowledged, and datagrams that fit."""

from __future__ import annotations

from typing import Final

from aioquic.buffer import encode_uint_var, size_uint_var
from aioquic.quic.connection import QuicConnection

from ingress.webtransport.private.leaned_on import LeanedOn

# Re-exported by aioquic.buffer, which type checkers do not take for an export.

#: What a stream of this side's own costs in memory, beside its bytes, for as long as the client leaves it open.
STREAM_BYTES: Final = 4096

_AEAD_TAG_BYTES: Final = 16
_SHORT_HEADER_BYTES: Final = 3
_DATAGRAM_FRAME_BYTES: Final = 3
#: Of this side's own: control and QPACK.
_HTTP3_STREAMS: Final = 3

#: See the package.
LEANED_ON: Final[LeanedOn] = (
    ("QuicConnection", "_streams", "bytes that wait to be acknowledged"),
    ("QuicConnection", "_datagrams_pending", "a bound on datagrams that wait"),
    ("QuicConnection", "_remote_max_datagram_frame_size", "the largest datagram that fits"),
    ("QuicConnection", "_max_datagram_size", "the largest datagram that fits"),
    ("QuicConnection", "_peer_cid", "the largest datagram that fits"),
    ("QuicStreamSender", "_buffer_start", "bytes that wait to be acknowledged"),
    ("QuicStreamSender", "_buffer_stop", "bytes that wait to be acknowledged"),
    ("QuicStreamSender", "_reset_error_code", "whether a stream can be written"),
)


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
