"""A master, its replica and a Sentinel that fails over within about a second, as real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis

from tests.support.redis_server import RedisServer, redis_sentinel, redis_server
from tests.support.waiting import eventually

NAME: Final = "log"


@dataclass(frozen=True, slots=True)
class Watched:
    """A pair of servers of which one is the master."""

    servers: tuple[RedisServer, RedisServer]
    sentinel: RedisServer

    @property
    def url(self) -> str:
        """For HEADGATE_REDIS_URL."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{NAME}/0"

    async def master(self) -> RedisServer:
        """The master, as the Sentinel has it."""
        async with aioredis.Redis(port=self.sentinel.port) as client:
            state: Any = await client.sentinel_master(NAME)
        return next(server for server in self.servers if server.port == state["port"])

    async def fail_over(self, number: signal.Signals) -> RedisServer:
        """Send a signal to the master and wait until the other one is; gives the former master."""
        before = await self.master()
        os.kill(before.pid, number)

        async def moved() -> bool:
            return await self.master() is not before

        await eventually(moved, 30)
        return before


@asynccontextmanager
async def watched_pair() -> AsyncIterator[Watched]:
    """A pair in sync, until the block ends."""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(redis_server())
        replica = await stack.enter_async_context(redis_server(replicaof=f"127.0.0.1 {master.port}"))
        sentinel = await stack.enter_async_context(redis_sentinel(NAME, master.port))
        pair = Watched((master, replica), sentinel)

        async def ready() -> bool:
            async with aioredis.Redis(port=sentinel.port) as client:
                state: Any = await client.sentinel_master(NAME)
            async with aioredis.Redis(port=master.port) as client:
                info: Any = await client.info("replication")
            in_sync = info["connected_slaves"] == 1 and info["slave0"]["state"] == "online"
            return bool(in_sync and state["num-slaves"] == 1)

        await eventually(ready, 30)
        yield pair
