"""A consumer group of this process: leases, a reader, lanes, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from runtime.bus.appender import Appender
from runtime.bus.lanes import Handler, Lanes
from runtime.bus.outcomes import Received
from runtime.bus.reader import Reader, ensure_group
from runtime.bus.settle import Settler
from runtime.leases import Leases
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import Telemetry
from schemas.keys import Keys

log = structlog.get_logger()


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
    ) -> None:
        """`types`: what `handler` handles; other entries are acknowledged unread. None: all.

        `linger`: seconds between reads, for a group that gains more from batches than from haste.
        `traced`: handling a sampled entry is a span of its own; without, entries come as they were written.
        """
        self.group = group
        self._settings = settings
        self._client = client
        self._logs = logs
        self._leases = Leases(client, settings.lease_seconds, time.monotonic)
        self._lease_keys = [Keys.lease(key, group) for key in logs]
        settler = Settler(client, logs, group)
        self._settler = settler
        self._lanes = Lanes(
            group,
            handler,
            key=key,
            settler=settler,
            appender=appender,
            keys=settings.keys,
            telemetry=telemetry,
            max_attempts=settings.max_attempts,
            max_batch=max_batch,
            traced=traced,
        )
        self._reader = Reader(
            client, logs, group, lanes=self._lanes, settler=settler, owned=self.owned, types=types, linger=linger
        )
        self._stopping = asyncio.Event()
        self._paused = False
        self._tasks: list[asyncio.Task[None]] = []

    def owned(self) -> list[int]:
        """The partitions this process may read now."""
        if self._paused:
            return []
        return [p for p, key in enumerate(self._lease_keys) if self._leases.holds(key)]

    def pause(self, paused: bool) -> None:
        """Stop or resume reading; what is in flight is finished, leases are kept."""
        self._paused = paused
        self._reader.ownership_changed()

    def problem(self) -> str | None:
        """Why this group does not run here, or None. Owning no partition is no problem: another process has them."""
        for task in self._tasks:
            if task.done():
                return f"group {self.group}: {task.get_name()} ended"
        return None

    async def start(self) -> None:
        """Create the group on every partition (at its beginning), then read."""
        for key in self._logs:
            await ensure_group(self._client, key, self.group)
        await self._tend()
        self._tasks = [
            asyncio.create_task(self._keep_leases(), name="leases"),
            asyncio.create_task(self._reader.run(self._stopping), name="reader"),
        ]

    async def stop(self) -> None:
        """Stop reading, finish what is in flight within the drain time, give the leases back."""
        self._stopping.set()
        self._lanes.close()
        if not self._tasks:
            return
        leases, reader = self._tasks
        await asyncio.gather(reader, return_exceptions=True)
        left = await self._lanes.drain(self._settings.drain_seconds)
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._settler.flushed()
        except TimeoutError:
            # The log is away. What was handled comes again, and leads to entries with the same ids.
            log.warning("group.stopped_unacknowledged", group=self.group)
        await cancel(leases)
        for key in self._lease_keys:
            await self._leases.release(key)
        if left:
            log.warning("group.stopped_with_pending", group=self.group, entries=left)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            try:
                await self._tend()
            except RedisError as error:
                log.warning("lease.failed", group=self.group, error=type(error).__name__)

    async def _tend(self) -> None:
        """Renew what is held, take what is free."""
        before = set(self._leases.held())
        await self._leases.renew()
        for key in self._lease_keys:
            if not self._leases.holds(key):
                await self._leases.acquire(key)
        if set(self._leases.held()) != before:
            self._reader.ownership_changed()
