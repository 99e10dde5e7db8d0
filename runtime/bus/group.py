"""A consumer group of this process: leases, a reader, lanes, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from runtime.bus.appender import Appender
from runtime.bus.cluster import node_of
from runtime.bus.connection import BLOCK_MS
from runtime.bus.lanes import Handler, Lanes
from runtime.bus.outcomes import Received
from runtime.bus.quarantine import Quarantine
from runtime.bus.read_connection import end
from runtime.bus.reader import ensure_group
from runtime.bus.readers import readers
from runtime.bus.settle import Settler
from runtime.leases import LeaseKeys, Leases
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import Telemetry
from schemas.keys import Keys

log = structlog.get_logger()

#: Longer than a reader waits for something to read, and for more to gather (seconds).
TURN_S: Final = 2 * BLOCK_MS / 1000


def by_session(received: Received) -> str:
    """Lane key of what must stay in order per session."""
    return received.entry.session


def by_partition(received: Received) -> str:
    """Lane key of what must stay in order per partition."""
    return str(received.partition)


class ConsumerGroup:
    """Consumes a partitioned log for `group`, as many partitions as it has leases for."""

    def __init__(
        self,
        settings: Settings,
        client: aioredis.Redis,
        appender: Appender,
        telemetry: Telemetry,
        *,
        logs: Sequence[str],
        group: str,
        handler: Handler,
        key: Callable[[Received], str] = by_session,
        types: Collection[str] | None = None,
        max_batch: int = 1,
        linger: float = 0.0,
        traced: bool = True,
        trailed: bool = False,
        quarantine: Quarantine | None = None,
    ) -> None:
        """`types`: what `handler` handles; other entries are acknowledged unread. None: all.

        `linger`: seconds between reads, for a group that gains more from batches than from haste.
        `traced`: handling a sampled entry is a span of its own; without, entries come as they were written.
        `trailed`: what becomes of each entry is left in the trail of its log, if there are trails (HEADGATE_TRAIL).
        `quarantine`: that of the process, if it has other groups.
        """
        self.group = group
        self._settings = settings
        self._client = client
        self._logs = logs
        keys = [LeaseKeys(Keys.lease(key, group), Keys.lease_reader(key, group)) for key in logs]
        self._leases = Leases(client, keys, settings.keys.members(group), settings.lease_seconds, time.monotonic)
        self._leaving: dict[int, asyncio.Task[None]] = {}
        """Partitions that are being given up for another process."""
        settler = Settler(client, logs, group, appender)
        self._settler = settler
        self._lanes = Lanes(
            group,
            handler,
            key=key,
            settler=settler,
            appender=appender,
            keys=settings.keys,
            telemetry=telemetry,
            held=self._leases.holds,
            begins=self._works_on,
            max_attempts=settings.max_attempts,
            max_batch=max_batch,
            traced=traced,
            trailed=trailed and settings.trail > 0,
            quarantine=quarantine,
        )
        self._reader = readers(
            client,
            logs,
            group,
            lanes=self._lanes,
            settler=settler,
            owned=self.owned,
            note=self._leases.read_by,
            types=types,
            linger=linger,
        )
        self._stopping = asyncio.Event()
        self._paused = False
        self._tasks: list[asyncio.Task[None]] = []

    def owned(self) -> list[int]:
        """The partitions this process may read now."""
        if self._paused:
            return []
        return [p for p in self._leases.held() if p not in self._leaving]

    def held(self) -> list[int]:
        """The partitions that are this process's, also those that it reads nothing of now."""
        return self._leases.held()

    def pause(self, paused: bool) -> None:
        """Stop or resume reading; what is in flight is finished, leases are kept."""
        self._paused = paused
        self._reader.ownership_changed()

    def problem(self) -> str | None:
        """Why this group does not run here, or None. Owning no partition is no problem: another process has them."""
        for task in self._tasks:
            if task.done():
                return f"group {self.group}: {task.get_name()} ended"
        if problem := self._reader.problem():
            return f"group {self.group}: {problem}"
        return None

    async def start(self) -> None:
        """Create the group on every partition (at its beginning), then read."""
        await self._client.srem(self._settings.keys.removed_groups(), self.group)
        for key in self._logs:
            await ensure_group(self._client, key, self.group)
        await self._tend()
        self._tasks = [
            asyncio.create_task(self._keep_leases(), name="leases"),
            asyncio.create_task(self._reader.run(self._stopping), name="reader"),
        ]

    async def stop(self) -> None:
        """Stop reading, finish what is being handled within the drain time, give the leases back.

        What waits is pending in the group: the next owner begins with it.
        """
        self._stopping.set()
        self._lanes.close()
        self._lanes.ownership_changed()
        if not self._tasks:
            return
        leases, reader = self._tasks
        # It may be at something that it repeats until Redis answers.
        _, late = await asyncio.wait({reader}, timeout=TURN_S)
        await cancel(*late)
        left = await self._lanes.drain(self._settings.drain_seconds)
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._settler.flushed()
        except TimeoutError:
            # The log is away. What was handled comes again, and leads to entries with the same ids.
            log.warning("group.stopped_unacknowledged", group=self.group)
            await self._settler.abandon()
        await cancel(leases, *self._leaving.values())
        try:
            await self._leases.leave()
        except RedisError as error:
            log.warning("lease.not_given_back", group=self.group, error=type(error).__name__)
        if left:
            log.warning("group.stopped_with_pending", group=self.group, entries=left)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            try:
                await self._tend()
            # A defect, too, is tried past: leases that lapse are no lesser evil.
            except Exception as error:
                report = log.warning if isinstance(error, RedisError) else log.exception
                report("lease.failed", group=self.group, error=type(error).__name__)

    async def _tend(self) -> None:
        """Renew what is held, take what is free, give up what is more than this process's share."""
        before = set(self._leases.held())
        # Renewed first: to be renewed a lease needs its own server alone.
        self._reader.gained(await self._leases.renew())
        share = await self._leases.announce()
        kept = [p for p in self._leases.held() if p not in self._leaving]
        if len(kept) < share:
            await self._take(share - len(kept))
        for partition in kept[share:]:
            self._leaving[partition] = asyncio.create_task(self._give_up(partition), name="leaving")
        if set(self._leases.held()) != before or kept[share:]:
            self._reader.ownership_changed()
            self._lanes.ownership_changed()

    async def _take(self, number: int) -> None:
        """Take `number` partitions of those that nobody holds; ends what their last owners read with."""
        taken: list[int] = []
        last_readers: dict[str, int] = {}
        for partition in await self._leases.free():
            if len(taken) == number:
                break
            if (last := await self._leases.acquire(partition)) is not None:
                taken.append(partition)
                last_readers[last] = partition
        for reader, partition in last_readers.items():
            if reader and reader not in self._reader.identity.split(","):
                # Where the lease was taken just now: the connection to any other server can read nothing of it.
                await end(node_of(self._client, self._logs[partition]), reader)
        self._reader.gained(await self._leases.confirm(taken))

    async def _give_up(self, partition: int) -> None:
        """Read and begin nothing more of `partition`, finish what is being handled, then give its lease back."""
        try:
            async with asyncio.timeout(TURN_S + self._settings.drain_seconds):
                await self._reader.turned()
                await self._lanes.left(partition)
                await self._settler.flushed()
            await self._leases.release([partition])
        except (RedisError, TimeoutError) as error:
            # It stays ours or lapses, and its owner begins with what is pending: the lanes have dropped what they had.
            self._reader.gained([partition])
            log.warning("lease.not_given_up", group=self.group, partition=partition, error=type(error).__name__)
        finally:
            del self._leaving[partition]

    def _works_on(self, partition: int) -> bool:
        return self._leases.holds(partition) and partition not in self._leaving and not self._stopping.is_set()
