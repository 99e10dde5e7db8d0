"""Where a timeline is read: the log, which is read whole, and the archive, by its indexes."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import redis.asyncio as aioredis

from console.printable import printable
from console.recordings import ArchiveRecording, Together
from console.sources import Source
from processors.persistence.database import ArchiveNotMade, ArchiveUnavailable
from processors.persistence.reader import MANY, ArchiveReader, Query
from processors.persistence.rules import Row
from runtime.recording import LogRecording, Record, Recording, Selection
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.events import EntryHandled, SubscriptionEnded, SubscriptionGranted
from schemas.topics import session_topic

#: Entries of a timeline, at most; of those that it is chosen from, the archive gives so many times more.
MOST: Final = 10_000
_TIMES: Final = 5


class TooMany(ConfigurationError):
    """The operator's: a timeline would have more entries than anybody reads."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST} entries: choose some with --from and --to")


class Held:
    """A recording of rows that were found before."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    async def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
        """As runtime.recording.Recording says."""
        rank = {stream: place for place, stream in enumerate(streams)}
        rows = [row for row in self._rows if row.stream in rank and row.erased is None and _in_time(row, wanted)]
        rows.sort(key=lambda row: (row.at, rank[row.stream], row.seq))
        records = [Record(row.stream, row.stream_id, row.entry) for row in rows]
        if records := [record for record in records if wanted.wants(record.entry)]:
            yield records


def _in_time(row: Row, wanted: Selection) -> bool:
    return (wanted.since or 0) <= row.at and (wanted.until is None or row.at < wanted.until)


@dataclass(frozen=True, slots=True)
class Places:
    """The log, the archive, or both. What reads the archive raises ArchiveUnavailable."""

    log: LogRecording | None
    archive: ArchiveReader | None

    @property
    def whole(self) -> Recording:
        """All that there is."""
        return self._with(ArchiveRecording(self.archive) if self.archive else None)

    async def of_event(self, root: str) -> Recording:
        """The log, and of the archive the entry `root`, all that it led to, and what was done with that."""
        if self.archive is None:
            return self._with(None)
        found: dict[object, Row] = {row.place: row for row in await self.archive.find(root)}
        asked, wanted = set[str](), {root}
        while wanted:
            rows = await self._effects(sorted(wanted))
            found |= {row.place: row for row in rows}
            _bounded(found)
            asked |= wanted
            wanted = {row.id for row in rows if row.type != EntryHandled.TYPE} - asked
        return self._with(Held(found.values()))

    async def of_sessions(self, sessions: Iterable[str], topics: Iterable[str], wanted: Selection) -> Recording:
        """The log, and of the archive the entries of `sessions`, what was published to `topics` and, from when on they
        were subscribed to them, to others, and what was done with all of it."""
        if self.archive is None:
            return self._with(None)
        found: dict[object, Row] = {}
        for session in sessions:
            await self._take(found, Query(session=session, since=wanted.since, until=wanted.until))
        spans = _subscribed(found.values(), wanted)
        for topic in {*topics, *map(session_topic, sessions)}:
            spans[topic] = (wanted.since, wanted.until)
        for topic, (since, until) in spans.items():
            await self._take(found, Query(topic=topic, since=since, until=until))
        trail = await self._effects([row.id for row in found.values()])
        return self._with(Held([*found.values(), *(row for row in trail if row.type == EntryHandled.TYPE)]))

    def _with(self, archive: Recording | None) -> Recording:
        if archive is None or self.log is None:
            found = archive or self.log
            assert found is not None
            return found
        return Together(archive, self.log)

    async def _take(self, found: dict[object, Row], query: Query) -> None:
        assert self.archive is not None
        async for page in self.archive.pages(query):
            found.update({row.place: row for row in page})
            _bounded(found)

    async def _effects(self, ids: Sequence[str]) -> list[Row]:
        assert self.archive is not None
        parts = [ids[start : start + MANY] for start in range(0, len(ids), MANY)]
        return [row for part in parts async for page in self.archive.effects(part) for row in page]


def _bounded(found: dict[object, Row]) -> None:
    if len(found) > _TIMES * MOST:
        raise TooMany


def _subscribed(rows: Iterable[Row], wanted: Selection) -> dict[str, tuple[int | None, int | None]]:
    """The topics that the sessions of `rows` were subscribed to, each with the time (Unix ms) from when and before
    when any of them was; None: for as long as is `wanted`."""
    since: dict[str, int] = {}
    until: dict[str, int | None] = {}
    members = defaultdict[str, set[str]](set)
    for row in sorted(rows, key=lambda row: row.place):
        if row.type == SubscriptionGranted.TYPE:
            since.setdefault(row.topic, row.at)
            members[row.topic].add(row.session)
        elif row.type == SubscriptionEnded.TYPE:
            members[row.topic].discard(row.session)
            until[row.topic] = row.at + 1
    return {topic: (at, wanted.until if members[topic] else until[topic]) for topic, at in since.items()}


@asynccontextmanager
async def opened(source: Source, settings: Settings, client: aioredis.Redis) -> AsyncIterator[Places]:
    """What `source` means. With Source.ALL an archive need not have been made, and one that is away is told of.

    Raises ConfigurationError and ArchiveUnavailable, also inside the block.
    """
    log = LogRecording(client)
    if source is Source.LOG:
        yield Places(log, None)
        return
    reader = ArchiveReader(settings.archive_url)
    try:
        archive: ArchiveReader | None = reader
        if source is Source.ALL:
            try:
                await reader.find("")
            except ArchiveNotMade:
                archive = None
            except ArchiveUnavailable as error:
                print(printable(f"without the archive: {error}", 400), file=sys.stderr)
                archive = None
        yield Places(log if source is Source.ALL else None, archive)
    finally:
        await reader.close()
