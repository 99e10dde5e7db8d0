"""Client frames, read: what each asks for, as the event that is appended."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Final

from pydantic import ValidationError

from ingress.session import compression
from ingress.session.effects import Append
from schemas.errors import ErrorCode
from schemas.events import (
    AuthRequested,
    DatagramReceived,
    Event,
    MessageReceived,
    Position,
    SubscribeRequested,
    Unsubscribed,
    WhisperReceived,
)
from schemas.ids import of_client_frame

MAX_ID_BYTES: Final = 64
MAX_TOKEN_BYTES: Final = 8192
MAX_NAME_BYTES: Final = 256


class BadRequest(Exception):
    """The client's: a frame of a known type lacks what it needs. The session stays open."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def with_id(frame: dict[str, Any], frame_id: str | None) -> dict[str, Any]:
    """`frame` with the id of the frame it answers."""
    if frame_id is not None:
        frame["id"] = frame_id
    return frame


def frame_id(frame: dict[str, Any]) -> str | None:
    """The client's id of `frame`, or None when it has none that is usable."""
    value = frame.get("id")
    return value if isinstance(value, str) and _fits(value, MAX_ID_BYTES) else None


def _checked_id(frame: dict[str, Any]) -> str | None:
    value = frame_id(frame)
    if value is None and frame.get("id") is not None:
        raise BadRequest(f"id must be a string of at most {MAX_ID_BYTES} bytes")
    return value


def _fits(text: str, limit: int) -> bool:
    # No character has more than four bytes of UTF-8 (RFC 3629): most texts need not be encoded to know.
    return len(text) * 4 <= limit or len(text.encode()) <= limit


def _text(frame: dict[str, Any], name: str, limit: int = MAX_NAME_BYTES) -> str:
    value = frame.get(name)
    if not isinstance(value, str) or not value or not _fits(value, limit):
        raise BadRequest(f"{name} must be a string of 1 to {limit} bytes")
    return value


MAX_BATCH_MS: Final = 100


def batch_seconds(frame: dict[str, Any]) -> float:
    """How long an `auth` frame lets pushes wait for company, in seconds; raises BadRequest."""
    value = frame.get("batch", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_BATCH_MS:
        raise BadRequest(f"batch must be 0 to {MAX_BATCH_MS} milliseconds")
    return float(value) / 1000


def compresses(frame: dict[str, Any]) -> bool:
    """Whether an `auth` frame lists the compression that we speak; raises BadRequest."""
    value = frame.get("compression", [])
    if not isinstance(value, list):
        raise BadRequest("compression must be a list of encodings")
    return compression.ENCODING in value


def auth(frame: dict[str, Any], stream: int, seal: Callable[[str], str]) -> AuthRequested:
    """The `auth` frame; raises BadRequest. A user id in it is not looked at: only the application says who this is."""
    protocol = frame.get("protocol")
    if protocol is not None and protocol != 1:
        raise BadRequest("protocol must be 1 or absent")
    token = _text(frame, "token", MAX_TOKEN_BYTES)
    return AuthRequested(token=seal(token), protocol=protocol, stream=stream, frame_id=_checked_id(frame))


def datagram(frame: dict[str, Any], channels: Set[str]) -> DatagramReceived:
    """A datagram's frame, which names its channel as `channel` or `room`; raises BadRequest."""
    _text(frame, "type")
    channel = _text(frame, "channel" if "channel" in frame else "room")
    return DatagramReceived(frame=frame, channel=channel, member=channel in channels)


def append_for(session: str, frame: dict[str, Any], stream: int, channels: Set[str]) -> Append:
    """What to append for a frame of an authenticated session; raises BadRequest."""
    kind = _text(frame, "type")
    if kind == "auth":
        raise BadRequest("auth was sent already")
    client_id = _checked_id(frame)
    event: Event
    acknowledge = False
    if kind == "subscribe":
        event = SubscribeRequested(
            channel=_text(frame, "channel"),
            auth=_text(frame, "auth", 1024) if frame.get("auth") is not None else None,
            recover=_position(frame.get("recover")),
            stream=stream,
            frame_id=client_id,
        )
    elif kind == "unsubscribe":
        channel = _text(frame, "channel")
        if channel not in channels:
            raise BadRequest("not subscribed to this channel", ErrorCode.NOT_SUBSCRIBED)
        event = Unsubscribed(channel=channel, stream=stream, frame_id=client_id)
    elif kind.startswith("client-"):
        channel = _text(frame, "channel")
        event = WhisperReceived(
            event=kind,
            channel=channel,
            data=frame.get("data"),
            member=channel in channels,
            stream=stream,
            frame_id=client_id,
        )
        acknowledge = True
    else:
        named = _text(frame, "channel") if kind == "message" else None
        event = MessageReceived(
            frame=frame,
            channel=named,
            member=named is not None and named in channels,
            stream=stream,
            frame_id=client_id,
        )
        acknowledge = True
    return Append(
        event,
        event_id=of_client_frame(session, kind, client_id) if client_id is not None else None,
        stream=stream,
        frame_id=client_id,
        acknowledge=acknowledge and client_id is not None,
    )


def _position(value: object) -> Position | None:
    if value is None:
        return None
    try:
        return Position.model_validate(value, strict=True)
    except ValidationError:
        raise BadRequest("recover must be {epoch: string, offset: integer}") from None
