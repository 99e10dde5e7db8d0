"""Reading a partitioned log for a consumer group.

The consumer's name is the same whoever owns a partition, so a new owner finds what the last one left: it reads the
pending entries (`XREADGROUP … 0`) to their end before anything new (`>`).
Source: https://redis.io/docs/latest/commands/xreadgroup/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError, ResponseError

from runtime.backoff import backoff
from runtime.bus.connection import BLOCK_MS, Answer
from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Received
from runtime.bus.settle import Settler
from schemas.entry import Entry
from schemas.errors import InvalidEntry

log = structlog.get_logger()

VANISHED = Counter(
    "headgate_vanished", "Pending entries that were deleted from the log before they were handled.", ["group"]
)

#: The name every owner of a partition reads under.
CONSUMER = "owner"


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
        owned: Callable[[], list[int]],
        types: Collection[str] | None = None,
        linger: float = 0.0,
        count: int = 200,
    ) -> None:
        """`types`: what the group handles; other entries are acknowledged unread. None: all.

        `linger`: seconds between reads of new entries, for a group that gains more from batches than from haste.
        """
        self._client = client
        self._logs = logs
        self._partition = {key.encode(): partition for partition, key in enumerate(logs)}
        self._group = group
        self._lanes = lanes
        self._settler = settler
        self._owned = owned
        self._types = None if types is None else {name.encode() for name in types}
        self._linger = linger
        self._count = count
        self._cursors: dict[int, str] = {}
        """Partitions whose pending entries are still being read, and how far."""
        self._live: set[int] = set()
        self._changed = asyncio.Event()

    def ownership_changed(self) -> None:
        """Tell the reader to look at `owned` again at once."""
        self._changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping`; a server that goes away is waited for."""
        failures = 0
        while not stopping.is_set():
            await self._lanes.room()
            if stopping.is_set():
                return
            self._adopt(set(self._owned()))
            try:
                if self._cursors:
                    await self._read_pending()
                elif self._live:
                    await self._read_new()
                else:
                    await self._wait_for_ownership()
                failures = 0
            except RedisError as error:
                failures += 1
                # The reply may be lost and its entries be pending already: read them again from the start.
                self._cursors |= dict.fromkeys(self._live, "0")
                self._live.clear()
                log.warning("log.read_failed", group=self._group, error=type(error).__name__)
                if isinstance(error, ResponseError) and "NOGROUP" in str(error):
                    await self._restore_groups()
                await asyncio.sleep(backoff(failures))

    def _adopt(self, owned: set[int]) -> None:
        self._live &= owned
        self._cursors = {p: cursor for p, cursor in self._cursors.items() if p in owned}
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
        streams: Any = {self._logs[p]: ">" for p in sorted(self._live)}
        answer = cast(
            "Answer",
            await self._client.xreadgroup(self._group, CONSUMER, streams, count=self._count, block=BLOCK_MS),
        )
        for key, items in answer:
            partition = self._partition[key]
            await self._deliver(partition, items, {})
        if answer and self._linger:
            await asyncio.sleep(self._linger)

    async def _read_pending(self) -> None:
        partition, cursor = next(iter(self._cursors.items()))
        key = self._logs[partition]
        if cursor == "0":
            await ensure_group(self._client, key, self._group)
        answer = cast("Answer", await self._client.xreadgroup(self._group, CONSUMER, {key: cursor}, count=self._count))
        items = answer[0][1] if answer else []
        if not items:
            del self._cursors[partition]
            self._live.add(partition)
            return
        first, last = items[0][0].decode(), items[-1][0].decode()
        window: list[Any] = await self._client.xpending_range(key, self._group, first, last, len(items))
        attempts = {one["message_id"].decode(): int(one["times_delivered"]) for one in window}
        self._cursors[partition] = last
        await self._deliver(partition, items, attempts)

    async def _deliver(
        self,
        partition: int,
        items: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
        attempts: Mapping[str, int],
    ) -> None:
        batch = []
        for raw_id, fields in items:
            stream_id = raw_id.decode()
            if (partition, stream_id) in self._lanes.in_flight:
                continue
            if not fields:
                VANISHED.labels(self._group).inc()
                log.error("entry.vanished", group=self._group, stream=self._logs[partition], stream_id=stream_id)
                self._settler.acknowledge(partition, stream_id)
                continue
            type_ = fields.get(b"type")
            if self._types is not None and type_ is not None and type_ not in self._types:
                self._settler.acknowledge(partition, stream_id)
                continue
            try:
                entry = Entry.from_fields(fields)
            except InvalidEntry as error:
                flat = [part for pair in fields.items() for part in pair]
                await self._settler.bury_fields(partition, stream_id, flat, str(error), 1, "")
                continue
            batch.append(Received(partition, stream_id, entry, attempts.get(stream_id, 1)))
        if batch:
            self._lanes.submit(batch)

    async def _restore_groups(self) -> None:
        """The log was lost under us: start its groups anew, so that what comes now is handled."""
        for partition in self._owned():
            try:
                await ensure_group(self._client, self._logs[partition], self._group)
            except RedisError:
                return
