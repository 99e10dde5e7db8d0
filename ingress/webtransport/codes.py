"""Error codes of HTTP/3 and WebTransport, and the mapping between the two spaces."""

from __future__ import annotations

from enum import IntEnum

#: The HTTP/3 codes that application codes map onto, both included (draft-ietf-webtrans-http3, section 4.4).
FIRST_APPLICATION_ERROR = 0x52E4A40FA8DB
LAST_APPLICATION_ERROR = 0x52E5AC983162

MAX_CODE = 2**32 - 1


class H3Error(IntEnum):
    """What this side sends in RESET_STREAM, STOP_SENDING and CONNECTION_CLOSE (RFC 9114, section 8.1; RFC 9297)."""

    DATAGRAM_ERROR = 0x33
    """A datagram that names no stream there can be (RFC 9297, section 2.1)."""
    NO_ERROR = 0x100
    INTERNAL_ERROR = 0x102
    FRAME_ERROR = 0x106
    EXCESSIVE_LOAD = 0x107
    ID_ERROR = 0x108
    REQUEST_REJECTED = 0x10B
    MESSAGE_ERROR = 0x10E
    WT_BUFFERED_STREAM_REJECTED = 0x3994BD84
    """A stream came before its session and could not be kept (draft, section 4.6)."""
    WT_SESSION_GONE = 0x170D7B68
    """The session that a stream belonged to has ended (draft, section 6)."""


def to_http3(code: int) -> int:
    """The HTTP/3 code for application code `code`; every 31st is skipped, being reserved for greasing.

    Raises ValueError when `code` does not fit 32 bits.
    """
    if not 0 <= code <= MAX_CODE:
        raise ValueError(f"a WebTransport code has 32 bits, {code} does not fit: use 0 to {MAX_CODE}")
    return FIRST_APPLICATION_ERROR + code + code // 0x1E


def from_http3(error: int) -> int | None:
    """The application code that HTTP/3 code `error` stands for, or None when it stands for none."""
    if not FIRST_APPLICATION_ERROR <= error <= LAST_APPLICATION_ERROR or (error - 0x21) % 0x1F == 0:
        return None
    shifted = error - FIRST_APPLICATION_ERROR
    return shifted - shifted // 0x1F
