"""Rules of the project, broken one at a time: the simulation must notice each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

import runtime.bus.group
import runtime.bus.settle
import runtime.leases
import schemas.entry
from egress.delivery import DeliveryStreams
from egress.operations import Operation
from egress.routing.deliveries import Delivery
from egress.topics.store import TopicStore
from ingress.hub import Hub
from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.reader import Reader
from runtime.bus.settle import Settler
from runtime.bus.writer import Writer
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import PublicationDelivery
from tests.simulation import processes

# Whose turn it is to read a partition, and what of it.


def new_before_pending() -> None:
    """A new owner reads what is new and leaves what the last one had not finished to the sweep."""

    def adopt(reader: Reader, owned: set[int]) -> None:
        reader._live &= owned
        reader._noted = {p: identity for p, identity in reader._noted.items() if p in owned}
        reader._live |= owned - reader._cursors.keys()

    Reader._adopt = adopt  # type: ignore[method-assign, assignment]


def early_release() -> None:
    """A partition is given up before what is being handled of it is done."""

    async def left(lanes: Lanes, partition: int) -> None:
        await asyncio.sleep(0)

    Lanes.left = left  # type: ignore[method-assign, assignment]


def release_while_reading() -> None:
    """A partition is given up while it is being read."""

    async def turned(reader: Reader) -> None:
        await asyncio.sleep(0)

    Reader.turned = turned  # type: ignore[method-assign, assignment]


def no_fence() -> None:
    """The connection that the last owner reads with stays."""

    async def end(client: aioredis.Redis, identity: str) -> None:
        await client.ping()

    runtime.bus.group.end = end  # type: ignore[attr-defined]


def doubt_ignored() -> None:
    """A reader whose lease was in doubt for a moment goes on where it was."""

    def gained(reader: Reader, partitions: Collection[int]) -> None:
        """Nothing begins anew."""

    Reader.gained = gained  # type: ignore[method-assign, assignment]


def no_look_back() -> None:
    """Where a reply was lost, what it held is left to the sweep."""

    async def recover(reader: Reader, error: RedisError) -> None:
        await asyncio.sleep(0)

    Reader._recover = recover  # type: ignore[method-assign, assignment]


# What becomes of an entry.


def side_by_side() -> None:
    """Entries of one session are handled side by side."""
    processes.by_session = lambda received: received.stream_id  # type: ignore[attr-defined]


def later_to_the_back() -> None:
    """An entry that has to wait lets the others of its session pass."""
    well = Lanes._next

    async def following(lanes: Lanes, batch: list[Received], lane: Any) -> Verdict:
        verdict = await well(lanes, batch, lane)
        if verdict is Verdict.LATER:
            lane.rotate(-1)
        return verdict

    Lanes._next = following  # type: ignore[method-assign, assignment]


def acknowledged_first() -> None:
    """An entry is acknowledged before what follows from it is appended."""
    emit, settle_well = Lanes._emit, Lanes._settle

    async def settle(lanes: Lanes, received: Received, outcome: Outcome, took: float) -> bool:
        if outcome.verdict is not Verdict.DONE:
            return await settle_well(lanes, received, outcome, took)
        lanes._settler.acknowledge(received.partition, received.stream_id, attempted=True)
        await lanes._settler.flushed()
        await emit(lanes, outcome.emits)
        return True

    Lanes._settle = settle  # type: ignore[method-assign, assignment]


def uncounted() -> None:
    """Attempts that failed are not told to the next owner."""

    async def count(settler: Settler, batch: Sequence[Received], by: int = 1) -> None:
        await asyncio.sleep(0)

    Settler.count_attempts = count  # type: ignore[method-assign, assignment]


def random_ids() -> None:
    """What follows from an entry has a new id each time."""
    schemas.entry.derived = lambda cause, position: str(uuid4())  # type: ignore[attr-defined]


# Appends and deliveries.


def overtaking() -> None:
    """Where an append was not confirmed, those queued behind it are still made."""
    well = Writer._write

    async def write(writer: Writer, batch: list[Any]) -> None:
        try:
            await well(writer, batch)
        except (RedisError, OSError, TimeoutError):
            for _, done, _ in batch:
                done(LogUnavailable("the append was not confirmed"))
            batch.clear()
            await writer.disconnect()

    Writer._write = write  # type: ignore[method-assign, assignment]


def repeated_commands() -> None:
    """redis-py sends a command again when its answer is lost."""
    well = processes.connect  # type: ignore[attr-defined]

    def connect(settings: Settings) -> aioredis.Redis:
        client = well(settings)
        client.connection_pool.connection_kwargs["retry"] = Retry(NoBackoff(), 1)
        return client

    processes.connect = connect  # type: ignore[attr-defined, assignment]


def no_memory() -> None:
    """A topic does not remember what was published to it."""
    well = TopicStore._command

    def command(store: TopicStore, operation: Operation, now: bytes, fresh: bytes, *marks: str) -> bytes:
        packed, id_ = well(store, operation, now, fresh, *marks), getattr(operation, "id", "")
        return packed.replace(id_.encode(), str(uuid4()).encode()) if id_ else packed

    TopicStore._command = command  # type: ignore[method-assign, assignment]


def none_waits() -> None:
    """An operation on a topic does not wait for the one before it, which Redis may have refused."""
    well = TopicStore._command

    def command(store: TopicStore, operation: Operation, now: bytes, fresh: bytes, before: str, mark: str) -> bytes:
        return well(store, operation, now, fresh, "", mark)

    TopicStore._command = command  # type: ignore[method-assign, assignment]


def unconfirmed_deliveries() -> None:
    """A router goes on when a delivery was not confirmed."""
    well = DeliveryStreams.append

    async def append(streams: DeliveryStreams, deliveries: Iterable[Delivery], **options: Any) -> None:
        with contextlib.suppress(LogUnavailable):
            await well(streams, deliveries, **options)

    DeliveryStreams.append = append  # type: ignore[method-assign, assignment]


def lower_offsets() -> None:
    """The hub hands on whatever comes."""
    well = Hub._publication

    def publication(hub: Hub, entry: Entry, event: PublicationDelivery) -> str:
        topic = hub._topics.get(entry.topic)
        if topic is not None:
            topic.offset = -1
        return well(hub, entry, event)

    Hub._publication = publication  # type: ignore[method-assign, assignment]


def repeated_verdicts() -> None:
    """The hub hands on deliveries without an offset however often they come."""
    Hub._repeated = lambda hub, entry_id: False  # type: ignore[method-assign, assignment]


MUTATIONS: Final[dict[str, Callable[[], None]]] = {
    change.__name__.replace("_", "-"): change
    for change in (
        new_before_pending,
        early_release,
        release_while_reading,
        no_fence,
        doubt_ignored,
        no_look_back,
        side_by_side,
        later_to_the_back,
        acknowledged_first,
        uncounted,
        random_ids,
        overtaking,
        repeated_commands,
        no_memory,
        none_waits,
        unconfirmed_deliveries,
        lower_offsets,
        repeated_verdicts,
    )
}
