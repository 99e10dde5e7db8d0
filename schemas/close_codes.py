"""The codes a session is closed with, the same over every transport."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why the gateway closed a session.

    3000-3499 and 4000-4399 ask the client to reconnect with backoff and jitter, 3500-3999 and 4400-4999 not to.
    """

    NORMAL = 0
    INTERNAL_ERROR = 3000
    SHUTDOWN = 3001
    TOKEN_EXPIRED = 3005
    SLOW_CONSUMER = 3008
    STATE_LOST = 3010
    NO_PONG = 3012
    TOO_MANY_REQUESTS = 3013
    FORCED = 3500
    RESUMED_ELSEWHERE = 3503
    CONNECTION_LIMIT = 3504
    MALFORMED = 4400
    AUTH_FAILED = 4401
    FORBIDDEN = 4403
    AUTH_TIMEOUT = 4408
    TOO_LARGE = 4413


#: The longest reason that fits a close capsule, in UTF-8 bytes (draft-ietf-webtrans-http3, section 6).
MAX_REASON_BYTES = 1024
#: The longest reason that fits a close frame, in UTF-8 bytes (RFC 6455, section 5.5).
MAX_WEBSOCKET_REASON_BYTES = 123


def reconnects(code: int) -> bool:
    """Whether a client that was closed with `code` should connect again."""
    return 3000 <= code < 3500 or 4000 <= code < 4400


def clip_reason(reason: str, most: int = MAX_REASON_BYTES) -> str:
    """`reason` cut to what a close capsule can carry, or to `most` bytes, never inside a character."""
    return reason.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
