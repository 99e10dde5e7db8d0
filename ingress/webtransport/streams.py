"""The streams of one session on their way out: what may still be written, stopped or reset."""

from __future__ import annotations

from ingress.webtransport.codes import H3Error, to_http3
from ingress.webtransport.private import BoundedQuicConnection, WebTransportH3Connection


class SessionStreams:
    """Commands on streams. One that comes too late for its stream does nothing, as both ends may end it."""

    def __init__(self, quic: BoundedQuicConnection, h3: WebTransportH3Connection) -> None:
        self._quic = quic
        self._h3 = h3
        # Streams that the client was asked to stop and still has to end. The limit on streams bounds them.
        self._stopped: set[int] = set()

    def open(self, session_id: int, *, bidirectional: bool) -> int:
        """Open a stream and return its id."""
        return self._h3.open_stream(session_id, bidirectional=bidirectional)

    def send(self, stream_id: int, data: bytes, end_stream: bool) -> bool:
        """Append to a stream; False when it can no longer be written."""
        if not self._h3.can_send(stream_id):
            return False
        self._quic.send_stream_data(stream_id, data, end_stream)
        if end_stream:
            self._h3.mark_sending_ended(stream_id)
        return True

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon the half of a stream that this side writes, with an application code."""
        self._reset(stream_id, to_http3(code))

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the client to end its half of a stream, with an application code."""
        self._stop(stream_id, to_http3(code))

    def abort(self, stream_id: int, error: H3Error) -> None:
        """End both halves of a stream with an error of HTTP/3."""
        self._reset(stream_id, error)
        self._stop(stream_id, error)

    def is_stopped(self, stream_id: int, *, ended: bool) -> bool:
        """Whether what arrives on a stream is to be dropped; `ended` says that it is the last."""
        stopped = stream_id in self._stopped
        if ended:
            self._stopped.discard(stream_id)
        return stopped

    def _reset(self, stream_id: int, error: int) -> None:
        if self._h3.can_send(stream_id):
            self._quic.reset_stream(stream_id, error)
            self._h3.mark_sending_ended(stream_id)

    def _stop(self, stream_id: int, error: int) -> None:
        if self._h3.can_receive(stream_id) and stream_id not in self._stopped:
            self._stopped.add(stream_id)
            self._quic.stop_stream(stream_id, error)
