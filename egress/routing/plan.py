"""From an outbound entry to what is asked of its topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from egress.operations import End, Grant, Look, Operation, Publish, Suspend
from schemas.entry import Entry, encode_data
from schemas.errors import InvalidEntry
from schemas.events import (
    AuthFailed,
    DatagramPublished,
    DisconnectRequested,
    Event,
    MessagePublished,
    SessionAuthenticated,
    SessionEnded,
    SessionRestored,
    SubscriptionEnded,
    SubscriptionGranted,
    SubscriptionSuspended,
)
from schemas.topics import ChannelKind, TopicKind, channel_kind, split_topic

_SESSION: Final = frozenset({TopicKind.SESSION})
_JOINED: Final = frozenset({TopicKind.USER, TopicKind.CHANNEL})

#: The outbound events and the kinds of topic each may be on.
_TOPICS: Final[dict[str, frozenset[TopicKind]]] = {
    SessionAuthenticated.TYPE: _SESSION,
    SessionRestored.TYPE: _SESSION,
    AuthFailed.TYPE: _SESSION,
    SessionEnded.TYPE: _SESSION,
    DisconnectRequested.TYPE: frozenset({TopicKind.SESSION, TopicKind.USER}),
    SubscriptionGranted.TYPE: _JOINED,
    SubscriptionSuspended.TYPE: frozenset({TopicKind.USER}),
    SubscriptionEnded.TYPE: _JOINED,
    MessagePublished.TYPE: frozenset(TopicKind),
}
#: Events that are about one session and must name it.
_OF_A_SESSION: Final = frozenset(
    {
        SessionAuthenticated.TYPE,
        SessionRestored.TYPE,
        AuthFailed.TYPE,
        SessionEnded.TYPE,
        SubscriptionGranted.TYPE,
        SubscriptionSuspended.TYPE,
        SubscriptionEnded.TYPE,
    }
)
#: Events that are answered through the entry's gateway.
_THROUGH_A_GATEWAY: Final = frozenset(
    {SessionAuthenticated.TYPE, SessionRestored.TYPE, AuthFailed.TYPE, SubscriptionGranted.TYPE}
)
#: What an order may close a session with: codes that every transport can carry.
_CODES: Final = range(3000, 5000)


@dataclass(frozen=True, slots=True)
class Plan:
    """An outbound entry, understood."""

    entry: Entry
    event: Event
    kind: TopicKind
    name: str
    """The session, user or channel of the entry's topic."""
    operation: Operation | None
    """What to ask of the topic; None: nothing."""


def plan(entry: Entry) -> Plan:
    """The plan of an `entry` of the outbound log.

    Raises InvalidEntry, and InvalidTopic for a topic or channel that cannot exist.
    """
    allowed = _TOPICS.get(entry.type)
    if allowed is None:
        raise InvalidEntry(f"{entry.type[:80]!r} does not belong on the outbound log")
    kind, name, presence = _address(entry)
    if kind not in allowed:
        raise InvalidEntry(f"{entry.type} on a {kind.value} topic")
    if entry.type in _OF_A_SESSION and not entry.session:
        raise InvalidEntry(f"{entry.type} without a session")
    if kind is TopicKind.SESSION and entry.type in _OF_A_SESSION and entry.session != name:
        raise InvalidEntry(f"{entry.type} of a session on the topic of another")
    if entry.type in _THROUGH_A_GATEWAY and not entry.gateway:
        raise InvalidEntry(f"{entry.type} without a gateway")
    event = entry.event()
    if isinstance(event, DisconnectRequested) and event.code not in _CODES:
        raise InvalidEntry(f"{entry.type} with the code {event.code}: use {_CODES[0]} to {_CODES[-1]}")
    try:
        operation = _operation(entry, event, kind, presence)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidEntry(f"{entry.type}: neither JSON nor msgpack can carry it") from error
    return Plan(entry, event, kind, name, operation)


def plan_datagram(entry: Entry) -> Plan:
    """The plan of an `entry` of a datagram log; raises as `plan` does."""
    if entry.type != DatagramPublished.TYPE:
        raise InvalidEntry(f"{entry.type[:80]!r} does not belong on a datagram log")
    kind, name, _ = _address(entry)
    return Plan(entry, entry.event(), kind, name, Look(entry.topic))


def _address(entry: Entry) -> tuple[TopicKind, str, bool]:
    """Kind and name of the topic, and whether it is a presence channel."""
    kind, name = split_topic(entry.topic)
    if not name:
        raise InvalidEntry("the topic has no name")
    return kind, name, kind is TopicKind.CHANNEL and channel_kind(name) is ChannelKind.PRESENCE


def _operation(entry: Entry, event: Event, kind: TopicKind, presence: bool) -> Operation | None:
    match event:
        case MessagePublished():
            payload = {"frame": event.frame, "exclude": event.exclude}
            return Publish(entry.topic, entry.id, encode_data(payload)[1])
        case SubscriptionGranted():
            member = encode_data(event.member or _member(entry))[1] if presence else None
            return Grant(
                entry.topic,
                entry.id,
                entry.session,
                entry.gateway,
                entry.user,
                member,
                event.recover,
                event.generation,
                limited=kind is TopicKind.USER,
            )
        case SessionAuthenticated():
            return Grant(
                entry.topic,
                entry.id,
                entry.session,
                entry.gateway,
                event.user or "",
                recover=event.recover,
                generation=event.generation,
            )
        case SubscriptionSuspended():
            return Suspend(entry.topic, entry.id, entry.session, event.generation)
        case SubscriptionEnded() | SessionEnded():
            return End(entry.topic, entry.id, entry.session)
        case AuthFailed() | SessionRestored():
            return None
    return Look(entry.topic)


def _member(entry: Entry) -> dict[str, str]:
    """A member that the application said nothing about."""
    return {"id": entry.user or entry.session}
