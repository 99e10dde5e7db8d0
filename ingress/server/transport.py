"""What a client's session and the connection that carries it may expect of each other.

Neither side names WebTransport or WebSocket, so a session is written once and runs over both. Everything here
is called on the event loop's thread, and nothing here blocks or awaits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

TransportKind = Literal["webtransport", "websocket"]


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A client asks for a session."""

    transport: TransportKind
    path: str
    """Path with its query, exactly as the client sent it."""
    authority: str
    """Host and port that the client believes it speaks to."""
    origin: str | None
    """Value of `Origin`, or None when the client sent none (not a browser)."""
    protocols: tuple[str, ...]
    """Application protocols that the client offers, in its order of preference."""
    user_agent: str | None
    remote_address: str
    """IP address of the client, IPv4 in its dotted form even on a dual-stack socket."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a `SessionRequest`, given before the session exists.

    A browser's script sees neither `status` nor why: to tell it, admit the session and close it with a code.
    """

    status: int = 200
    """HTTP status; 200 admits, 4xx and 5xx refuse."""
    protocol: str | None = None
    """The one of the offered protocols that is chosen."""

    @property
    def admitted(self) -> bool:
        return 200 <= self.status < 300


class Transport(Protocol):
    """What a session may do to its client. Writes leave together at the end of the loop turn.

    After `close`, and after `SessionHandler.closed` was called, every command is ignored, so a session need
    not watch for the end before each write.
    """

    @property
    def kind(self) -> TransportKind: ...

    @property
    def remote_address(self) -> str:
        """IP address that the client's packets come from now; it may change while a session lasts."""
        ...

    @property
    def datagram_capacity(self) -> int:
        """Bytes of the largest datagram that can be sent, 0 when the client takes none."""
        ...

    def send(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """Append one whole frame to a stream, or nothing; dropped silently once the stream is ended, reset or
        stopped by the client.

        A transport of messages, which may hold one frame each, sends one for each call.
        """
        ...

    def send_all(self, stream_id: int, frames: Sequence[bytes]) -> None:
        """`send` each of `frames`, in order, cheaper."""
        ...

    def open_bidirectional(self) -> int:
        """Open a stream and return its id, -1 once the session has ended.

        The client's limit on streams may delay what is sent on it.
        """
        ...

    def open_unidirectional(self) -> int:
        """Open a stream that only this side writes, and return its id, -1 once the session has ended."""
        ...

    def send_datagram(self, data: bytes) -> bool:
        """Send unreliably. False, and nothing queued, when it is larger than `datagram_capacity`.

        Under congestion the oldest datagrams that wait are dropped for newer ones.
        """
        ...

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abandon this side's half of a stream, with a code of 32 bits that the client sees."""
        ...

    def stop_stream(self, stream_id: int, code: int) -> None:
        """Ask the client to stop sending on a stream."""
        ...

    def pause_reading(self) -> None:
        """Grant the client no more credit: what it has in flight still arrives, then it must wait."""
        ...

    def resume_reading(self) -> None: ...

    def drain(self) -> None:
        """Tell the client to finish and go elsewhere; the session goes on."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the session with a code of 32 bits and at most 1,024 bytes of reason (longer ones are cut).

        What was sent before gets a moment to arrive first. `SessionHandler.closed` follows in a later
        loop turn.
        """
        ...

    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the client has not acknowledged, and a price for each stream it leaves open."""
        ...


class SessionHandler(Protocol):
    """What a transport tells a session. An exception from any of these closes the session with 3000."""

    def connected(self, request: SessionRequest) -> None:
        """The session is open: the first call of all."""
        ...

    def stream_data(self, stream_id: int, data: bytes, ended: bool, bidirectional: bool) -> None:
        """The next bytes of a stream, in order; `data` may be empty when `ended`."""
        ...

    def datagram(self, data: bytes) -> None: ...

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client abandoned its half of a stream; what it sent before may be missing."""
        ...

    def stream_stopped(self, stream_id: int, code: int) -> None:
        """The client reads no more of a stream; this side's half is already reset."""
        ...

    def failed(self, code: int, reason: str) -> None:
        """The client sent or left unread what the transport cannot go on with: close with this code and reason."""
        ...

    def closed(self, code: int, reason: str, abrupt: bool) -> None:
        """The session has ended: the last call of all, exactly once after `connected`.

        `abrupt` says that the connection was lost without a word from the client; code and reason are then
        0 and empty. After the session's own `Transport.close` they are the ones that it gave.
        """
        ...


SessionFactory = Callable[[Transport], SessionHandler]
"""Makes the handler of one admitted session; `SessionHandler.connected` is called right after."""

Admit = Callable[[SessionRequest], Admission]
"""Decides on a request at once, from the request alone (origin, path, how many sessions there are)."""
