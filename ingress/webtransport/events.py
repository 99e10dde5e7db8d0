"""What happened on a WebTransport session, in the order in which it happened.

Every `code` is a WebTransport application code of 32 bits, already mapped back from HTTP/3. A code that the
client took from outside the application's range (an HTTP/3 error, say) reads as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SessionRequested:
    """A client sent CONNECT; the answer is `accept` or `reject`."""

    path: str
    """Path with its query, exactly as sent."""
    authority: str
    origin: str | None
    """None when the request has no `Origin`, which no browser leaves out."""
    protocols: tuple[str, ...]
    """`WT-Available-Protocols`, in the client's order of preference; empty if absent or malformed."""
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class StreamDataReceived:
    """The next bytes of a stream, in order."""

    stream_id: int
    data: bytes
    ended: bool
    bidirectional: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The client abandoned the half of a stream that it writes."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The client reads no more of a stream; the half that is written here is reset already."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """One datagram; others may have been lost or overtaken."""

    data: bytes


@dataclass(frozen=True, slots=True)
class DrainReceived:
    """The client asks to bring the session to an end soon."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The client ended the session; no other event follows. Never reported after a `close` from this side."""

    code: int
    reason: str
    abrupt: bool = False
    """The connection was lost, or broke the protocol, without the client having closed the session."""


WebTransportEvent: TypeAlias = (
    SessionRequested
    | StreamDataReceived
    | StreamReset
    | StreamStopped
    | DatagramReceived
    | DrainReceived
    | SessionClosed
)
