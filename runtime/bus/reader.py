"""Reading a partitioned log for a consumer group.

The consumer's name is the same whoever owns a partition, so a new owner finds what the last one left: it reads the
pending entries (`XREADGROUP … 0`) to their end before anything new (`>`).
Source: https://redis.io/docs/latest/commands/xreadgroup/
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Counting
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError, ResponseError

from runtime.backoff import backoff
from runtime.bus.connection import BLOCK_MS, Answer
from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Received
from runtime.bus.read_connection import ReadConnection
from runtime.bus.settle import Settler
from schemas.entry import Entry
from schemas.errors import InvalidEntry

log = structlog.get_logger()

VANISHED = Counter(
    "headgate_vanished", "Pending entries that were deleted from the log before they were handled.", ["group"]
)
STRAYS = Counter("headgate_strays", "Entries that were read for a group and then forgotten, found again.", ["group"])

#: Field of an entry that one group alone is to handle: a dead letter that is tried again.
ONLY: Final = b"only"
#: The name every owner of a partition reads under.
CONSUMER: Final = "owner"
#: An entry that was delivered to others so often and never settled may be what ended them.
SUSPECT_AFTER: Final = 3
#: Entries of each log that a read may give however little room there is: one by one they would cost a round trip each.
LEAST: Final = 10
#: How often a reader looks for entries that are pending and that nobody handles, and how long they must have been so.
SWEEP_S: Final = 10.0

Note = Callable[[Sequence[int], str], Awaitable[Sequence[int]]]
"""Notes which connection reads partitions; gives those of them that are still ours."""


async def ensure_group(client: aioredis.Redis, key: str, group: str) -> None:
    """Create `group` at the beginning of the log `key`, unless it exists."""
    try:
        await client.xgroup_create(key, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


class Reader:
    """Reads the partitions that `owned` names, and feeds the lanes."""

    def __init__(
        self,
        client: aioredis.Redis,
        logs: Sequence[str],
        group: str,
        *,
        lanes: Lanes,
        settler: Settler,
        owned: Callable[[], Collection[int]],
        note: Note,
        of: Collection[int] | None = None,
        types: Collection[str] | None = None,
        linger: float = 0.0,
        count: int = 200,
    ) -> None:
        """`of`: the partitions that this one reads, whose logs one command can be about. None: all.

        `count`: the most entries of one log that a read gives.

        `types`: what the group handles; other entries are acknowledged unread. None: all.

        `linger`: seconds between reads of new entries, for a group that gains more from batches than from haste.
        """
        self._client = client
        self._of = range(len(logs)) if of is None else of
        self._connection = ReadConnection(client, logs[min(self._of)])
        self._logs = logs
        self._partition = {key.encode(): partition for partition, key in enumerate(logs)}
        self._group = group
        self._lanes = lanes
        self._settler = settler
        self._all_owned = owned
        self._note = note
        self._types = None if types is None else {name.encode() for name in types}
        self._linger = linger
        self._count = count
        self._noted: dict[int, str] = {}
        """Partitions and the connection that is known to read them."""
        self._cursors: dict[int, str] = {}
        """Partitions whose pending entries are still being read, and how far."""
        self._read_again: defaultdict[int, Counting[str]] = defaultdict(Counting)
        """How often this process has read what is pending: whoever lives was not ended by it."""
        self._live: set[int] = set()
        self._gained: set[int] = set()
        """Partitions that were gained since the last turn began."""
        self._swept = time.monotonic()
        self._changed = asyncio.Event()
        self._reading = False
        self._turned = asyncio.Event()
        self._defect = ""
        """What went wrong with the last turn, if it was not the server's doing."""

    @property
    def identity(self) -> str:
        """The connection that is read with, empty while there is none."""
        return self._connection.identity

    def problem(self) -> str | None:
        """Why nothing is read although the server answers, or None."""
        return f"{self._defect} while reading" if self._defect else None

    def ownership_changed(self) -> None:
        """Tell the reader to look at `owned` again at once."""
        self._changed.set()

    def gained(self, partitions: Collection[int]) -> None:
        """`partitions` are ours from now on, perhaps again: begin with what is pending. Where the lease was in doubt
        for a moment the lanes have dropped what they had, and what is being read now comes after that."""
        self._gained.update(partitions)

    async def turned(self) -> None:
        """Wait until nothing is being read that was asked for before this call."""
        if self._reading:
            self._turned.clear()
            await self._turned.wait()

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping`; a server that goes away is waited for."""
        failures = 0
        try:
            while not stopping.is_set():
                await self._lanes.room()
                if stopping.is_set():
                    return
                try:
                    await self._turn()
                    failures, self._defect = 0, ""
                # Also a defect of ours, or of the client, is tried past: the leases are kept, and nobody else reads.
                except Exception as error:
                    failures += 1
                    await self._recover(error)
                    await asyncio.sleep(backoff(failures))
        finally:
            await self._connection.close()

    def _owned(self) -> set[int]:
        return {partition for partition in self._all_owned() if partition in self._of}

    async def _turn(self) -> None:
        # In this order: a process that is paused after it looked at its leases finds its connection ended.
        await self._connection.open()
        self._reading = True
        try:
            await self._read_owned(self._owned())
        finally:
            self._reading = False
            self._turned.set()

    async def _read_owned(self, owned: set[int]) -> None:
        for partition in self._gained:
            self._noted.pop(partition, None)
            self._cursors.pop(partition, None)
        self._live -= self._gained
        self._gained.clear()
        if new := [p for p in owned if self._noted.get(p) != self._connection.identity]:
            ours = await self._note(sorted(new), self._connection.identity)
            self._noted |= dict.fromkeys(ours, self._connection.identity)
            owned -= set(new) - set(ours)
        self._adopt(owned)
        if self._cursors:
            await self._read_pending()
        elif self._live:
            if time.monotonic() - self._swept > SWEEP_S:
                await self._sweep()
            if self._live:
                await self._read_new()
        else:
            await self._wait_for_ownership()

    async def _recover(self, error: Exception) -> None:
        # The reply may be lost and its entries be pending already: read them again from the start.
        self._cursors |= dict.fromkeys(self._live, "0")
        self._live.clear()
        if isinstance(error, RedisError):
            log.warning("log.read_failed", group=self._group, error=type(error).__name__)
        else:
            self._defect = type(error).__name__
            self._cursors = dict.fromkeys(self._cursors, "0")
            log.error("log.reader_broken", group=self._group, exc_info=error)
            await self._connection.close()
        if isinstance(error, ResponseError) and "NOGROUP" in str(error):
            await self._restore_groups()

    def _adopt(self, owned: set[int]) -> None:
        self._live &= owned
        self._cursors = {p: cursor for p, cursor in self._cursors.items() if p in owned}
        self._noted = {p: identity for p, identity in self._noted.items() if p in owned}
        for partition in owned - self._live - self._cursors.keys():
            self._cursors[partition] = "0"

    async def _wait_for_ownership(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(BLOCK_MS / 1000):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _read_new(self) -> None:
        streams = {self._logs[p]: ">" for p in sorted(self._live)}
        count = self._count_for(len(self._all_owned()))
        answer = await self._read(streams, count, block=BLOCK_MS)
        for key, items in answer:
            partition = self._partition[key]
            if self._follows(partition):
                await self._deliver(partition, items)
            else:
                self._live.discard(partition)
                self._cursors[partition] = "0"
        # Of a log that gave as many as it might there may be more.
        if answer and self._linger and not any(len(items) >= count for _, items in answer):
            await asyncio.sleep(self._linger)

    async def _read_pending(self) -> None:
        partition, cursor = next(iter(self._cursors.items()))
        key = self._logs[partition]
        if cursor == "0":
            await ensure_group(self._client, key, self._group)
        answer = await self._read({key: cursor}, self._count_for(1 + len(self._all_owned()) - len(self._owned())))
        items = answer[0][1] if answer else []
        if not items:
            again = self._read_again.pop(partition, Counting())
            self._read_again[partition] = Counting({i: n for i, n in again.items() if self._lanes.has(partition, i)})
            del self._cursors[partition]
            self._live.add(partition)
            return
        first, last = items[0][0].decode(), items[-1][0].decode()
        window: list[Any] = await self._client.xpending_range(key, self._group, first, last, len(items))
        again = self._read_again[partition]
        again.update(raw_id.decode() for raw_id, _ in items)
        times = {one["message_id"].decode(): int(one["times_delivered"]) for one in window}
        often = {one for one, n in times.items() if n - again[one] >= SUSPECT_AFTER}
        attempts = await self._settler.attempts(partition, [raw_id.decode() for raw_id, _ in items])
        if not self._follows(partition):
            self._cursors[partition] = "0"
            return
        await self._deliver(partition, items, attempts, often)
        self._cursors[partition] = last

    def _follows(self, partition: int) -> bool:
        """Whether what was just read follows what the lanes have. In doubt about a lease they drop that, also while
        this was being read: then all of it is read again, from the first that is pending."""
        return partition not in self._gained and partition in self._owned()

    def _count_for(self, logs: int) -> int:
        """How many entries of each log may be read when so many are read at once, by this reader and others."""
        return min(self._count, max(LEAST, self._lanes.space() // max(1, logs)))

    async def _read(self, streams: Mapping[str, str], count: int, block: int | None = None) -> Answer:
        """XREADGROUP over the connection that a later owner can end."""
        reading = self._connection.client.xreadgroup(
            self._group, CONSUMER, cast("Any", streams), count=count, block=block
        )
        return cast("Answer", await reading)

    async def _sweep(self) -> None:
        """Look for entries that are pending and that no lane has: whoever read them lost the answer or was stale."""
        self._swept = time.monotonic()
        partitions = sorted(self._live)
        pipeline = self._client.pipeline(transaction=False)
        for partition in partitions:
            pipeline.xpending_range(self._logs[partition], self._group, "-", "+", self._count, idle=int(SWEEP_S * 1000))
        for partition, window in zip(partitions, await pipeline.execute(), strict=True):
            ids = [one["message_id"].decode() for one in window]
            strays = [one for one in ids if not self._lanes.has(partition, one)]
            if strays:
                STRAYS.labels(self._group).inc(len(strays))
                log.warning("log.strays", group=self._group, stream=self._logs[partition], entries=len(strays))
                self._live.discard(partition)
                self._cursors[partition] = "0"

    async def _deliver(
        self,
        partition: int,
        items: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
        attempts: Mapping[str, int] | None = None,
        often: Collection[str] = (),
    ) -> None:
        batch = []
        for raw_id, fields in items:
            stream_id = raw_id.decode()
            if self._lanes.has(partition, stream_id):
                continue
            if not fields:
                VANISHED.labels(self._group).inc()
                log.error("entry.vanished", group=self._group, stream=self._logs[partition], stream_id=stream_id)
                self._settler.acknowledge(partition, stream_id, attempted=True)
                continue
            if not self._wants(fields):
                self._settler.acknowledge(partition, stream_id)
                continue
            try:
                entry = Entry.from_fields(fields)
            except InvalidEntry as error:
                flat = [part for pair in fields.items() for part in pair]
                await self._settler.bury_fields(partition, stream_id, flat, str(error), 1, "")
                continue
            failed = max(0, attempts.get(stream_id, 0)) if attempts else 0
            suspect, redelivered, retried = stream_id in often, attempts is not None, ONLY in fields
            batch.append(Received(partition, stream_id, entry, failed + 1, suspect, redelivered, retried))
        if batch:
            self._lanes.submit(batch)

    def _wants(self, fields: Mapping[bytes, bytes]) -> bool:
        type_, only = fields.get(b"type"), fields.get(ONLY)
        if only is not None and only != self._group.encode():
            return False
        return self._types is None or type_ is None or type_ in self._types

    async def _restore_groups(self) -> None:
        """The log was lost under us: start its groups anew, so that what comes now is handled."""
        for partition in self._owned():
            try:
                await ensure_group(self._client, self._logs[partition], self._group)
            except RedisError:
                return
