"""HTTP/3 with WebTransport, and bounds on header sections and control frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from weakref import WeakSet

import pylsqpack
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
from aioquic.quic.connection import QuicConnection

from ingress.webtransport.private.leaned_on import LeanedOn

#: What a server says so that each generation of clients goes on (draft-ietf-webtrans-http3): Chromium wants
#: the first. Draft 15's 0x2c7cf000 is left out: it promises RESET_STREAM_AT, which aioquic does not have.
SETTINGS_WEBTRANSPORT: Final = {
    0x2B603742: 1,  # ENABLE_WEBTRANSPORT, draft 02
    0xC671706A: 1,  # WEBTRANSPORT_MAX_SESSIONS, draft 07
    0x14E9CD29: 1,  # WT_MAX_SESSIONS, drafts 13 and 14
}

#: Bytes of the longest header section and control frame that a client may send.
MAX_FIELD_SECTION_SIZE: Final = 16_384
_FIELD_BYTES: Final = 32

#: See the package.
LEANED_ON: Final[LeanedOn] = (
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
    ("QuicConnection", "_streams", "whether a stream can be written"),
    ("H3Connection", "_decode_headers", "a bound on the size of header sections"),
    ("QuicStreamSender", "_reset_error_code", "whether a stream can be written"),
)


class FieldSectionTooLargeError(ProtocolError):
    """The client's: it announced a frame that would have to be held whole, larger than is allowed."""

    error_code = ErrorCode.H3_EXCESSIVE_LOAD


class MisplacedStreamFrameError(FrameUnexpected):
    """The client's: WT_STREAM is not its stream's first frame (draft-ietf-webtrans-http3, section 4.3)."""

    error_code = ErrorCode.H3_FRAME_ERROR


class WebTransportH3Connection(H3Connection):
    """HTTP/3 with what WebTransport needs, and without what lets a client make the server hold memory."""

    def __init__(self, quic: QuicConnection) -> None:
        # Streams that began with a frame of HTTP/3, known or not.
        self._begun: WeakSet[H3Stream] = WeakSet()
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
        if frame_type != FrameType.WEBTRANSPORT_STREAM:
            if stream.headers_recv_state is HeadersState.INITIAL:
                self._begun.add(stream)
        elif stream in self._begun:
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
