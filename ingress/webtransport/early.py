"""Keeps, within bounds, what a client sends for a session before the session is accepted.

QUIC does not order streams: the first stream or datagram may overtake the CONNECT request
(draft-ietf-webtrans-http3, section 4.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from ingress.webtransport.events import (
    DatagramReceived,
    DrainReceived,
    StreamDataReceived,
    StreamReset,
    StreamStopped,
)

EarlyEvent: TypeAlias = StreamDataReceived | StreamReset | StreamStopped | DatagramReceived | DrainReceived

#: What an event costs on top of its data, so that many small ones are bounded too.
_EVENT_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class EarlyLimits:
    """What is kept at most, for all sessions that a connection names together."""

    streams: int = 16
    bytes: int = 65_536
    """Of streams and datagrams together, with 64 for each piece that they arrive in."""


class EarlyEvents:
    """Events of sessions that are not open yet, in order of arrival."""

    def __init__(self, limits: EarlyLimits) -> None:
        self._limits = limits
        self._events: list[tuple[int, EarlyEvent]] = []
        self._streams: set[int] = set()
        self._bytes = 0

    def keep(self, session_id: int, event: EarlyEvent) -> bool:
        """Keep an event, or say that it exceeds the bounds; of a stream that does, nothing is kept at all."""
        fits = self._bytes + _cost(event) <= self._limits.bytes
        match event:
            case StreamDataReceived(stream_id):
                if not fits or (stream_id not in self._streams and len(self._streams) >= self._limits.streams):
                    self._forget(stream_id)
                    return False
                self._streams.add(stream_id)
            case StreamReset(stream_id) | StreamStopped(stream_id):
                fits = fits and stream_id in self._streams
        if fits:
            self._bytes += _cost(event)
            self._events.append((session_id, event))
        return fits

    def take(self, session_id: int) -> tuple[list[EarlyEvent], set[int]]:
        """Everything kept for one session, and the streams of all others, which will never open."""
        events = [event for session, event in self._events if session == session_id]
        ours = {event.stream_id for event in events if isinstance(event, StreamDataReceived)}
        orphans = self._streams - ours
        self._events.clear()
        self._streams.clear()
        self._bytes = 0
        return events, orphans

    def _forget(self, stream_id: int) -> None:
        kept: list[tuple[int, EarlyEvent]] = []
        for session_id, event in self._events:
            if getattr(event, "stream_id", None) == stream_id:
                self._bytes -= _cost(event)
            else:
                kept.append((session_id, event))
        self._events = kept
        self._streams.discard(stream_id)


def _cost(event: EarlyEvent) -> int:
    return _EVENT_BYTES + (len(event.data) if isinstance(event, StreamDataReceived | DatagramReceived) else 0)
