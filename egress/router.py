"""The router: the single writer of every topic, one batch of an outbound partition at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from prometheus_client import Counter
from redis.exceptions import RedisError, ResponseError

from egress.operations import Full, Interest, Published, Reply
from egress.routing.deliveries import Delivery, deliveries
from egress.routing.notes import Note, note
from egress.routing.plan import Plan, plan, plan_datagram
from egress.routing.routed import routed
from egress.topics.store import TopicStore
from runtime.bus.outcomes import Outcome, Received, Verdict
from schemas.close_codes import reconnects
from schemas.entry import Entry
from schemas.errors import InvalidEntry, InvalidTopic, LogUnavailable
from schemas.events import DisconnectRequested
from schemas.topics import TopicKind

REPEATED: Final = Counter("headgate_router_repeats", "Publications that a topic recognised as repeats.")
OVER_LIMIT: Final = Counter(
    "headgate_router_over_limit",
    "Sessions refused because their user had as many as a user may have; repeats included.",
)
DATAGRAMS_DROPPED: Final = Counter("headgate_router_datagrams_dropped", "Datagrams the router dropped.", ["reason"])

#: A datagram older than this says nothing new any more, in ms.
DATAGRAM_LIFE_MS: Final = 2000
_AWAY: Final = (RedisError, LogUnavailable)


class Listed(Protocol):
    """Who knows which sessions are live: egress.directory.Directory."""

    async def take(self, notes: Iterable[Note]) -> None:
        """Write `notes` down, in order; raises RedisError."""


class Delivers(Protocol):
    """Who writes to gateways: egress.delivery.DeliveryStreams."""

    async def append(self, deliveries: Iterable[Delivery], *, datagrams: bool = False) -> None:
        """Append in order; raises LogUnavailable unless every one was confirmed."""


class Ends(Protocol):
    """Who ends sessions: runtime.sessions.SessionRecord."""

    async def force(self, session: str, order: Entry, event: DisconnectRequested, *, ordered_at: int) -> bool:
        """End `session` as `order`, appended at `ordered_at` (Unix ms), says; raises RedisError."""


class Router:
    """Handles entries of the outbound log."""

    def __init__(self, store: TopicStore, directory: Listed, streams: Delivers, sessions: Ends) -> None:
        self._store = store
        self._directory = directory
        self._streams = streams
        self._sessions = sessions

    async def handle(self, batch: Sequence[Received]) -> list[Outcome]:
        """Route `batch`, in order; the handler of the group `router`.

        Topics first, then the directory, then the gateways: whatever a client learns is already so. Repeating
        any of it changes nothing, so a failure on the way repeats the whole batch. Gives fewer outcomes than
        entries when one of them fails by itself: those after it were not handled.
        """
        outcomes: list[Outcome] = []
        plans: list[Plan | None] = []
        for received in batch:
            try:
                plans.append(plan(received.entry))
                outcomes.append(Outcome.done())
            except (InvalidEntry, InvalidTopic) as error:
                plans.append(None)
                outcomes.append(Outcome.dead(str(error)))
        try:
            replies = iter(await self._store.run([p.operation for p in plans if p and p.operation]))
            out: list[Delivery] = []
            notes: list[Note] = []
            orders: list[tuple[Plan, DisconnectRequested, int]] = []
            for position, one in enumerate(plans):
                if one is None:
                    continue
                reply = next(replies) if one.operation else None
                if isinstance(reply, ResponseError):
                    # What comes after it must wait: nothing of it was delivered yet.
                    outcomes[position:] = [Outcome.again(str(reply))]
                    break
                if (noted := note(one, reply, batch[position].stream_id)) is not None:
                    notes.append(noted)
                _count(reply)
                delivered = deliveries(one, reply)
                out += delivered
                outcomes[position] = Outcome(Verdict.DONE, notes=routed(reply, delivered))
                if isinstance(one.event, DisconnectRequested):
                    orders.append((one, one.event, batch[position].at))
            await self._directory.take(notes)
            for order in orders:
                await self._end(*order)
            await self._streams.append(out)
        except _AWAY as error:
            return [Outcome.later(type(error).__name__)] * len(batch)
        return outcomes

    async def _end(self, one: Plan, event: DisconnectRequested, ordered_at: int) -> None:
        """End the sessions that an order is about, also those without a connection, unless they are to come back."""
        if reconnects(event.code):
            return
        if one.kind is TopicKind.SESSION:
            sessions = [one.name]
        else:
            sessions = await self._store.subscribers(one.entry.topic)
        for session in sessions:
            await self._sessions.force(session, one.entry, event, ordered_at=ordered_at)


def _count(reply: Reply | None) -> None:
    if isinstance(reply, Published) and reply.repeated:
        REPEATED.inc()
    elif isinstance(reply, Full):
        OVER_LIMIT.inc()


class DatagramRouter:
    """Handles the datagram logs: what cannot be routed now is dropped."""

    def __init__(self, store: TopicStore, streams: Delivers, clock: Callable[[], int]) -> None:
        """`clock` gives Unix ms."""
        self._store = store
        self._streams = streams
        self._clock = clock

    async def handle(self, batch: Sequence[Received]) -> list[Outcome]:
        """Route `batch`; the handler of the group `router-datagrams`. Never asks for another attempt."""
        plans: list[Plan] = []
        oldest = self._clock() - DATAGRAM_LIFE_MS
        for received in batch:
            if received.entry.ts < oldest:
                DATAGRAMS_DROPPED.labels("old").inc()
                continue
            try:
                plans.append(plan_datagram(received.entry))
            except (InvalidEntry, InvalidTopic):
                DATAGRAMS_DROPPED.labels("invalid").inc()
        try:
            replies = await self._store.run([p.operation for p in plans if p.operation])
            out = [
                delivery
                for one, reply in zip(plans, replies, strict=True)
                if isinstance(reply, Interest)
                for delivery in deliveries(one, reply)
            ]
            await self._streams.append(out, datagrams=True)
        except _AWAY:
            DATAGRAMS_DROPPED.labels("unavailable").inc(len(plans))
        return [Outcome.done()] * len(batch)
