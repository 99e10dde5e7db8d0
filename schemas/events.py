"""The event types: frozen facts in the past tense.

`stream` is the id of the client's stream a frame came on (-1: no stream, push as the session prefers), `frame_id` the
id the client chose for its frame. `frame` is a frame as it travels on the wire (docs/wire-protocol.md).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

NO_STREAM: Final = -1


class Event(BaseModel):
    """Base of every event. TYPE and VERSION go into the entry; unknown fields are ignored on reading."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1


class Position(BaseModel):
    """Where a client is in a topic: the history's `epoch` and the last `offset` it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    epoch: str
    offset: int


class _Framed(Event):
    stream: int = NO_STREAM
    frame_id: str | None = None


# The inbound log, written by gateways.


class SessionOpened(Event):
    """A transport session was accepted; nobody is authenticated yet."""

    TYPE: ClassVar[str] = "session.opened"
    transport: str
    origin: str
    path: str
    address: str


class AuthRequested(_Framed):
    """The client sent its token; `token` is sealed (schemas.sealing), `protocol` is None for clients without one."""

    TYPE: ClassVar[str] = "session.auth_requested"
    token: str
    protocol: int | None = None


class SessionClosed(Event):
    """The session ended; `by` says who ended it."""

    TYPE: ClassVar[str] = "session.closed"
    code: int
    reason: str
    by: Literal["client", "gateway", "application"]


class SubscribeRequested(_Framed):
    """The client asked for a channel, perhaps from a position on."""

    TYPE: ClassVar[str] = "channel.subscribe_requested"
    channel: str
    auth: str | None = None
    recover: Position | None = None


class Unsubscribed(_Framed):
    """The client left a channel."""

    TYPE: ClassVar[str] = "channel.unsubscribed"
    channel: str


class MessageReceived(_Framed):
    """A frame for the application. `member`: the gateway had granted `channel` to the sender when it arrived."""

    TYPE: ClassVar[str] = "message.received"
    frame: dict[str, Any]
    channel: str | None = None
    member: bool = False


class WhisperReceived(_Framed):
    """A client event (`client-…`) for the other members of a channel."""

    TYPE: ClassVar[str] = "whisper.received"
    event: str
    channel: str
    data: Any = None
    member: bool = False


class DatagramReceived(Event):
    """A datagram for the other members of a channel; on the datagram log."""

    TYPE: ClassVar[str] = "datagram.received"
    frame: dict[str, Any]
    channel: str
    member: bool = False


# The outbound log, written by processors and the HTTP API.


class SessionAuthenticated(_Framed):
    """The application knows the token. `user` is None when it named nobody; `expires_at` is Unix ms."""

    TYPE: ClassVar[str] = "session.authenticated"
    user: str | None
    info: Any = None
    expires_at: int | None = None
    protocol: int | None = None


class AuthFailed(_Framed):
    """The application refused the token."""

    TYPE: ClassVar[str] = "session.auth_failed"
    error: str


class SessionEnded(Event):
    """Nothing can be delivered to the session any more."""

    TYPE: ClassVar[str] = "session.ended"


class DisconnectRequested(Event):
    """The application wants the topic's sessions closed."""

    TYPE: ClassVar[str] = "session.disconnect_requested"
    code: int
    reason: str


class SubscriptionGranted(_Framed):
    """The entry's session may receive the topic; `member` is what other members see of it in a presence channel."""

    TYPE: ClassVar[str] = "subscription.granted"
    member: dict[str, Any] | None = None
    recover: Position | None = None


class SubscriptionEnded(_Framed):
    """The entry's session no longer receives the topic."""

    TYPE: ClassVar[str] = "subscription.ended"
    reason: Literal["unsubscribed", "closed", "revoked"]


class MessagePublished(Event):
    """`frame` goes to the topic's sessions but `exclude`; `stream` is the stream a reply belongs on."""

    TYPE: ClassVar[str] = "message.published"
    frame: dict[str, Any]
    stream: int = NO_STREAM
    exclude: str | None = None


class DatagramPublished(Event):
    """As MessagePublished, unreliable and without a place in the history; on the datagram log."""

    TYPE: ClassVar[str] = "datagram.published"
    frame: dict[str, Any]
    exclude: str | None = None


# Delivery streams, from the router to one gateway.


class AuthenticatedDelivery(SessionAuthenticated):
    """The session is authenticated and registered."""

    TYPE: ClassVar[str] = "delivery.authenticated"


class AuthFailedDelivery(AuthFailed):
    """The session is to be told and closed."""

    TYPE: ClassVar[str] = "delivery.auth_failed"


class SubscribedDelivery(_Framed):
    """The entry's session is subscribed to the entry's topic as of `offset`; `publications` is what it missed."""

    TYPE: ClassVar[str] = "delivery.subscribed"
    epoch: str
    offset: int
    recovered: bool = False
    publications: list[dict[str, Any]] = []
    members: list[dict[str, Any]] | None = None


class UnsubscribedDelivery(SubscriptionEnded):
    """The entry's session is no longer subscribed to the entry's topic."""

    TYPE: ClassVar[str] = "delivery.unsubscribed"


class PublicationDelivery(MessagePublished):
    """A publication with its place in the topic's history."""

    TYPE: ClassVar[str] = "delivery.publication"
    epoch: str
    offset: int


class PresenceDelivery(Event):
    """A member appeared in or left a presence channel."""

    TYPE: ClassVar[str] = "delivery.presence"
    change: Literal["joined", "left"]
    member: dict[str, Any]
    exclude: str | None = None


class DisconnectDelivery(DisconnectRequested):
    """The topic's sessions on this gateway are to be closed."""

    TYPE: ClassVar[str] = "delivery.disconnect"


class DatagramDelivery(DatagramPublished):
    """A datagram for the topic's sessions on this gateway."""

    TYPE: ClassVar[str] = "delivery.datagram"


def _types(base: type[Event]) -> dict[str, type[Event]]:
    found = {base.TYPE: base} if "TYPE" in base.__dict__ else {}
    for child in base.__subclasses__():
        found |= _types(child)
    return found


#: Every event type by its name.
EVENTS: Final[dict[str, type[Event]]] = _types(Event)
