"""Client frames, read: what each asks for, as the event that is appended."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from ingress.session import compression
from ingress.session.effects import Append
from schemas.channel_auth import MAX_CHANNEL_DATA_BYTES
from schemas.errors import ErrorCode
from schemas.events import (
    AuthRequested,
    Connected,
    DatagramReceived,
    Event,
    MessageReceived,
    Position,
    ResumeRequested,
    SubscribeRequested,
    UnsubscribeRequested,
    WhisperReceived,
)
from schemas.ids import of_client_frame

MAX_ID_BYTES: Final = 64
MAX_TOKEN_BYTES: Final = 8192
MAX_NAME_BYTES: Final = 256
MAX_CHANNEL_AUTH_BYTES: Final = 1024
MAX_TOPIC_BYTES: Final = 1100
"""`user:` and a user id of 255 characters, none of which has more than four bytes."""


class BadRequest(Exception):
    """The client's: a frame of a known type lacks what it needs. The session stays open."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


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


def _optional_text(frame: dict[str, Any], name: str, limit: int) -> str | None:
    return None if frame.get(name) is None else _text(frame, name, limit)


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


@dataclass(frozen=True, slots=True)
class Wish:
    """What an `auth` frame asks for besides."""

    session: str
    """The session to go on with."""
    secret: str
    positions: dict[str, Position]
    """Where the client is, by topic."""


def resume(frame: dict[str, Any], most: int) -> Wish | None:
    """The `resume` of an `auth` frame, with at most `most` topics in `offsets`; raises BadRequest."""
    value = frame.get("resume")
    if value is None or frame.get("protocol") is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("resume must be {session, secret, offsets}")
    offsets = value.get("offsets", {})
    if not isinstance(offsets, dict) or len(offsets) > most:
        raise BadRequest(f"offsets must be a map of at most {most} topics")
    if not all(_fits(topic, MAX_TOPIC_BYTES) for topic in offsets):
        raise BadRequest(f"a topic has at most {MAX_TOPIC_BYTES} bytes")
    positions = {topic: _position(place, "offsets") for topic, place in offsets.items()}
    return Wish(
        _text(value, "session", MAX_ID_BYTES),
        _text(value, "secret", MAX_NAME_BYTES),
        {topic: place for topic, place in positions.items() if place is not None},
    )


def auth(
    frame: dict[str, Any], stream: int, seal: Callable[[str], str], connected: Connected, resume: ResumeRequested | None
) -> AuthRequested:
    """The `auth` frame; raises BadRequest. A user id in it is not looked at: only the application says who this is."""
    protocol = frame.get("protocol")
    if protocol is not None and protocol != 1:
        raise BadRequest("protocol must be 1 or absent")
    token = _text(frame, "token", MAX_TOKEN_BYTES)
    return AuthRequested(
        token=seal(token),
        protocol=protocol,
        connected=connected,
        resume=resume,
        stream=stream,
        frame_id=_checked_id(frame),
    )


def datagram(frame: dict[str, Any], channels: Set[str]) -> DatagramReceived:
    """A datagram's frame, which names its channel as `channel` or `room`; raises BadRequest."""
    _text(frame, "type")
    channel = _text(frame, "channel" if "channel" in frame else "room")
    return DatagramReceived(frame=frame, channel=channel, member=channel in channels)


def append_for(session: str, generation: int, frame: dict[str, Any], stream: int, channels: Set[str]) -> Append:
    """What to append for a frame of an authenticated session; raises BadRequest."""
    kind = _text(frame, "type")
    if kind == "auth":
        raise BadRequest("auth was sent already")
    client_id = _checked_id(frame)
    source: dict[str, Any] = {"stream": stream, "frame_id": client_id, "generation": generation}
    event: Event
    acknowledge = False
    if kind == "subscribe":
        event = SubscribeRequested(
            channel=_text(frame, "channel"),
            auth=_optional_text(frame, "auth", MAX_CHANNEL_AUTH_BYTES),
            channel_data=_optional_text(frame, "channel_data", MAX_CHANNEL_DATA_BYTES),
            recover=_position(frame.get("recover"), "recover"),
            **source,
        )
    elif kind == "unsubscribe":
        channel = _text(frame, "channel")
        if channel not in channels:
            raise BadRequest("not subscribed to this channel", ErrorCode.NOT_SUBSCRIBED)
        event = UnsubscribeRequested(channel=channel, **source)
    elif kind.startswith("client-"):
        channel = _text(frame, "channel")
        event = WhisperReceived(
            event=kind,
            channel=channel,
            data=frame.get("data"),
            member=channel in channels,
            **source,
        )
        acknowledge = True
    else:
        named = _text(frame, "channel") if kind == "message" else None
        event = MessageReceived(
            frame=frame,
            channel=named,
            member=named is not None and named in channels,
            **source,
        )
        acknowledge = True
    return Append(
        event,
        event_id=of_client_frame(session, kind, client_id) if client_id is not None else None,
        stream=stream,
        frame_id=client_id,
        acknowledge=acknowledge and client_id is not None,
    )


def _position(value: object, name: str) -> Position | None:
    if value is None:
        return None
    try:
        return Position.model_validate(value, strict=True)
    except ValidationError:
        raise BadRequest(f"{name} must hold {{epoch: string, offset: integer}}") from None
