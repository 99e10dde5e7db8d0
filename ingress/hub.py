"""Which of this gateway's sessions receive what the router delivers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingress.session import Outgoing
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    DatagramDelivery,
    DisconnectDelivery,
    Event,
    PresenceDelivery,
    PublicationDelivery,
    SubscribedDelivery,
    UnsubscribedDelivery,
)
from schemas.topics import TopicKind, session_topic, split_topic


class Member(Protocol):
    """A session as the hub sees it. `traceparent` is of the entry that is delivered."""

    @property
    def id(self) -> str: ...
    def authenticated(self, event: AuthenticatedDelivery) -> None: ...
    def auth_failed(self, event: AuthFailedDelivery) -> None: ...
    def subscribed(self, channel: str, event: SubscribedDelivery) -> None: ...
    def unsubscribed(self, channel: str, event: UnsubscribedDelivery) -> None: ...
    def publication(self, outgoing: Outgoing, stream: int) -> None: ...
    def unreliable(self, outgoing: Outgoing) -> None: ...
    def disconnect(self, code: int, reason: str) -> None: ...
    def lost(self) -> None: ...
    def tick(self) -> None: ...


@dataclass(slots=True)
class _Topic:
    members: dict[str, Member] = field(default_factory=dict)
    epoch: str = ""
    offset: int = -1


class Hub:
    """Topics and their sessions on this gateway, kept up to date by the deliveries themselves."""

    def __init__(self, remember: int = 10_000) -> None:
        """`remember`: how many ids of deliveries without an offset are kept to recognise repeats."""
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

    def add(self, member: Member) -> None:
        """A session opened."""
        self._members[member.id] = member
        self.empty.clear()

    def remove(self, session: str) -> None:
        """A session is over."""
        self._members.pop(session, None)
        if not self._members:
            self.empty.set()
        for topic in self._joined.pop(session, ()):
            self._leave(topic, session)

    def deliver(self, entry: Entry) -> str:
        """Hand one delivery to whom it is for; gives `delivered`, `repeated` or `gone`. Raises InvalidEntry."""
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
        member = self._members.get(entry.session)
        return self._personal(entry, event, member) if member else "gone"

    def _personal(self, entry: Entry, event: Event, member: Member) -> str:
        if isinstance(event, AuthenticatedDelivery):
            self._join(session_topic(member.id), member)
            member.authenticated(event)
        elif isinstance(event, AuthFailedDelivery):
            member.auth_failed(event)
        elif isinstance(event, SubscribedDelivery):
            topic = self._join(entry.topic, member)
            if topic.epoch != event.epoch or topic.offset < event.offset:
                topic.epoch, topic.offset = event.epoch, event.offset
            kind, name = split_topic(entry.topic)
            if kind is TopicKind.CHANNEL:
                member.subscribed(name, event)
        elif isinstance(event, UnsubscribedDelivery):
            self._leave(entry.topic, member.id)
            kind, name = split_topic(entry.topic)
            if kind is TopicKind.CHANNEL:
                member.unsubscribed(name, event)
        return "delivered"

    def _publication(self, entry: Entry, event: PublicationDelivery) -> str:
        topic = self._topics.get(entry.topic)
        if topic is None:
            return "gone"
        if topic.epoch == event.epoch and event.offset <= topic.offset:
            return "repeated"
        topic.epoch, topic.offset = event.epoch, event.offset
        outgoing = Outgoing(placed(event.frame, event.epoch, event.offset))
        return self._each(
            self._others(entry.topic, event.exclude),
            lambda member: member.publication(outgoing, event.stream),
        )

    @staticmethod
    def _each(members: Iterable[Member], act: Any) -> str:
        result = "gone"
        for member in members:
            act(member)
            result = "delivered"
        return result

    def _ordered(self, entry: Entry) -> list[Member]:
        """Whom an order is for: the one session it names, subscribed yet or not, or all of its topic."""
        if entry.session:
            return [self._members[entry.session]] if entry.session in self._members else []
        return self._others(entry.topic, None)

    def _others(self, topic: str, exclude: str | None) -> list[Member]:
        found = self._topics.get(topic)
        return [member for session, member in found.members.items() if session != exclude] if found else []

    def _join(self, name: str, member: Member) -> _Topic:
        topic = self._topics.setdefault(name, _Topic())
        topic.members[member.id] = member
        self._joined.setdefault(member.id, set()).add(name)
        return topic

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


def placed(frame: dict[str, Any], epoch: str, offset: int) -> dict[str, Any]:
    """A broadcast with its place in the channel's history; what the application sent to a session stays as it is."""
    return frame | {"epoch": epoch, "offset": offset} if frame.get("type") == "channel_broadcast" else frame
