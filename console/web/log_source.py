"""Timelines out of the log in Redis.

The log has no index by session: its streams are read from where the session began and what is its own is kept, a
bounded part at a time. All streams are merged in the order of their appends, so that a place tells where to go on in
each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis

from console.inspection.timeline import Handling
from console.records import order
from console.web.snapshot import logs_of
from console.web.timeline import (
    FOLLOWS_MS,
    PAGE,
    Located,
    NoSuchEntry,
    Page,
    Place,
    Query,
    handling_of,
    logs_of_session,
)
from runtime.gateways import Gateways
from schemas.keys import Keys, partition_of
from schemas.topics import session_topic

#: Entries of one stream that are read in one round trip.
BLOCK: Final = 500
#: Entries that one page looks at, about, and round trips that it makes.
MOST_READ: Final = 40_000
MOST_TRIPS: Final = 40
#: The gateway's clock may be ahead of that of Redis by this much: a session is looked for from so much earlier on.
CLOCKS_MS: Final = 5_000
#: What follows from an entry is looked for in so many entries of each stream, and of all together, about.
FOLLOWS: Final = 1_000
MOST_FOLLOWS: Final = 20_000
_FOLLOWS_BLOCK: Final = 100
#: Entries before one among which its cause is looked for, and of a trail what was done with it.
CAUSE_WITHIN: Final = 4_000
TRAIL_WITHIN: Final = 4_000
#: Gateways whose delivery streams are looked at.
_GATEWAYS: Final = 64

_Fields = Mapping[bytes, bytes]
_Order = tuple[int, int, int]
"""Time of the append, number in it, rank of the log; negated when the newest come first, so that less is earlier."""
_LAST_RANK: Final = 1 << 31
_END: Final[_Order] = (1 << 63, 0, 0)
_BEGINNING: Final[_Order] = (-(1 << 63), 0, 0)


@dataclass(slots=True)
class _Reading:
    """How far one stream is read."""

    log: str
    key: str
    rank: int
    """Its place among all, for entries of one id."""
    sign: int
    """-1 when the newest come first."""
    start: str
    """Where the next block begins, as XRANGE says it."""
    frontier: _Order = _BEGINNING
    """Everything up to here was read."""

    def order(self, stream_id: bytes) -> _Order:
        """What sorts an entry of this stream among all."""
        ms, number = order(stream_id.decode())
        return self.sign * ms, self.sign * number, self.sign * self.rank

    def take(self, block: Sequence[Any], wanted: Callable[[_Fields], bool]) -> Iterator[tuple[_Order, Located]]:
        """What is wanted of a block that was read, and go on behind it."""
        if block:
            self.start = f"({block[-1][0].decode()}"
        self.frontier = self.order(block[-1][0]) if len(block) == BLOCK else _END
        for stream_id, fields in block:
            if wanted(fields):
                yield self.order(stream_id), Located(Place(self.log, stream_id.decode()), fields)


class LogSource:
    """The Source over Redis. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._logs = logs_of(keys)

    async def page(self, query: Query, after: Place | None, size: int = PAGE, until: Place | None = None) -> Page:
        """As Source says."""
        wanted = _of_session(query.session)
        readings = self._begin(query, after)
        most = _end_of(until, query)
        found: list[tuple[_Order, Located]] = []
        read = trips = 0
        while trips < MOST_TRIPS and read < MOST_READ:
            enough = min(most, found[size - 1][0]) if len(found) >= size else most
            behind = [one for one in readings if one.frontier < enough]
            if not behind:
                break
            blocks = await self._blocks(behind, query)
            trips += 1
            for reading, block in zip(behind, blocks, strict=True):
                read += len(block)
                found += reading.take(block, wanted)
            found.sort(key=lambda item: item[0])
        frontier = min(reading.frontier for reading in readings)
        sure = [located for at, located in found if at <= frontier][:size]
        following = None
        if len(sure) == size and (len(found) > size or frontier != _END):
            following = sure[-1].place
        elif frontier != _END:
            ms, number, rank = map(abs, frontier)
            following = Place(readings[rank].log, f"{ms}-{number}")
        return Page(sure, following, read, trips)

    async def entry(self, place: Place) -> Located:
        """The entry at `place`; raises NoSuchEntry."""
        key = self._key(place.log)
        found: Any = await self._client.xrange(key, place.stream_id, place.stream_id) if key else []
        if not found:
            raise NoSuchEntry(f"the log has no entry at {place}, or no more")
        return Located(place, found[0][1])

    async def cause(self, located: Located) -> Located | None:
        """As Source says."""
        cause = located.text("cause").encode()
        if not cause:
            return None
        log = located.place.log
        session, topic = located.text("session"), located.text("topic")
        logs = []
        if log.startswith("gw:") and topic:
            logs.append(f"out:{partition_of(topic, self._keys.partitions)}")
        if session:
            logs.append(f"in:{partition_of(session, self._keys.partitions)}")
        for name in logs:
            start = located.place.stream_id
            for _ in range(CAUSE_WITHIN // BLOCK):
                block: Any = await self._client.xrevrange(self._logs[name], start, "-", count=BLOCK)
                for stream_id, fields in block:
                    if fields.get(b"id") == cause:
                        return Located(Place(name, stream_id.decode()), fields)
                if len(block) < BLOCK:
                    break
                start = f"({block[-1][0].decode()}"
        return None

    async def effects(self, root: Located, known: Collection[str]) -> list[Located]:
        """All that were appended in the time after `root` and have a cause."""
        logs = [f"out:{partition}" for partition in range(self._keys.partitions)]
        if session := root.text("session"):
            logs.append(f"in:{partition_of(session, self._keys.partitions)}")
        logs += [f"gw:{name}" for name in sorted(await Gateways(self._client, self._keys).beats())[:_GATEWAYS]]
        starts, until = dict.fromkeys(logs, str(root.place.ms)), str(root.place.ms + FOLLOWS_MS)
        found: list[Located] = []
        read = 0
        for _ in range(FOLLOWS // _FOLLOWS_BLOCK):
            if not starts or read >= MOST_FOLLOWS:
                break
            async with self._client.pipeline(transaction=False) as pipeline:
                for log, start in starts.items():
                    pipeline.xrange(self._key(log), start, until, count=_FOLLOWS_BLOCK)
                blocks = dict(zip(starts, await pipeline.execute(), strict=True))
            for log, block in blocks.items():
                read += len(block)
                found += [Located(Place(log, at.decode()), fields) for at, fields in block if fields.get(b"cause")]
            full = {log: block[-1][0] for log, block in blocks.items() if len(block) == _FOLLOWS_BLOCK}
            starts = {log: f"({last.decode()}" for log, last in full.items()}
        return sorted(found, key=lambda one: one.place.order)

    async def trail(self, located: Located) -> list[Handling]:
        """As Source says; looked for in a bounded part of the trail."""
        log, cause = self._logs.get(located.place.log), located.text("id").encode()
        found: list[Handling] = []
        start = str(located.place.ms)
        for _ in range(TRAIL_WITHIN // BLOCK if log else 0):
            block: Any = await self._client.xrange(Keys.trail(log or ""), start, "+", count=BLOCK)
            for stream_id, fields in block:
                one = Located(Place(located.place.log, stream_id.decode()), fields)
                if fields.get(b"cause") == cause and (handling := handling_of(one)):
                    found.append(handling)
            if len(block) < BLOCK:
                break
            start = f"({block[-1][0].decode()}"
        return found

    def _key(self, log: str) -> str:
        return self._keys.delivery(log[3:]) if log.startswith("gw:") else self._logs.get(log, "")

    def _begin(self, query: Query, after: Place | None) -> list[_Reading]:
        first = "+" if query.newest_first else str(max(0, query.since_ms - CLOCKS_MS)) if query.since_ms else "-"
        readings = []
        for rank, log in enumerate(logs_of_session(query, self._keys.partitions)):
            start = first
            if after is not None:
                # What has the same id in a log that comes later in the order was not given yet.
                given = log >= after.log if query.newest_first else log <= after.log
                start = f"({after.stream_id}" if given else after.stream_id
            sign = -1 if query.newest_first else 1
            readings.append(_Reading(log, self._logs[log], rank, sign, start))
        return readings

    async def _blocks(self, readings: Sequence[_Reading], query: Query) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for one in readings:
                if query.newest_first:
                    pipeline.xrevrange(one.key, one.start, "-", count=BLOCK)
                else:
                    pipeline.xrange(one.key, one.start, "+", count=BLOCK)
            return await pipeline.execute()


def _end_of(until: Place | None, query: Query) -> _Order:
    """The last order of what has the id of `until`, in any log."""
    if until is None:
        return _END
    sign = -1 if query.newest_first else 1
    ms, number, _ = until.order
    return sign * ms, sign * number, _LAST_RANK


def _of_session(session: str) -> Callable[[_Fields], bool]:
    name, topic = session.encode(), session_topic(session).encode()
    return lambda fields: fields.get(b"session") == name or fields.get(b"topic") == topic
