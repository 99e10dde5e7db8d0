"""Rules of the project, broken one at a time: the simulation must notice each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import redis.asyncio as aioredis
from redis.exceptions import RedisError

import runtime.bus.group
import schemas.entry
from ingress.hub import Hub
from runtime.bus.group import ConsumerGroup
from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.reader import Reader
from schemas.entry import Entry
from schemas.events import PublicationDelivery


def new_before_pending() -> None:
    """A new owner reads what is new and leaves what the last one had not finished to the sweep."""

    def adopt(reader: Reader, owned: set[int]) -> None:
        reader._live &= owned
        reader._noted = {p: identity for p, identity in reader._noted.items() if p in owned}
        reader._live |= owned - reader._cursors.keys()

    Reader._adopt = adopt  # type: ignore[method-assign, assignment]


def early_release() -> None:
    """A partition is given up before what is being handled of it is done."""

    async def give_up(group: ConsumerGroup, partition: int) -> None:
        with contextlib.suppress(RedisError):
            await group._reader.turned()
            await group._leases.release([partition])
        del group._leaving[partition]

    ConsumerGroup._give_up = give_up  # type: ignore[method-assign, assignment]


def no_fence() -> None:
    """The connection that the last owner reads with stays."""

    async def end(client: aioredis.Redis, identity: str) -> None:
        await client.ping()

    runtime.bus.group.end = end  # type: ignore[attr-defined]


def random_ids() -> None:
    """What follows from an entry has a new id each time."""
    schemas.entry.derived = lambda cause, position: str(uuid4())  # type: ignore[attr-defined]


def acknowledged_first() -> None:
    """An entry is acknowledged before what follows from it is appended."""
    emit = Lanes._emit

    async def settle(lanes: Lanes, received: Received, outcome: Outcome) -> bool:
        if outcome.verdict is not Verdict.DONE:
            return await settle_well(lanes, received, outcome)
        lanes._settler.acknowledge(received.partition, received.stream_id, attempted=True)
        await lanes._settler.flushed()
        await emit(lanes, outcome.emits)
        return True

    settle_well = Lanes._settle
    Lanes._settle = settle  # type: ignore[method-assign, assignment]


def lower_offsets() -> None:
    """The hub hands on whatever comes."""

    def publication(hub: Hub, entry: Entry, event: PublicationDelivery) -> str:
        topic = hub._topics.get(entry.topic)
        if topic is not None:
            topic.offset = -1
        return well(hub, entry, event)

    well = Hub._publication
    Hub._publication = publication  # type: ignore[method-assign, assignment]


def no_look_back() -> None:
    """Where a reply was lost, what it held is left to the sweep."""

    async def recover(reader: Reader, error: RedisError) -> None:
        await asyncio.sleep(0)

    Reader._recover = recover  # type: ignore[method-assign, assignment]


MUTATIONS: Final[dict[str, Callable[[], None]]] = {
    change.__name__.replace("_", "-"): change
    for change in (
        new_before_pending,
        early_release,
        no_fence,
        random_ids,
        acknowledged_first,
        lower_offsets,
        no_look_back,
    )
}
