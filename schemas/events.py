"""The event types: frozen facts in the past tense.

`stream` is the id of the client's stream a frame came on (-1: no stream, push as the session prefers), `frame_id` the
id the client chose for its frame. `generation` says which of a session's connections that was: 1 is the first, and each
that resumes the session has the next number. `frame` is a frame as it travels on the wire (docs/wire-protocol.md).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

from schemas.handled import Asked, Routed

NO_STREAM: Final = -1
FIRST_GENERATION: Final = 1

Party = Literal["client", "gateway", "application"]
"""Who ended something."""

Reason = Literal["unsubscribed", "closed", "expired", "revoked"]
"""Why a session is in a channel no more: its client left, it ended, its grant did, or the application took it away."""


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
    generation: int = FIRST_GENERATION


# The inbound log, written by gateways.


class Connected(BaseModel):
    """How a client reached the gateway."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    transport: str = ""
    origin: str = ""
    path: str = ""
    address: str = ""


class ResumeRequested(BaseModel):
    """Which session a client wants to go on with; its secret was that of `generation`, which is the gateway's word."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    session: str
    generation: int
    position: Position | None = None
    """In the session's own topic."""


class AuthRequested(_Framed):
    """The client sent its token; `token` is sealed (schemas.sealing), `protocol` is None for clients without one.

    The entry's session is the one that it becomes, unless it is a former one that goes on.
    """

    TYPE: ClassVar[str] = "session.auth_requested"
    token: str
    protocol: int | None = None
    connected: Connected = Connected()
    resume: ResumeRequested | None = None


class SessionResumed(Event):
    """The session goes on over another connection. `positions`: where its client is, by topic."""

    TYPE: ClassVar[str] = "session.resumed"
    generation: int
    positions: dict[str, Position] = {}


class SessionDisconnected(Event):
    """A connection of the session is gone. `final`: its client will not come back for the session."""

    TYPE: ClassVar[str] = "session.disconnected"
    generation: int
    code: int
    reason: str
    by: Party
    final: bool


# The inbound log, written where sessions are kept (runtime.sessions).


class SessionOpened(Event):
    """A client was authenticated: its session begins."""

    TYPE: ClassVar[str] = "session.opened"
    transport: str
    origin: str
    path: str
    address: str


class SessionClosed(Event):
    """The session ended, and cannot be resumed any more; `code`, `reason` and `by` are of its last connection's end."""

    TYPE: ClassVar[str] = "session.closed"
    code: int
    reason: str
    by: Party


# The inbound log, written where it is known which channels a session is in (runtime.memberships).


class ChannelSubscribed(Event):
    """The session was let into a channel that it was not in."""

    TYPE: ClassVar[str] = "channel.subscribed"
    channel: str


class ChannelUnsubscribed(Event):
    """The session is in a channel no more. `closed`: since it ends; its `session.closed` comes after this."""

    TYPE: ClassVar[str] = "channel.unsubscribed"
    channel: str
    reason: Reason


# The inbound log, written by gateways, of open sessions (the application's wishes by the HTTP API).


class SubscribeRequested(_Framed):
    """The client asked for a channel, perhaps from a position on, perhaps with what the application signed for it.

    `auth` lets in the entry's session alone (schemas.channel_auth), so it is no secret here.
    """

    TYPE: ClassVar[str] = "channel.subscribe_requested"
    channel: str
    auth: str | None = None
    channel_data: str | None = None
    recover: Position | None = None


class UnsubscribeRequested(_Framed):
    """The session is to leave a channel: its client wants it, the grant has expired, or the application wants it."""

    TYPE: ClassVar[str] = "channel.unsubscribe_requested"
    channel: str
    reason: Literal["unsubscribed", "expired", "revoked"] = "unsubscribed"
    message: str = ""
    """What the application says to the client."""
    expires_at: int | None = None
    """Of the grant that has expired: a later one stays."""


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
    """The application knows the token. `user` is None when it named nobody; times are Unix ms.

    `connection` is the session that the connection was to become: another one where a former session goes on.
    """

    TYPE: ClassVar[str] = "session.authenticated"
    user: str | None
    info: Any = None
    expires_at: int | None = None
    protocol: int | None = None
    connection: str = ""
    since: int = 0
    """When the session began."""
    recover: Position | None = None


class SessionRestored(Event):
    """A session that was resumed is being subscribed to `channels` again: those that it had."""

    TYPE: ClassVar[str] = "session.restored"
    generation: int
    channels: list[str]


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
    expires_at: int | None = None
    """When the grant ends, in Unix ms."""


class SubscriptionSuspended(Event):
    """The entry's session lost its connection and keeps the topic, in case that it is resumed."""

    TYPE: ClassVar[str] = "subscription.suspended"
    generation: int


class SubscriptionEnded(_Framed):
    """The entry's session no longer receives the topic."""

    TYPE: ClassVar[str] = "subscription.ended"
    reason: Reason
    message: str = ""
    """What the application says to the client."""


class MessagePublished(Event):
    """`frame` goes to the topic's sessions but `exclude`; `stream` is the stream a reply belongs on."""

    TYPE: ClassVar[str] = "message.published"
    frame: dict[str, Any]
    stream: int = NO_STREAM
    generation: int = FIRST_GENERATION
    exclude: str | None = None


class DatagramPublished(Event):
    """As MessagePublished, unreliable and without a place in the history; on the datagram log."""

    TYPE: ClassVar[str] = "datagram.published"
    frame: dict[str, Any]
    exclude: str | None = None


# Delivery streams, from the router to one gateway.


class AuthenticatedDelivery(SessionAuthenticated):
    """The session is authenticated and registered, and on its own topic as of `offset`.

    `recovered`: `publications` is all that it missed there.
    """

    TYPE: ClassVar[str] = "delivery.authenticated"
    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    publications: list[dict[str, Any]] = []


class SessionRestoredDelivery(SessionRestored):
    """The session is about to be in these channels again."""

    TYPE: ClassVar[str] = "delivery.restored"


class SupersededDelivery(Event):
    """The session goes on elsewhere: its connections before `generation` are over."""

    TYPE: ClassVar[str] = "delivery.superseded"
    generation: int


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
    expires_at: int | None = None


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


class EntryHandled(Event):
    """On a trail (runtime.bus.trail): `processor`, a consumer group, has settled the entry that is this one's cause."""

    TYPE: ClassVar[str] = "entry.handled"
    processor: str
    outcome: Literal["done", "dead"]
    attempts: int
    ms: float
    """How long the last attempt took, together with what was handled in the same batch."""
    error: str = ""
    redelivered: bool = False
    """It was handed out before, and not settled: all of this may have been done already."""
    asked: Asked | None = None
    routed: Routed | None = None


def _types(base: type[Event]) -> dict[str, type[Event]]:
    found = {base.TYPE: base} if "TYPE" in base.__dict__ else {}
    for child in base.__subclasses__():
        found |= _types(child)
    return found


#: Every event type by its name.
EVENTS: Final[dict[str, type[Event]]] = _types(Event)
