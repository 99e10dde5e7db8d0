"""The log, the processors and the router in memory: their pure rules, over dicts in place of Redis and HTTP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from egress.operations import (
    End,
    Ended,
    Grant,
    Granted,
    Interest,
    Look,
    Operation,
    Publish,
    Published,
    Reply,
    Suspend,
    Suspended,
)
from egress.routing.deliveries import deliveries
from egress.routing.plan import plan, plan_datagram
from ingress.hub import Hub
from processors.answer import Answer
from processors.auth import rules as auth
from processors.channels import rules as channels
from processors.laravel import rules as application
from runtime.bus.outcomes import Outcome
from runtime.sessions import Claim, ClaimResult
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import (
    AuthRequested,
    DatagramReceived,
    Event,
    MessageReceived,
    ResumeRequested,
    SessionClosed,
    SessionDisconnected,
    SessionResumed,
    SubscribeRequested,
    UnsubscribeRequested,
    WhisperReceived,
)
from schemas.sealing import Sealer
from schemas.topics import TopicKind, split_topic

EPOCH: Final = "twin"


@dataclass(slots=True)
class _Topic:
    gateways: dict[str, str] = field(default_factory=dict)
    """By session."""
    members: dict[str, bytes] = field(default_factory=dict)
    """Of a presence channel, by session."""
    history: list[bytes] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)
    """Offsets by the id of what was published."""

    def reached(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.gateways.values()))


class Topics:
    """What Redis keeps of topics, for a router that handles each entry once."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def of(self, session: str) -> list[str]:
        """The topics that a session is on."""
        return [name for name, topic in self._topics.items() if session in topic.gateways]

    def run(self, operation: Operation) -> Reply:
        """Carry it out."""
        topic = self._topics.setdefault(operation.topic, _Topic())
        match operation:
            case Publish(id=id, payload=payload):
                repeated = id in topic.published
                if not repeated:
                    topic.history.append(payload)
                    topic.published[id] = len(topic.history)
                return Published(EPOCH, topic.published[id], topic.reached(), repeated)
            case Grant():
                return self._grant(topic, operation)
            case End(session=session):
                member = topic.members.pop(session, None)
                left = None if member in topic.members.values() else member
                return Ended(topic.gateways.pop(session, ""), left, topic.reached())
            case Suspend():
                return Suspended()
            case Look():
                return Interest(topic.reached())

    @staticmethod
    def _grant(topic: _Topic, grant: Grant) -> Granted:
        former = topic.gateways.get(grant.session, "")
        joined = grant.member is not None and grant.session not in topic.members
        topic.gateways[grant.session] = grant.gateway
        if grant.member is not None and joined:
            joined = grant.member not in topic.members.values()
            topic.members[grant.session] = grant.member
        at, head = grant.recover, len(topic.history)
        known = at is not None and at.epoch == EPOCH and 0 <= at.offset <= head
        since = at.offset if at is not None and known else head
        missed = tuple(enumerate(topic.history, start=1))[since:]
        members = None if grant.member is None else tuple(dict.fromkeys(topic.members.values()))
        moved = former if former != grant.gateway else ""
        return Granted(EPOCH, head, known, missed, members, joined, topic.reached(), moved)


@dataclass(slots=True)
class _Session:
    user: str
    since: int
    generation: int = 1
    presented: int = 1
    ended: bool = False


class Sessions:
    """What Redis keeps of sessions, for connections of which nobody is late."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def open(self, opened: Entry) -> None:
        """A session begins."""
        self._sessions[opened.session] = _Session(opened.user, opened.ts)

    def claim(self, wish: ResumeRequested, user: str) -> Claim:
        """As SessionRecord.claim."""
        session = self._sessions.get(wish.session)
        if session is None or session.ended:
            return Claim(ClaimResult.UNKNOWN)
        if session.user != user:
            return Claim(ClaimResult.FOREIGN)
        if not session.presented <= wish.generation <= session.generation:
            return Claim(ClaimResult.VOID)
        session.presented, session.generation = wish.generation, session.generation + 1
        return Claim(ClaimResult.RESUMED, session.generation, session.since)

    def disconnect(self, entry: Entry, event: SessionDisconnected) -> SessionClosed | None:
        """As SessionRecord.disconnect; gives the session's end if this is it. Time ends none here."""
        session = self._sessions[entry.session]
        if session.ended or session.generation != event.generation or not event.final:
            return None
        session.ended = True
        return SessionClosed(code=event.code, reason=event.reason, by=event.by)


class Twin:
    """Takes what gateways append (as their Appender) and hands what follows from it to their hubs, a turn later."""

    def __init__(self, sealer: Sealer, now_ms: Callable[[], int]) -> None:
        self.entries: list[Entry] = []
        """The inbound log."""
        self.datagrams: list[Entry] = []
        self.hubs: dict[str, Hub] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        """What the application's verify route answers, by token."""
        self.topics = Topics()
        self.sessions = Sessions()
        self._sealer = sealer
        self._now_ms = now_ms
        self._ids = itertools.count(1)
        self._messages = itertools.count(1)

    # As the appender of gateways.

    def append(self, key: str, entry: Entry, *, maxlen: int | None = None) -> asyncio.Future[str]:
        """As Appender.append."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_result(f"{len(self.entries)}-0")
        self._take(entry, datagram=maxlen is not None)
        return future

    def append_then(
        self, key: str, entry: Entry, done: Callable[[str | LogUnavailable], None], *, maxlen: int | None = None
    ) -> None:
        """As Appender.append_then."""
        asyncio.get_running_loop().call_soon(done, f"{len(self.entries)}-0")
        self._take(entry, datagram=maxlen is not None)

    def _take(self, entry: Entry, *, datagram: bool) -> None:
        (self.datagrams if datagram else self.entries).append(entry)
        asyncio.get_running_loop().call_soon(self._process, entry)

    # As the processors.

    def _process(self, entry: Entry) -> None:
        event = entry.event()
        if isinstance(event, DatagramReceived):
            told = channels.datagram(entry, event, self._now_ms())
            if isinstance(told, Entry):
                self._route(told, datagram=True)
            return
        for outcome in self._outcomes(entry, event):
            for emitted in outcome.emits:
                self._route(emitted)

    def _outcomes(self, entry: Entry, event: Event) -> list[Outcome]:
        match event:
            case AuthRequested():
                answer = self.tokens.get(self._sealer.unseal(event.token, entry.session))
                identity = auth.verdict(Answer(401) if answer is None else Answer(200, answer))
                if isinstance(identity, auth.Refusal):
                    return [auth.failed(entry, event, identity.error)]
                return [self._authenticated(entry, event, identity)]
            case SessionResumed():
                return [
                    channels.resumed(entry, event, dict.fromkeys(self._topics_of(entry)[TopicKind.CHANNEL])),
                    auth.resumed(entry, event),
                ]
            case SessionDisconnected():
                end = self.sessions.disconnect(entry, event)
                if end is not None:
                    self._take(entry.follow("closed", end), datagram=False)
                return []
            case SubscribeRequested():
                decided = channels.without_asking(event)
                if decided is None:
                    decided = channels.judged(entry, event, self._may_join(entry, event))
                if isinstance(decided, channels.Refusal):
                    return [channels.refused(entry, event, decided)]
                return [channels.granted(entry, event, decided)]
            case UnsubscribeRequested():
                return [channels.left(entry, event)]
            case WhisperReceived():
                return [channels.whispered(entry, event)]
            case MessageReceived():
                return [application.answered(entry, event, self._answer(event))]
            case SessionClosed():
                return [channels.ended(entry, self._topics_of(entry)[TopicKind.CHANNEL]), auth.ended(entry)]
        return []

    def _authenticated(self, entry: Entry, event: AuthRequested, identity: auth.Identity) -> Outcome:
        if event.resume is not None:
            claim = self.sessions.claim(event.resume, identity.user or "")
            if claim.result is ClaimResult.RESUMED:
                return auth.reconnected(entry, event, identity, claim.generation, claim.since)
        opened = auth.opened(entry, event, identity)
        self.sessions.open(opened)
        self._take(opened, datagram=False)
        return auth.authenticated(entry, event, identity)

    def _topics_of(self, entry: Entry) -> dict[TopicKind, list[str]]:
        topics = [split_topic(topic) for topic in self.topics.of(entry.session)]
        return {kind: [name for its, name in topics if its is kind] for kind in TopicKind}

    @staticmethod
    def _may_join(entry: Entry, event: SubscribeRequested) -> Answer:
        if event.channel.endswith("-forbidden"):
            return Answer(403)
        return Answer(200, {"member": {"id": entry.user, "info": {"name": f"user {entry.user}"}}})

    def _answer(self, event: MessageReceived) -> Answer:
        """As tests/laravel_app."""
        frame = event.frame
        if frame["type"] == "message":
            data = {"id": next(self._messages), "content": frame["data"]["content"]}
            return Answer(200, {"broadcast": True, "data": data})
        return Answer(200, frame) if frame["type"] == "echo" else Answer(400)

    # As the router.

    def publish(self, topic: str, event: Event) -> None:
        """What the HTTP API appends."""
        self._route(Entry.of(event, id=f"api-{next(self._ids)}", ts=self._now_ms(), topic=topic))

    def _route(self, entry: Entry, *, datagram: bool = False) -> None:
        planned = plan_datagram(entry) if datagram else plan(entry)
        reply = None if planned.operation is None else self.topics.run(planned.operation)
        for gateway, delivery in deliveries(planned, reply):
            if gateway in self.hubs:
                asyncio.get_running_loop().call_soon(self.hubs[gateway].deliver, delivery)
