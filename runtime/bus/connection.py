"""Connections to the Redis server."""

from __future__ import annotations

import asyncio

import redis.asyncio as aioredis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from runtime.settings import Settings, mask_url
from runtime.tasks import cancel
from schemas.errors import ConfigurationError, LogUnavailable

log = structlog.get_logger()

#: How often a service makes sure that the log still answers, in seconds.
PING_S = 1.0
#: A blocking read waits at most this long, so that a stopping service is never held up for more.
BLOCK_MS = 1000
#: What XREAD and XREADGROUP answer without decoding: (key, [(id, fields)]) by stream.
Answer = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]
#: No answer for this long means that the server is gone; above BLOCK_MS.
SOCKET_TIMEOUT_S = 5.0


def connect(settings: Settings, *, max_connections: int = 64) -> aioredis.Redis:
    """A client that never re-sends a command by itself.

    redis-py's default retry appends an entry twice when only the reply was lost, and strands what a repeated
    XREADGROUP delivered the first time; whoever repeats here knows what it repeats. When all connections are in use
    the next command waits for one: with the plain pool a burst of lanes would fail, and leases with it.
    """
    pool = aioredis.BlockingConnectionPool.from_url(
        settings.redis_url,
        retry=Retry(NoBackoff(), 0),
        timeout=SOCKET_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        max_connections=max_connections,
        client_name="headgate",
    )
    return aioredis.Redis.from_pool(pool)


def is_away(error: RedisError) -> bool:
    """Whether the server is away or cannot write now, so that the same command can succeed later."""
    away = (ConnectionError, TimeoutError, ReadOnlyError, OutOfMemoryError, ClusterDownError)
    return isinstance(error, away) or str(error).startswith(("MISCONF", "NOREPLICAS"))


class LogConnection:
    """A client that is checked at start and closed at stop; a Component."""

    def __init__(self, client: aioredis.Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._answers = True
        self._watch: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why nothing can be appended or read now, or None."""
        return None if self._answers else "the log does not answer"

    async def start(self) -> None:
        """Raises LogUnavailable or ConfigurationError."""
        await check_server(self._client, self._settings)
        log.info("log.connected", durable=await durability(self._client))
        self._watch = asyncio.create_task(self._ping(), name="log-watch")

    async def stop(self) -> None:
        """Close the connections."""
        await cancel(self._watch)
        await self._client.aclose()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            try:
                await self._client.ping()
                self._answers = True
            except RedisError as error:
                if self._answers:
                    log.error("log.away", error=type(error).__name__)
                self._answers = False


async def check_server(client: aioredis.Redis, settings: Settings) -> None:
    """Fix the number of partitions at the first start and refuse what would lose entries later.

    Raises LogUnavailable when the server does not answer and ConfigurationError when it evicts keys or when the
    log was made with another number of partitions.
    """
    try:
        meta = settings.keys.meta()
        await client.hsetnx(meta, "partitions", str(settings.partitions))
        fixed = int(await client.hget(meta, "partitions") or 0)
        policy = await _config(client, "maxmemory-policy")
    except RedisError as error:
        raise LogUnavailable(
            f"no answer from the log at {mask_url(settings.redis_url)} ({type(error).__name__}): "
            "is Redis running, and is HEADGATE_REDIS_URL right?"
        ) from error
    if fixed != settings.partitions:
        raise ConfigurationError(
            f"the log was made with {fixed} partitions and HEADGATE_PARTITIONS says {settings.partitions}: "
            "every service needs the number of the first start"
        )
    if policy not in ("", "noeviction"):
        raise ConfigurationError(
            f"Redis evicts keys (maxmemory-policy {policy}) and would drop parts of the log: set it to noeviction"
        )


async def durability(client: aioredis.Redis) -> str:
    """What the server keeps of a confirmed append when its power fails, as words for the log at start."""
    try:
        if await _config(client, "appendonly") != "yes":
            return "memory only: a restart of Redis loses the log (set appendonly yes, appendfsync always)"
        if await _config(client, "appendfsync") != "always":
            return "disk within about a second: a power cut can lose acknowledged messages (set appendfsync always)"
    except RedisError as error:
        return f"unknown ({type(error).__name__})"
    return "disk before every acknowledgement"


async def _config(client: aioredis.Redis, name: str) -> str:
    """One value of CONFIG GET, empty where the server does not tell (managed servers hide it)."""
    try:
        return str((await client.config_get(name)).get(name, ""))
    except ResponseError:
        return ""
