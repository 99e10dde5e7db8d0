"""A Redis Cluster of three masters with a replica each, as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from runtime.bus.slots import slot_of
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

MASTERS: Final = 3
#: Of the first, the second and the third master.
RANGES: Final = ((0, 5460), (5461, 10922), (10923, 16383))
#: A master that is silent for this long is replaced (ms).
NODE_TIMEOUT_MS: Final = 4000


class RedisCluster:
    """Six servers of which three are masters."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self._all = [aioredis.Redis(port=server.port) for server in servers]
        self._away: RedisServer | None = None

    @property
    def url(self) -> str:
        """For HEADGATE_REDIS_URL: two masters and a replica, from which the rest is found."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{self.servers[i].port}" for i in (0, 1, 5))

    @property
    def _clients(self) -> list[aioredis.Redis]:
        """Of the servers that can answer."""
        return [client for server, client in zip(self.servers, self._all, strict=True) if server is not self._away]

    async def create(self) -> None:
        """Make one cluster of the servers."""
        first = self.servers[0]
        for number, client in enumerate(self._all):
            await self._ask(client, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < MASTERS:
                await self._ask(client, "CLUSTER ADDSLOTSRANGE", *RANGES[number])
            if number:
                await self._ask(client, "CLUSTER MEET", "127.0.0.1", first.port, first.bus_port)
        await eventually(self._all_met, 30)
        for number in range(MASTERS):
            master = await self._id(self._all[number])
            await self._ask(self._all[MASTERS + number], "CLUSTER REPLICATE", master)
        await eventually(self.healthy, 30)

    async def close(self) -> None:
        """Close what a test looks with."""
        for client in self._all:
            await client.aclose()

    async def healthy(self) -> bool:
        """Whether every slot is served, all agree on it, and each master has its replica in sync."""
        for client in self._all:
            if (await client.cluster("INFO"))["cluster_state"] != "ok":
                return False
            masters = {master[2] for _, _, master, *_ in await self._ask(client, "CLUSTER", "SLOTS")}
            if len(masters) != MASTERS:
                return False
            info: Any = await client.info("replication")
            if info["role"] == "master" and info["connected_slaves"] and info["slave0"]["state"] != "online":
                return False
            if info["role"] == "slave" and info["master_link_status"] != "up":
                return False
        return True

    async def master_of(self, key: str) -> RedisServer:
        """The master that has `key`, as most servers have it."""
        slot, said = slot_of(key), Counter[int]()
        for client in self._clients:
            ranges = await self._ask(client, "CLUSTER", "SLOTS")
            said.update(master[1] for first, last, master, *_ in ranges if first <= slot <= last)
        port, _ = said.most_common(1)[0]
        return next(server for server in self.servers if server.port == port)

    async def pair_of(self, key: str) -> list[RedisServer]:
        """The replicas of the master that has `key`, and then that one."""
        master = await self.master_of(key)
        told = [await client.info("replication") for client in self._clients]
        return [
            *(s for s, one in zip(self.servers, told, strict=True) if one.get("master_port") == master.port),
            master,
        ]

    async def fail_over(self, key: str, number: signal.Signals = signal.SIGKILL) -> RedisServer:
        """Send a signal to the master of `key` and wait until its replica has taken over; gives the former master."""
        before = await self.master_of(key)
        if number == signal.SIGKILL:
            await before.kill()
        else:
            os.kill(before.pid, number)
        self._away = before

        async def moved() -> bool:
            return await self.master_of(key) is not before

        await eventually(moved, 30)
        return before

    async def come_back(self, former: RedisServer, number: signal.Signals) -> None:
        """Let a former master that was sent `number` go on, and wait until it is a replica in sync."""
        if number == signal.SIGKILL:
            await former.start()
        else:
            os.kill(former.pid, signal.SIGCONT)
        self._away = None
        await eventually(self.healthy, 30)

    async def move(self, key: str, *, pause: float = 0.0) -> None:
        """Move the slot of `key` to another master as redis-cli does; `pause`: seconds between keys."""
        slot, source = slot_of(key), self._client(await self.master_of(key))
        masters = [client for client in self._clients if (await client.info("replication"))["role"] == "master"]
        target = next(client for client in masters if client is not source)
        source_id, target_id = await self._id(source), await self._id(target)
        port = target.connection_pool.connection_kwargs["port"]
        await self._ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        await self._ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        while keys := await self._ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 1):
            await self._ask(source, "MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
            await asyncio.sleep(pause)
        for client in (target, source, *masters):
            await self._ask(client, "CLUSTER SETSLOT", slot, "NODE", target_id)

    async def errors(self) -> Counter[str]:
        """How often the servers answered with which kind of error since they were made."""
        found: Counter[str] = Counter()
        for client in self._clients:
            info: Any = await client.info("errorstats")
            found.update({name.removeprefix("errorstat_"): one["count"] for name, one in info.items()})
        return found

    @staticmethod
    async def _ask(client: aioredis.Redis, *command: str | int | bytes) -> Any:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    def _client(self, server: RedisServer) -> aioredis.Redis:
        return self._all[self.servers.index(server)]

    async def _id(self, client: aioredis.Redis) -> str:
        raw: bytes = await self._ask(client, "CLUSTER MYID")
        return raw.decode()

    async def _all_met(self) -> bool:
        for client in self._clients:
            try:
                info: Any = await client.cluster("INFO")
            except ResponseError:
                return False
            if int(info["cluster_known_nodes"]) != len(self.servers) or info["cluster_state"] != "ok":
                return False
        return True


@asynccontextmanager
async def redis_cluster() -> AsyncIterator[RedisCluster]:
    """A healthy cluster until the block ends."""
    async with AsyncExitStack() as stack:
        servers = await asyncio.gather(
            *(
                stack.enter_async_context(
                    redis_server(
                        cluster_enabled="yes",
                        cluster_port=free_port(),
                        cluster_node_timeout=NODE_TIMEOUT_MS,
                        repl_diskless_sync_delay=0,
                        # One master that is away stops nobody else.
                        cluster_require_full_coverage="no",
                    )
                )
                for _ in range(2 * MASTERS)
            )
        )
        cluster = RedisCluster(list(servers))
        stack.push_async_callback(cluster.close)
        await cluster.create()
        yield cluster
