"""The client's streams of one session: a decoder each, and when our side of one may end."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from schemas.codec import Encoding, FrameDecoder, FrameLimits


@dataclass(slots=True)
class ClientStream:
    """One stream that the client opened."""

    id: int
    decoder: FrameDecoder
    writable: bool
    """Bidirectional, and neither ended nor stopped."""
    ended: bool = False
    """The client sends nothing more."""
    awaited: int = 0
    """Frames that were forwarded and not yet answered."""
    finish_at: float | None = None
    """When our side is ended although answers are missing (monotonic seconds)."""

    @property
    def encoding(self) -> Encoding:
        """What the client speaks on it; answers come in the same."""
        return self.decoder.encoding or "json"


class ClientStreams:
    """The streams by id. Answers to a stream that is gone go where pushes go."""

    def __init__(self, limits: FrameLimits, reply_timeout: float) -> None:
        self._limits = limits
        self._reply_timeout = reply_timeout
        self._streams: dict[int, ClientStream] = {}

    def receive(self, stream_id: int, *, bidirectional: bool) -> ClientStream:
        """The stream that bytes arrived on."""
        stream = self._streams.get(stream_id)
        if stream is None:
            decoder = FrameDecoder(self._limits)
            stream = self._streams[stream_id] = ClientStream(stream_id, decoder, writable=bidirectional)
        return stream

    def writable(self, stream_id: int) -> ClientStream | None:
        """The stream, if answers can be written to it."""
        stream = self._streams.get(stream_id)
        return stream if stream is not None and stream.writable else None

    def end(self, stream: ClientStream, now: float) -> None:
        """The client ended its side."""
        stream.ended = True
        if stream.writable:
            stream.finish_at = now + self._reply_timeout
        else:
            self.forget(stream.id)

    def answered(self, stream: ClientStream) -> None:
        """One frame of it was answered."""
        stream.awaited = max(0, stream.awaited - 1)

    def finished(self, stream: ClientStream) -> bool:
        """Whether our side can end: the client's has, and every answer was given."""
        return stream.ended and stream.awaited == 0

    @property
    def due(self) -> float:
        """When the first of them is overdue; infinite when none will be."""
        return min((stream.finish_at for stream in self._streams.values() if stream.finish_at is not None), default=inf)

    def overdue(self, now: float) -> list[ClientStream]:
        """Streams whose missing answers are waited for no longer."""
        return [stream for stream in self._streams.values() if stream.finish_at is not None and stream.finish_at <= now]

    def stop(self, stream_id: int) -> None:
        """The client reads no more of it."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.writable = False
            if stream.ended:
                self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """It is gone."""
        self._streams.pop(stream_id, None)
