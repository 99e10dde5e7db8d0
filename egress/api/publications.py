"""What the application asks to be published, as what goes into the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from egress.api.requests import Broadcast, Disconnect, SendToSession, SendToUser
from schemas.close_codes import clip_reason
from schemas.events import DisconnectRequested, Event, MessagePublished
from schemas.topics import channel_topic, session_topic, user_topic


@dataclass(frozen=True, slots=True)
class Publication:
    """An event for a topic."""

    topic: str
    event: Event
    session: str = ""
    """The session that it is for, which has to be live; empty when it is for a user or a channel."""
    user: str = ""


def publication_of(body: SendToSession | SendToUser | Broadcast | Disconnect) -> Publication:
    """What `body` asks for."""
    match body:
        case SendToSession():
            return _to_session(body.session_id, MessagePublished(frame=as_frame(body.message)))
        case SendToUser():
            return _to_user(body.user_id, MessagePublished(frame=as_frame(body.message)))
        case Broadcast():
            frame: dict[str, Any] = {"type": "channel_broadcast", "channel": body.channel, "data": body.message}
            if body.event is not None:
                frame["event"] = body.event
            return Publication(channel_topic(body.channel), MessagePublished(frame=frame, exclude=body.except_))
        case Disconnect():
            order = DisconnectRequested(code=body.code, reason=clip_reason(body.reason))
            return _to_user(body.user_id, order) if body.user_id is not None else _to_session(body.session_id, order)


def as_frame(message: Any) -> dict[str, Any]:
    """`message` as a frame, which is always a map."""
    return message if isinstance(message, dict) else {"type": "message", "data": message}


def _to_session(session: str | None, event: Event) -> Publication:
    assert session is not None
    return Publication(session_topic(session), event, session=session)


def _to_user(user: str, event: Event) -> Publication:
    return Publication(user_topic(user), event, user=user)
