"""The connection that a group reads over, and how a later owner of a partition ends it.

A process that is paused keeps its leases in mind when it wakes, and what it then asks for is asked in the name of an
owner that it no longer is: entries that it reads as new would be missing from the new owner's order. So a new owner
ends the connection that the last one reads with, before it reads anything itself
(https://redis.io/docs/latest/commands/client-kill/). So does an owner that had to connect anew: what it asked for over
the connection before may be on its way still.
"""

from __future__ import annotations

import contextlib

import redis.asyncio as aioredis
import structlog
from redis.exceptions import ConnectionError, NoPermissionError, RedisError

from runtime.bus.cluster import node_of, settle

log = structlog.get_logger()


class ReadConnection:
    """One connection of its own to the server that has a key, never opened anew except by `open`."""

    def __init__(self, client: aioredis.Redis, key: str) -> None:
        self._servers = client
        self._key = key
        self._client: aioredis.Redis | None = None
        self.identity = ""
        """The server's run id and this connection's number there: `RUN_ID:CLIENT_ID`."""
        self._former = ""
        """The identity of the one before, which may have to be ended."""

    @property
    def client(self) -> aioredis.Redis:
        """A client over the connection; raises ConnectionError when it is not open."""
        if self._client is None:
            raise ConnectionError("the connection is not open")
        return self._client

    async def open(self) -> None:
        """Connect, unless the connection is open and to the server that has the key now; raises RedisError."""
        await settle(self._servers)
        pool = node_of(self._servers, self._key).connection_pool
        if self._client is not None and self._client.connection_pool is pool and _is_open(self._client):
            return
        await self.close()
        client = aioredis.Redis(connection_pool=pool, single_connection_client=True)
        # None of the pool's, which has enough to do without those that always wait for something to read.
        client.connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await client.connection.connect()
            number = await client.client_id()
            if self._former:
                await end(client, self._former)
                self._former = ""
            self.identity = f"{await run_id(client)}:{number}"
        except BaseException:
            await _disconnect(client)
            raise
        self._client = client

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        self._former, self.identity = self.identity or self._former, ""
        if client is not None:
            await _disconnect(client)


def _is_open(client: aioredis.Redis) -> bool:
    return client.connection is not None and client.connection.is_connected


async def _disconnect(client: aioredis.Redis) -> None:
    connection, client.connection = client.connection, None
    if connection is not None:
        with contextlib.suppress(RedisError):
            await connection.disconnect(nowait=True)


async def run_id(client: aioredis.Redis) -> str:
    """What tells this run of the server from all others; connections are counted anew in each."""
    info = await client.info("server")
    return str(info["run_id"])


async def end(client: aioredis.Redis, identity: str) -> None:
    """End the connection `identity`, if it belongs to this run of the server; raises RedisError."""
    run, _, number = identity.partition(":")
    if run != await run_id(client):
        return
    try:
        await client.client_kill_filter(_id=number)
    except NoPermissionError:
        # The sweep of a partition's own pending entries finds what a stale owner took; the order of a session may
        # suffer then.
        log.warning("lease.cannot_end_stale_reader", hint="allow +client|kill to the user of HEADGATE_REDIS_URL")
