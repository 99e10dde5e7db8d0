"""The frames that a session writes of its own (docs/wire-protocol.md#from-the-gateway)."""

from __future__ import annotations

from typing import Any

from schemas.close_codes import reconnects
from schemas.events import SubscribedDelivery, UnsubscribedDelivery

Frame = dict[str, Any]


def with_id(frame: Frame, frame_id: str | None) -> Frame:
    """`frame` with the id of the frame it answers."""
    if frame_id is not None:
        frame["id"] = frame_id
    return frame


def subscribed(channel: str, event: SubscribedDelivery) -> Frame:
    """A channel was granted, or given back."""
    frame: Frame = {
        "type": "subscribed",
        "channel": channel,
        "epoch": event.epoch,
        "offset": event.offset,
        "recovered": event.recovered,
        "publications": event.publications,
    }
    if event.members is not None:
        frame["members"] = event.members
    if event.expires_at is not None:
        frame["expiresAt"] = event.expires_at
    return with_id(frame, event.frame_id)


def unsubscribed(channel: str, event: UnsubscribedDelivery) -> Frame:
    """A channel was left, or taken away."""
    frame: Frame = {"type": "unsubscribed", "channel": channel}
    if event.reason != "unsubscribed":
        frame["reason"] = event.reason
    if event.message:
        frame["message"] = event.message
    return with_id(frame, event.frame_id)


def disconnect(code: int, reason: str) -> Frame:
    """The session is about to be closed."""
    return {"type": "disconnect", "code": int(code), "reason": reason, "reconnect": reconnects(code)}
