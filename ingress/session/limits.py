"""What a session is told about the world: its limits and the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from schemas.codec import FrameLimits


class Now(NamedTuple):
    """The time, on two clocks."""

    monotonic: float
    """Seconds; for deadlines."""
    wall_ms: int
    """Unix milliseconds; for what people read."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds of one session. Durations in seconds."""

    frame: FrameLimits
    auth_timeout: float
    """Until the first frame, an `auth`."""
    verdict_timeout: float
    """From that frame until the application's answer to it."""
    auth_pending_bytes: int
    """Held while that answer is awaited."""
    max_channels: int
    frames_per_second: float
    """With `bytes_per_second`, more closes the session; twice as much may come at once."""
    bytes_per_second: float
    datagrams_per_second: float
    """More are dropped."""
    ping_interval: float
    pong_timeout: float
    reply_timeout: float = 10.0
    """How long a stream that the client ended is kept open for replies."""
