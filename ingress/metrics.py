"""Counters of the gateway. No label ever holds what a client chose."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

SESSIONS = Gauge("headgate_sessions", "Open sessions.", ["transport"])
OPENED = Counter("headgate_sessions_opened", "Sessions opened.", ["transport"])
CLOSED = Counter("headgate_sessions_closed", "Sessions closed, by code and by who closed them.", ["code", "by"])
REFUSED = Counter("headgate_sessions_refused", "Session requests refused with an HTTP status.", ["reason"])
ERRORS = Counter("headgate_error_frames", "Error frames sent to clients.", ["code"])
FRAMES_IN = Counter("headgate_frames_received", "Frames appended to the inbound log.", ["type"])
FRAMES_OUT = Counter("headgate_frames_sent", "Frames written to clients.")
DATAGRAMS_OUT = Counter("headgate_datagrams_sent", "Datagrams written to clients.")
DATAGRAMS_DROPPED = Counter("headgate_datagrams_dropped", "Datagrams that went no further.", ["reason"])
DELIVERIES = Counter("headgate_deliveries", "Entries of the delivery stream, by what became of them.", ["result"])
BROKE = Counter("headgate_sessions_broke", "Sessions that were closed for a fault in a gateway's code.")
DECLARED_LOST = Counter(
    "headgate_gateway_declared_lost", "Times this gateway found that it had been declared lost and began anew."
)
FELL_BEHIND = Counter(
    "headgate_gateway_fell_behind", "Times this gateway's delivery stream lost what it had not read, and it began anew."
)
LOG_AWAY = Gauge("headgate_log_away", "1 while the log takes nothing and sessions are read no further.")
PAUSED = Counter("headgate_reading_paused", "Times a session was read no further until the log had caught up.")
ACK_SECONDS = Histogram(
    "headgate_append_seconds",
    "From a frame's arrival to its confirmed append; of frames that are confirmed together, the first.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


@cache
def frames_in(event_type: str) -> Counter:
    """FRAMES_IN of one of our event types, looked up once."""
    return FRAMES_IN.labels(event_type)


def count_error(frame: dict[str, object] | None) -> None:
    """Count a frame that is written, if it is an error."""
    if frame is not None and frame.get("type") == "error" and isinstance(frame.get("code"), int):
        ERRORS.labels(str(frame["code"]) if 100 <= int(str(frame["code"])) < 200 else "other").inc()
