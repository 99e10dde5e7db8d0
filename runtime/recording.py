"""What happened, read in the order in which it was written: from the log, or from whatever else keeps entries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, cast

import redis.asyncio as aioredis
import structlog

from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.events import Event
from schemas.keys import Keys
from schemas.topics import channel_topic

log = structlog.get_logger()

#: Entries of one stream that are read in one round trip.
PAGE: Final = 1000


class Record(NamedTuple):
    """An entry and where it was written."""

    stream: str
    """Key of the log or trail."""
    stream_id: str
    """Its id there, such as `1700000000000-0`."""
    entry: Entry

    @property
    def at(self) -> int:
        """When it was appended, in Unix ms on the clock of Redis."""
        return int(self.stream_id.partition("-")[0])

    @property
    def event(self) -> Event | None:
        """Its event; None where that cannot be read, as whoever handled it found."""
        try:
            return self.entry.event()
        except InvalidEntry:
            return None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries are wanted; what is empty or None wants all."""

    sessions: frozenset[str] = frozenset()
    user: str = ""
    channel: str = ""
    types: frozenset[str] = frozenset()
    since: int | None = None
    """Unix ms: appended then or later."""
    since_seq: int = 0
    """In that ms: with this number in the stream id or a later one."""
    until: int | None = None
    """Unix ms: appended before."""
    until_seq: int = 0
    """Or in that ms, with a lower number in the stream id."""
    erased: bool = False
    """Also what an archive has emptied, without payloads: `data` is empty then."""
    after: Mapping[str, str] = field(default_factory=dict)
    """Stream ids by stream: only what is behind them."""

    def within(self, at: int, seq: int) -> bool:
        """Whether a stream id of these numbers passes."""
        return (at, seq) >= (self.since or 0, self.since_seq) and (
            self.until is None or (at, seq) < (self.until, self.until_seq)
        )

    def wants(self, entry: Entry) -> bool:
        """Whether `entry` passes, wherever and whenever it was appended."""
        return (
            (not self.sessions or entry.session in self.sessions)
            and (not self.user or entry.user == self.user)
            and (not self.types or entry.type in self.types)
            and (not self.channel or topic_of(entry) == channel_topic(self.channel))
        )


class Recording(Protocol):
    """Whoever keeps entries."""

    def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
        """What `streams` hold of what is wanted, up to what was there at the beginning, some at a time.

        In the order of each stream; those of several by the time of their append, and at the same time by the order
        of `streams`.
        """


def recorded(keys: Keys) -> list[str]:
    """The logs and their trails, what leads to something before what follows from it."""
    logs = [make(p) for make in (keys.inbound, keys.outbound) for p in range(keys.partitions)]
    return logs + [Keys.trail(log) for log in logs]


def topic_of(entry: Entry) -> str:
    """Its topic; for an inbound entry about a channel, the channel's."""
    if entry.topic:
        return entry.topic
    try:
        data = entry.payload()
    except InvalidEntry:
        return ""
    channel = data.get("channel") if isinstance(data, dict) else None
    return channel_topic(channel) if isinstance(channel, str) else ""


class LogRecording:
    """What the log still holds; see HEADGATE_LOG_SECONDS. Raises RedisError."""

    def __init__(self, client: aioredis.Redis) -> None:
        self._client = client

    async def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
        """As Recording says."""
        seconds, _ = await self._client.time()
        until = f"({(seconds + 1) * 1000 if wanted.until is None else wanted.until}-{wanted.until_seq}"
        merge = _Merge(streams, wanted.after, f"{wanted.since or 0}-{wanted.since_seq}")
        while hungry := merge.hungry():
            pipeline = self._client.pipeline(transaction=False)
            for stream, start in hungry:
                pipeline.xrange(stream, start, until, count=PAGE)
            for (stream, _), page in zip(hungry, await pipeline.execute(), strict=True):
                merge.feed(stream, cast("Any", page))
            if batch := [record for record in merge.ready() if wanted.wants(record.entry)]:
                yield batch


class _Merge:
    """Pages of several streams on their way to one order."""

    def __init__(self, streams: Sequence[str], after: Mapping[str, str], since: str) -> None:
        self._rank = {stream: rank for rank, stream in enumerate(streams)}
        self._start = {one: f"({after[one]}" if one in after else since for one in streams}
        self._pages: dict[str, list[tuple[int, int, int, Record]]] = {stream: [] for stream in streams}
        self._open = set(streams)
        """Streams that may hold more than was read."""

    def hungry(self) -> list[tuple[str, str]]:
        """The streams of which a page is needed, and where it begins."""
        return [(one, self._start[one]) for one in self._rank if one in self._open and not self._pages[one]]

    def feed(self, stream: str, page: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """The page that was asked for; what is no entry is passed over."""
        if len(page) < PAGE:
            self._open.discard(stream)
        rank, out = self._rank[stream], self._pages[stream]
        for raw_id, fields in page:
            stream_id = raw_id.decode()
            at, _, number = stream_id.partition("-")
            try:
                record = Record(stream, stream_id, Entry.from_fields(fields))
            except InvalidEntry as error:
                log.warning("log.invalid_entry", stream=stream, stream_id=stream_id, error=str(error))
                continue
            out.append((int(at), rank, int(number), record))
        if page:
            self._start[stream] = f"({page[-1][0].decode()}"

    def ready(self) -> list[Record]:
        """What nothing that is not read yet can be before."""
        ends = [self._pages[one][-1][:3] if self._pages[one] else (0, 0, 0) for one in self._open]
        limit = min(ends, default=None)
        out = []
        for stream, page in self._pages.items():
            if limit is None:
                taken, self._pages[stream] = page, []
            else:
                cut = next((place for place, item in enumerate(page) if item[:3] > limit), len(page))
                taken, self._pages[stream] = page[:cut], page[cut:]
            out += taken
        out.sort(key=lambda item: item[:3])
        return [item[3] for item in out]
