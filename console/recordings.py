"""Where inspect and replay take what happened from: the log, the archive, or both."""

from __future__ import annotations

import heapq
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio as aioredis

from console.sources import Source
from processors.persistence.database import ArchiveNotMade
from processors.persistence.reader import ArchiveReader, Query
from processors.persistence.rules import Row
from runtime.recording import LogRecording, Record, Recording, Selection
from runtime.settings import Settings

#: What is appended while a recording is read is not in it.
_SECOND_MS: Final = 1000

Key = tuple[int, int, int]
"""Where a record stands: when it was appended (Unix ms), the number of its stream, and its own within that ms."""


class ArchiveRecording:
    """What the archive holds, but for what was erased, unless that is wanted.

    Raises ArchiveUnavailable, ArchiveNotMade, ArchiveTooNew.
    """

    def __init__(self, reader: ArchiveReader) -> None:
        self._reader = reader

    async def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
        """As runtime.recording.Recording says."""
        rank = {stream: place for place, stream in enumerate(streams)}
        held: list[Row] = []
        async for page in self._reader.pages(_query(wanted)):
            # The archive has its streams by their names: what was appended in one ms is put in order as a whole.
            held += [row for row in page if row.stream in rank]
            whole = [row for row in held if row.at < page[-1].at]
            held = held[len(whole) :]
            if batch := _records(whole, rank, wanted):
                yield batch
        if batch := _records(held, rank, wanted):
            yield batch


def _query(wanted: Selection) -> Query:
    """What an index can find; the rest is left to `Selection.wants`."""
    (session,) = wanted.sessions if len(wanted.sessions) == 1 else ("",)
    (type_,) = wanted.types if len(wanted.types) == 1 else ("",)
    until = int(time.time() * 1000) + _SECOND_MS if wanted.until is None else wanted.until + (wanted.until_seq > 0)
    return Query(session, wanted.user, "", type_, wanted.since, until, erased=wanted.erased)


def _records(rows: Sequence[Row], rank: dict[str, int], wanted: Selection) -> list[Record]:
    if after := {stream: _numbers(stream_id) for stream, stream_id in wanted.after.items()}:
        rows = [row for row in rows if (row.at, row.seq) > after.get(row.stream, (0, -1))]
    rows = [row for row in rows if wanted.within(row.at, row.seq)]
    ordered = sorted(rows, key=lambda row: (row.at, rank[row.stream], row.seq))
    records = [Record(row.stream, row.stream_id, row.entry) for row in ordered]
    return [record for record in records if wanted.wants(record.entry)]


class Together:
    """What any of several recordings holds, once: as the first of them has it."""

    def __init__(self, *recordings: Recording) -> None:
        self._recordings = recordings

    async def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
        """As runtime.recording.Recording says; raises what they do."""
        rank = {stream: place for place, stream in enumerate(streams)}
        ahead = [_Ahead(one.read(streams, wanted), rank) for one in self._recordings]
        last: Key | None = None
        while True:
            for one in ahead:
                await one.look()
            limit = min((one.pending[-1][0] for one in ahead if not one.ended), default=None)
            batch = []
            for key, record in heapq.merge(*(one.take(limit) for one in ahead), key=lambda item: item[0]):
                if key != last:
                    batch.append(record)
                last = key
            if batch:
                yield batch
            if limit is None:
                return


class _Ahead:
    """A recording that is read a batch ahead."""

    def __init__(self, batches: AsyncIterator[Sequence[Record]], rank: dict[str, int]) -> None:
        self._batches = batches
        self._rank = rank
        self.pending: list[tuple[Key, Record]] = []
        self.ended = False

    async def look(self) -> None:
        """Have something pending, unless it has ended."""
        while not self.pending and not self.ended:
            batch = await anext(self._batches, None)
            if batch is None:
                self.ended = True
            else:
                self.pending = [(self._key(record), record) for record in batch]

    def take(self, limit: Key | None) -> list[tuple[Key, Record]]:
        """What is pending up to `limit`, or all."""
        cut = len(self.pending)
        if limit is not None:
            cut = bisect_right(self.pending, limit, key=lambda item: item[0])
        taken, self.pending = self.pending[:cut], self.pending[cut:]
        return taken

    def _key(self, record: Record) -> Key:
        at, number = _numbers(record.stream_id)
        return at, self._rank[record.stream], number


def _numbers(stream_id: str) -> tuple[int, int]:
    at, _, number = stream_id.partition("-")
    return int(at), int(number)


@asynccontextmanager
async def opened(source: Source, settings: Settings, client: aioredis.Redis) -> AsyncIterator[Recording]:
    """What `source` means: the log is read through `client`. With Source.ALL an archive need not have been made.

    Raises ConfigurationError and ArchiveUnavailable, also inside the block.
    """
    log = LogRecording(client)
    if source is Source.LOG:
        yield log
        return
    reader = ArchiveReader(settings.archive_url)
    try:
        archive: Recording = ArchiveRecording(reader)
        if source is Source.ALL:
            try:
                await reader.find("")
                archive = Together(log, archive)
            except ArchiveNotMade:
                archive = log
        yield archive
    finally:
        await reader.close()
