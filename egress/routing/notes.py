"""What the directory of sessions and channels learns from a routed entry."""

from __future__ import annotations

from dataclasses import dataclass

from egress.operations import Ended, Full, Gone, Granted, Reply, Suspended
from egress.routing.plan import Plan
from schemas.events import SessionAuthenticated, SessionEnded
from schemas.topics import TopicKind


@dataclass(frozen=True, slots=True)
class SessionListed:
    """An authenticated session. `connected_at` (Unix ms) is when it began, `generation` that of its connection.

    `at` is the stream id of the entry that says so.
    """

    session: str
    user: str | None
    gateway: str
    connected_at: int
    generation: int
    at: str


@dataclass(frozen=True, slots=True)
class SessionUnlisted:
    """A session that is over, `at` as above."""

    session: str
    at: str


@dataclass(frozen=True, slots=True)
class ChannelJoined:
    """A session subscribed to a channel, `at` as above."""

    session: str
    channel: str
    at: str


@dataclass(frozen=True, slots=True)
class ChannelLeft:
    """A session left a channel, `at` as above; `empty`: it was the last one."""

    session: str
    channel: str
    at: str
    empty: bool


Note = SessionListed | SessionUnlisted | ChannelJoined | ChannelLeft


def note(plan: Plan, reply: Reply | None, at: str) -> Note | None:
    """What is worth noting of `plan` and its topic's answer, if anything; `at` is the stream id of the entry."""
    entry = plan.entry
    match plan.event, reply:
        case _, None | Full() | Gone() | Suspended():
            return None
        case SessionAuthenticated() as event, _:
            since = event.since or entry.ts
            return SessionListed(entry.session, event.user, entry.gateway, since, event.generation, at)
        case SessionEnded(), _:
            return SessionUnlisted(entry.session, at)
        case _, Granted() if plan.kind is TopicKind.CHANNEL:
            return ChannelJoined(entry.session, plan.name, at)
        case _, Ended(gateways=gateways) if plan.kind is TopicKind.CHANNEL:
            return ChannelLeft(entry.session, plan.name, at, not gateways)
    return None
