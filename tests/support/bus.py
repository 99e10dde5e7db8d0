"""The bus of one process, for tests: a client, an appender, and groups that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import redis.asyncio as aioredis

from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.group import ConsumerGroup
from runtime.bus.lanes import Handler, one_by_one
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.quarantine import Quarantine
from runtime.bus.servers import connect, nodes_of, sentinels_of
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import MessageReceived


def observer(settings: Settings) -> aioredis.Redis:
    """A client that tries again."""
    if sentinels_of(settings.redis_url) or nodes_of(settings.redis_url):
        return connect(settings)
    return aioredis.Redis.from_url(settings.redis_url)


def bus_settings(url: str, ack: str = "appended", prefix: str = "hg:") -> Settings:
    """Settings under which leases and attempts end soon."""
    return Settings(
        redis_url=url,
        ack=ack,
        prefix=prefix,
        partitions=4,
        lease_seconds=1.0,
        max_attempts=3,
        drain_seconds=2,
        _env_file=None,
    )


class Bus:
    """A client, an appender and groups that end with the test."""

    def __init__(self, settings: Settings, max_batch: int = 500) -> None:
        self.settings = settings
        self.keys = settings.keys
        self.logs = [self.keys.inbound(p) for p in range(settings.partitions)]
        self.client: aioredis.Redis = connect(settings)
        # What a test looks with may try again after a restart of the server; what it tests may not.
        self.observer: aioredis.Redis = observer(settings)
        self.appender = Appender(self.client, assurance=Assurance.of(settings.ack), max_batch=max_batch)
        self.groups: list[ConsumerGroup] = []

    async def write(self, session: str, n: int) -> None:
        """Append the `n`-th entry of a session; raises LogUnavailable."""
        entry = Entry.of(MessageReceived(frame={"n": n}), id=f"{session}-{n}", ts=n, session=session)
        await self.appender.append(self.keys.inbound_of(session), entry)

    async def writes(self, session: str, n: int) -> bool:
        """Whether an entry could be written: while the server is away it cannot."""
        try:
            await self.write(session, n)
        except LogUnavailable:
            return False
        return True

    async def group(self, handle: Callable[[Received], Awaitable[Outcome]], name: str = "g") -> ConsumerGroup:
        """A running group over all partitions."""
        return await self.batches(one_by_one(handle), 1, name)

    async def batches(
        self, handler: Handler, max_batch: int, name: str = "g", quarantine: Quarantine | None = None
    ) -> ConsumerGroup:
        """A running group whose lanes are sessions, and whose handler is given up to `max_batch` entries of one."""
        group = ConsumerGroup(
            self.settings,
            self.client,
            self.appender,
            Telemetry(None, "test"),
            logs=self.logs,
            group=name,
            handler=handler,
            max_batch=max_batch,
            quarantine=quarantine,
        )
        self.groups.append(group)
        await group.start()
        return group

    async def stored(self, key: str, start: bytes | str = "-") -> list[tuple[bytes, dict[bytes, bytes]]]:
        """What a stream holds."""
        return cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.observer.xrange(key, start))

    async def backlog(self, name: str = "g") -> int:
        """Entries that the group has not acknowledged: pending, or never delivered."""
        count = 0
        for log in self.logs:
            for group in await self.observer.xinfo_groups(log):
                if group["name"] == name.encode():
                    count += group["pending"] + len(await self.stored(log, b"(" + group["last-delivered-id"]))
        return count


@asynccontextmanager
async def running_bus(settings: Settings, *, max_batch: int = 500) -> AsyncIterator[Bus]:
    """A bus until the block ends; `max_batch`: entries that leave in one write."""
    made = Bus(settings, max_batch)
    await made.appender.start()
    try:
        yield made
    finally:
        for group in made.groups:
            await group.stop()
        await made.appender.stop()
        await made.observer.aclose()
        await made.client.aclose()
