"""Channels that have subscribers, and what the router keeps of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import redis.asyncio as aioredis

from egress.routing.deliveries import stored
from schemas.errors import InvalidEntry
from schemas.keys import Keys
from schemas.topics import channel_topic

#: Names that are looked at for one list, and of one partition in one round trip.
MOST_NAMES: Final = 10_000
_SCAN: Final = 500
PAGE: Final = 50
#: Of one channel, subscribers, members and publications that are shown.
MOST_SUBSCRIBERS: Final = 200
MOST_MEMBERS: Final = 200
MOST_HISTORY: Final = 50


@dataclass(frozen=True, slots=True)
class Occupied:
    """A channel in a list."""

    name: str
    sessions: int
    members: int
    """Users in a presence channel."""
    gateways: int
    publications: int
    """Kept in its history."""


@dataclass(frozen=True, slots=True)
class Names:
    """A page of names."""

    channels: Sequence[Occupied]
    next: str
    """The name to go on behind; empty on the last page."""
    all: bool
    """Whether all names were looked at."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One of a channel's history."""

    offset: int
    at_ms: int
    payload: Any


@dataclass(frozen=True, slots=True)
class Channel:
    """What is kept of a channel; lists may be cut, numbers are not."""

    summary: Occupied
    epoch: str
    offset: int
    subscribers: Sequence[tuple[str, str, str]]
    """(session, user, gateway) of each."""
    members: Sequence[tuple[str, int, Any]]
    """(user, number of its sessions, what others see of it)."""
    history: Sequence[Publication]
    """The newest first."""


class Channels:
    """Looks channels up. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def names(self, part: str, after: str) -> Names:
        """Channels whose names contain `part`, in the order of names, behind `after`."""
        found, all_ = await self._search(part)
        behind = sorted(name for name in found if name > after)
        shown = behind[:PAGE]
        following = shown[-1] if len(behind) > PAGE else ""
        # A channel can stay listed for a moment after the last one has left.
        occupied = [one for one in await self._summaries(shown) if one.sessions]
        return Names(occupied, following, all_)

    async def _search(self, part: str) -> tuple[set[str], bool]:
        """The names with `part` among MOST_NAMES, about; and whether these were all there are."""
        # The one that has this very name is found however many there are.
        found = {part} if part else set()
        cursors, looked = dict.fromkeys(range(self._keys.partitions), 0), 0
        while cursors and looked < MOST_NAMES:
            async with self._client.pipeline(transaction=False) as pipeline:
                for partition, cursor in cursors.items():
                    pipeline.hscan(self._keys.channels(partition), cursor, count=_SCAN)
                answers = await pipeline.execute()
            for partition, (cursor, names) in zip(list(cursors), answers, strict=True):
                looked += len(names)
                found |= {name.decode() for name in names if part.encode() in name}
                cursors[partition] = cursor
            cursors = {partition: cursor for partition, cursor in cursors.items() if cursor}
        return found, not cursors

    async def channel(self, name: str) -> Channel:
        """What is kept of the channel `name`, which may have nothing."""
        topic = channel_topic(name)
        (summary,) = await self._summaries([name])
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.topic(topic, "state"), ["epoch", "offset"])
            pipeline.hscan(self._keys.topic(topic, "subscribers"), 0, count=MOST_SUBSCRIBERS)
            pipeline.hscan(self._keys.topic(topic, "members"), 0, count=MOST_MEMBERS)
            pipeline.lrange(self._keys.topic(topic, "history"), -MOST_HISTORY, -1)
            (epoch, offset), (_, subscribers), (_, members), history = await pipeline.execute()
        last = int(offset or 0)
        return Channel(
            summary=summary,
            epoch=(epoch or b"").decode(),
            offset=last,
            subscribers=sorted(_subscriber(*one) for one in subscribers.items())[:MOST_SUBSCRIBERS],
            members=sorted((_member(*one) for one in members.items()), key=lambda one: one[0])[:MOST_MEMBERS],
            history=[_publication(last - back, stored) for back, stored in enumerate(reversed(history))],
        )

    async def _summaries(self, names: Sequence[str]) -> list[Occupied]:
        if not names:
            return []
        async with self._client.pipeline(transaction=False) as pipeline:
            for name in names:
                topic = channel_topic(name)
                for part in ("subscribers", "members", "gateways"):
                    pipeline.hlen(self._keys.topic(topic, part))
                pipeline.llen(self._keys.topic(topic, "history"))
            counts = await pipeline.execute()
        return [Occupied(name, *counts[4 * place : 4 * place + 4]) for place, name in enumerate(names)]


def _subscriber(session: bytes, record: bytes) -> tuple[str, str, str]:
    found = orjson.loads(record)
    return session.decode(), str(found.get("user") or ""), str(found.get("gateway") or "")


def _member(user: bytes, stored: bytes) -> tuple[str, int, Any]:
    """A member is stored as `sessions:description`."""
    sessions, _, description = stored.partition(b":")
    return user.decode(), int(sessions), _decoded(description)


def _publication(offset: int, stored: bytes) -> Publication:
    """A publication is stored as `ms:payload`."""
    ms, _, payload = stored.partition(b":")
    return Publication(offset, int(ms), _decoded(payload))


def _decoded(raw: bytes) -> Any:
    """What the router wrote; the text of what it did not."""
    try:
        return stored(raw) if raw else ""
    except InvalidEntry:
        return raw.decode("utf-8", "replace")
