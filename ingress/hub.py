"""Which of this gateway's sessions receive what the router delivers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from ingress import metrics
from ingress.session import Outgoing
from schemas.entry import Entry
from schemas.errors import HeadgateError
from schemas.events import (
    NO_STREAM,
    AuthenticatedDelivery,
    AuthFailedDelivery,
    DatagramDelivery,
    DisconnectDelivery,
    Event,
    PresenceDelivery,
    PublicationDelivery,
    SessionRestoredDelivery,
    SubscribedDelivery,
    SupersededDelivery,
    UnsubscribedDelivery,
)
from schemas.topics import TopicKind, channel_topic, session_topic, split_topic

log = structlog.get_logger()

_CHANNELS: Final = channel_topic("")


class Member(Protocol):
    """A session as the hub sees it. `traceparent` is of the entry that is delivered."""

    @property
    def id(self) -> str: ...
    @property
    def generation(self) -> int: ...
    def become(self, session: str) -> None: ...
    def authenticated(self, event: AuthenticatedDelivery) -> None: ...
    def restored(self, event: SessionRestoredDelivery) -> None: ...
    def superseded(self) -> None: ...
    def auth_failed(self, event: AuthFailedDelivery) -> None: ...
    def joined(self, topic: str, event: SubscribedDelivery) -> None: ...
    def subscribed(self, channel: str, event: SubscribedDelivery) -> None: ...
    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None: ...
    def publication(self, outgoing: Outgoing, stream: int) -> None: ...
    def unreliable(self, outgoing: Outgoing) -> None: ...
    def disconnect(self, code: int, reason: str) -> None: ...
    def lost(self) -> None: ...
    def missed(self) -> None: ...
    def hold(self, away: bool) -> None: ...
    def broke(self) -> None: ...


@dataclass(slots=True)
class _Topic:
    members: dict[str, Member] = field(default_factory=dict)
    epoch: str = ""
    offset: int = -1


def _nobody(entry: Entry, event: AuthenticatedDelivery) -> None:
    """Nobody wants to know."""


class Hub:
    """Topics and their sessions on this gateway, kept up to date by the deliveries themselves."""

    def __init__(
        self, unclaimed: Callable[[Entry, AuthenticatedDelivery], None] = _nobody, remember: int = 10_000
    ) -> None:
        """`unclaimed` is told of verdicts for connections that are gone.

        `remember`: how many ids of deliveries without an offset are kept to recognise repeats.
        """
        self._unclaimed = unclaimed
        self._members: dict[str, Member] = {}
        self._topics: dict[str, _Topic] = {}
        self._joined: dict[str, set[str]] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._remember = remember
        self.empty = asyncio.Event()
        """Set while there is no session."""
        self.empty.set()

    def __len__(self) -> int:
        return len(self._members)

    def members(self) -> list[Member]:
        """Every open session."""
        return list(self._members.values())

    def channels(self, member: Member) -> list[str]:
        """The channels that a session is in, sorted."""
        topics = self._joined.get(member.id, ())
        return sorted(topic.removeprefix(_CHANNELS) for topic in topics if topic.startswith(_CHANNELS))

    def add(self, member: Member) -> None:
        """A session opened."""
        self._members[member.id] = member
        self.empty.clear()

    def remove(self, member: Member) -> None:
        """A session has this connection no more."""
        if self._members.get(member.id) is not member:
            return
        del self._members[member.id]
        if not self._members:
            self.empty.set()
        for topic in self._joined.pop(member.id, ()):
            self._leave(topic, member.id)

    def leave(self, member: Member, channel: str) -> None:
        """Nothing more of `channel` is for a session."""
        if self._members.get(member.id) is member:
            self._leave(channel_topic(channel), member.id)

    def tell(self, act: Callable[[Member], None]) -> None:
        """Tell every open session something; one whose code fails on it is closed."""
        self._each(self.members(), act)

    def deliver(self, entry: Entry) -> str:
        """Hand one delivery to whom it is for; gives `delivered`, `repeated`, `missed`, `failed` or `gone`.

        `missed`: something before it did not come. `failed`: the one session that it is for broke on it. Raises
        InvalidEntry.
        """
        event = entry.event()
        if isinstance(event, PublicationDelivery):
            return self._publication(entry, event)
        if isinstance(event, DatagramDelivery):
            outgoing = Outgoing(event.frame)
            return self._each(self._others(entry.topic, event.exclude), lambda member: member.unreliable(outgoing))
        if self._repeated(entry.id):
            return "repeated"
        if isinstance(event, PresenceDelivery):
            channel = split_topic(entry.topic)[1]
            frame = {"type": "presence", "channel": channel, event.change: event.member}
            presence = Outgoing(frame)
            return self._each(self._others(entry.topic, event.exclude), lambda member: member.publication(presence, -1))
        if isinstance(event, DisconnectDelivery):
            return self._each(self._ordered(entry), lambda member: member.disconnect(event.code, event.reason))
        connection = event.connection if isinstance(event, AuthenticatedDelivery) else ""
        member = self._members.get(connection or entry.session)
        if member is None:
            if isinstance(event, AuthenticatedDelivery):
                self._unclaimed(entry, event)
            return "gone"
        try:
            return self._personal(entry, event, member)
        except HeadgateError:
            raise
        except Exception:  # As in `_each`.
            self._broke(member)
            return "failed"

    def _authenticated(self, entry: Entry, event: AuthenticatedDelivery, member: Member) -> str:
        if member.id != entry.session:
            self._become(member, entry.session)
        self._join_at(session_topic(member.id), member, event.epoch, event.offset)
        member.authenticated(event)
        return "delivered"

    def _become(self, member: Member, session: str) -> None:
        """A connection turns out to be that of a former session, which may have another one here."""
        former = self._members.get(session)
        if former is not None:
            self.remove(former)
            self._each([former], lambda one: one.superseded())
        del self._members[member.id]
        member.become(session)
        self._members[session] = member

    def _personal(self, entry: Entry, event: Event, member: Member) -> str:
        if isinstance(event, AuthenticatedDelivery):
            return self._authenticated(entry, event, member)
        if isinstance(event, SupersededDelivery):
            if member.generation < event.generation:
                member.superseded()
        elif isinstance(event, AuthFailedDelivery):
            member.auth_failed(event)
        elif isinstance(event, SubscribedDelivery | UnsubscribedDelivery | SessionRestoredDelivery):
            return self._of_generation(entry, event, member)
        return "delivered"

    def _of_generation(
        self, entry: Entry, event: SubscribedDelivery | UnsubscribedDelivery | SessionRestoredDelivery, member: Member
    ) -> str:
        kind, name = split_topic(entry.topic)
        if isinstance(event, UnsubscribedDelivery):
            # Also what an earlier connection asked for, and what nobody did.
            self._leave(entry.topic, member.id)
            if kind is TopicKind.CHANNEL:
                member.unsubscribed(name, event)
        elif event.generation != member.generation:
            return "gone"
        elif isinstance(event, SessionRestoredDelivery):
            member.restored(event)
        else:
            self._join_at(entry.topic, member, event.epoch, event.offset)
            if kind is TopicKind.CHANNEL:
                member.subscribed(name, event)
            else:
                member.joined(entry.topic, event)
        return "delivered"

    def _join_at(self, name: str, member: Member, epoch: str, offset: int) -> None:
        """`member` gets what comes after `offset`; whoever was there before was to have all up to it."""
        topic = self._topics.setdefault(name, _Topic())
        self._miss(topic, epoch, offset, member)
        if topic.epoch != epoch or topic.offset < offset:
            topic.epoch, topic.offset = epoch, offset
        topic.members[member.id] = member
        self._joined.setdefault(member.id, set()).add(name)

    def _miss(self, topic: _Topic, epoch: str, until: int, newcomer: Member | None = None) -> bool:
        """Whether what was published up to the offset `until` did not all come, and the topic's sessions are told so.

        They come back for it: it is in the topic's history, if anywhere.
        """
        if topic.epoch != epoch or until <= topic.offset:
            return False
        self._each([one for one in topic.members.values() if one is not newcomer], lambda member: member.missed())
        return True

    def _publication(self, entry: Entry, event: PublicationDelivery) -> str:
        topic = self._topics.get(entry.topic)
        if topic is None:
            return "gone"
        if topic.epoch == event.epoch and event.offset <= topic.offset:
            return "repeated"
        missed = self._miss(topic, event.epoch, event.offset - 1)
        topic.epoch, topic.offset = event.epoch, event.offset
        if missed:
            return "missed"
        outgoing = placed(event.frame, entry.topic, event.epoch, event.offset)
        return self._each(
            self._others(entry.topic, event.exclude),
            # A stream is one of the connection that it was opened on.
            lambda member: member.publication(
                outgoing, event.stream if member.generation == event.generation else NO_STREAM
            ),
        )

    def _each(self, members: Iterable[Member], act: Callable[[Member], None]) -> str:
        result = "gone"
        for member in members:
            try:
                act(member)
            except Exception:  # A fault in one session's code must not keep the others from what is theirs.
                self._broke(member)
            result = "delivered"
        return result

    @staticmethod
    def _broke(member: Member) -> None:
        """Its code failed: the exception is being handled."""
        log.exception("session.broke", session=member.id)
        metrics.BROKE.inc()
        try:
            member.broke()
        except Exception:  # As in `_each`: what failed may well have been its transport, which fails here again.
            log.exception("session.not_closed", session=member.id)

    def _ordered(self, entry: Entry) -> list[Member]:
        """Whom an order is for: the one session it names, subscribed yet or not, or all of its topic."""
        if entry.session:
            return [self._members[entry.session]] if entry.session in self._members else []
        return self._others(entry.topic, None)

    def _others(self, topic: str, exclude: str | None) -> list[Member]:
        found = self._topics.get(topic)
        return [member for session, member in found.members.items() if session != exclude] if found else []

    def _leave(self, name: str, session: str) -> None:
        topic = self._topics.get(name)
        if topic is not None:
            topic.members.pop(session, None)
            if not topic.members:
                del self._topics[name]
        self._joined.get(session, set()).discard(name)

    def _repeated(self, entry_id: str) -> bool:
        if entry_id in self._seen:
            return True
        self._seen[entry_id] = None
        if len(self._seen) > self._remember:
            self._seen.popitem(last=False)
        return False


def placed(frame: dict[str, Any], topic: str, epoch: str, offset: int) -> Outgoing:
    """A publication with its place in the topic's history; a channel's frames have fields for it."""
    if topic.startswith(_CHANNELS):
        return Outgoing(frame | {"epoch": epoch, "offset": offset})
    return Outgoing(frame, {"topic": topic, "epoch": epoch, "offset": offset})
