"""What the application is asked, and what its answer becomes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from processors.answer import Answer
from runtime.bus.outcomes import Outcome
from schemas.entry import Entry
from schemas.errors import ErrorCode, error_frame
from schemas.events import (
    ChannelSubscribed,
    ChannelUnsubscribed,
    MessagePublished,
    MessageReceived,
    SessionClosed,
    SessionOpened,
    SessionResumed,
)
from schemas.topics import channel_topic, session_topic

#: The type under which the application receives a channel's messages, with the sender stamped by us.
CHANNEL_MESSAGE: Final = "channel_message"

ConnectionEvent = SessionOpened | SessionResumed | SessionClosed | ChannelSubscribed | ChannelUnsubscribed
#: What the application is told of besides messages, and how it knows that.
CONNECTION_EVENTS: Final[dict[type[ConnectionEvent], str]] = {
    SessionOpened: "connection.opened",
    SessionResumed: "connection.resumed",
    ChannelSubscribed: "connection.subscribed",
    ChannelUnsubscribed: "connection.unsubscribed",
    SessionClosed: "connection.closed",
}


def message(entry: Entry, event: MessageReceived) -> dict[str, Any] | None:
    """The body for a client's frame; None for a frame that poses as one of ours."""
    kind = event.frame.get("type")
    if kind == CHANNEL_MESSAGE:
        return None
    if kind != "message":
        return event.frame
    return {
        "type": CHANNEL_MESSAGE,
        "channel": event.channel,
        "data": event.frame.get("data"),
        "sessionId": entry.session,
        "userId": entry.user or None,
    }


def connection(entry: Entry, event: ConnectionEvent) -> dict[str, Any]:
    """The body that tells of a session's beginning, its going on, its end, or the channels that it is in."""
    at = datetime.fromtimestamp(entry.ts / 1000, UTC).isoformat(timespec="milliseconds")
    data: dict[str, Any] = {
        "sessionId": entry.session,
        "userId": entry.user or None,
        "timestamp": at.replace("+00:00", "Z"),
    }
    if isinstance(event, ChannelSubscribed | ChannelUnsubscribed):
        data["channel"] = event.channel
    if isinstance(event, SessionClosed | ChannelUnsubscribed):
        data["reason"] = event.reason
    return {"event": CONNECTION_EVENTS[type(event)], "data": data}


def answered(entry: Entry, event: MessageReceived, answer: Answer) -> Outcome:
    """What follows from the application's answer: for the channel, for the sender, or nothing."""
    if not answer.ok:
        return refused(entry, event, ErrorCode.APPLICATION_REJECTED, "the application refused this message")
    body = answer.json
    if body is None:
        return Outcome.done()
    if isinstance(body, dict) and body.get("broadcast") is True:
        return _broadcast(entry, event, body)
    return Outcome.done(_reply(entry, event, body))


def refused(entry: Entry, event: MessageReceived, code: ErrorCode, text: str) -> Outcome:
    """The sender is told that nothing came of its frame; never in the application's words."""
    frame = error_frame(code, text, event.frame_id)
    if event.channel is not None:
        frame["channel"] = event.channel
    return Outcome.done(_to_sender(entry, event, "refused", frame))


def _broadcast(entry: Entry, event: MessageReceived, body: dict[str, Any]) -> Outcome:
    channel = body.get("channel", event.channel)
    # Membership was looked at for the channel the frame named: no other can be written to from here.
    if channel is None or channel != event.channel or not event.member:
        return refused(entry, event, ErrorCode.NOT_SUBSCRIBED, "not subscribed to this channel")
    frame: dict[str, Any] = {"type": "channel_broadcast", "channel": channel, "data": body.get("data")}
    if isinstance(body.get("event"), str):
        frame["event"] = body["event"]
    published = entry.follow(
        "broadcast", MessagePublished(frame=frame, exclude=entry.session), topic=channel_topic(channel)
    )
    if event.frame_id is None:
        return Outcome.done(published)
    return Outcome.done(published, _reply(entry, event, body))


def _reply(entry: Entry, event: MessageReceived, body: Any) -> Entry:
    frame = dict(body) if isinstance(body, dict) else {"type": "reply", "data": body}
    if event.frame_id is not None:
        frame["id"] = event.frame_id
    return _to_sender(entry, event, "reply", frame)


def _to_sender(entry: Entry, event: MessageReceived, position: str, frame: dict[str, Any]) -> Entry:
    told = MessagePublished(frame=frame, stream=event.stream, generation=event.generation)
    return entry.follow(position, told, topic=session_topic(entry.session))
