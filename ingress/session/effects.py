"""What a session core asks its shell to do, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.events import Event


@dataclass(frozen=True, slots=True)
class Append:
    """Append `event` to the inbound log (datagrams to theirs); the shell reports back with confirmed or refused."""

    event: Event
    event_id: str | None = None
    """Derived from the client's own frame id, or None for a new one."""
    stream: int = -1
    frame_id: str | None = None
    acknowledge: bool = False
    """The client gets an `ack` once the append is confirmed."""
    datagram: bool = False
    lasting: bool = False
    """No client could ask again: the shell appends it until it is confirmed, and reports nothing."""


@dataclass(frozen=True, slots=True)
class Send:
    """Write `data` to a stream; `end` closes our side after it."""

    stream: int
    data: bytes
    end: bool = False
    frame: dict[str, Any] | None = None
    """What `data` is, for those who count."""


@dataclass(frozen=True, slots=True)
class OpenAndSend:
    """Open a bidirectional stream of our own, write `data`, end it."""

    data: bytes
    frame: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send `data` unreliably."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What the client missed is written next, or soon: it may be more than a client leaves unread otherwise."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the session."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Deliver nothing more of `channel`."""

    channel: str


Effect = Append | Send | OpenAndSend | SendDatagram | CatchUp | Close | Leave
