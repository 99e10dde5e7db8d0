"""Connections to the Redis server."""

from __future__ import annotations

import asyncio
import secrets

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from runtime.bus.assurance import Assurance
from runtime.settings import Settings, mask_url
from runtime.tasks import cancel
from schemas.errors import ConfigurationError, LogUnavailable

log = structlog.get_logger()

LOST = Counter("headgate_log_lost", "Times the log was found to be another one: the server lost its data.")

#: How often a service makes sure that the log still answers, in seconds.
PING_S = 1.0
#: A blocking read waits at most this long, so that a stopping service is never held up for more.
BLOCK_MS = 1000
#: What XREAD and XREADGROUP answer without decoding: (key, [(id, fields)]) by stream.
Answer = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


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
        self._epoch = ""
        self._watch: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why nothing can be appended or read now, or None."""
        return None if self._answers else "the log does not answer"

    async def start(self) -> None:
        """Raises LogUnavailable or ConfigurationError."""
        self._epoch = await check_server(self._client, self._settings)
        log.info("log.connected", durable=await durability(self._client), epoch=self._epoch)
        self._watch = asyncio.create_task(self._look(), name="log-watch")

    async def stop(self) -> None:
        """Close the connections."""
        await cancel(self._watch)
        await self._client.aclose()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            try:
                epoch = await fix(self._client, self._settings)
                self._answers = True
            except RedisError as error:
                if self._answers:
                    log.error("log.away", error=type(error).__name__)
                self._answers = False
                continue
            if epoch != self._epoch:
                # Groups are made anew by those who read them, topics by the router, with epochs of their own.
                LOST.inc()
                log.critical(
                    "log.lost",
                    was=self._epoch,
                    now=epoch,
                    hint="the server lost its data: what it had acknowledged is only in the archive now",
                )
                self._epoch = epoch


async def fix(client: aioredis.Redis, settings: Settings) -> str:
    """The epoch of the log, which is given with the number of partitions at the first start, and changes with the log.

    Raises RedisError.
    """
    meta = settings.keys.meta()
    pipeline = client.pipeline(transaction=True)
    pipeline.hsetnx(meta, "partitions", str(settings.partitions))
    pipeline.hsetnx(meta, "epoch", secrets.token_hex(4))
    pipeline.hget(meta, "epoch")
    epoch: bytes = (await pipeline.execute())[-1]
    return epoch.decode()


async def check_server(client: aioredis.Redis, settings: Settings) -> str:
    """Fix the number of partitions at the first start and refuse what would lose entries later; gives the log's epoch.

    Raises LogUnavailable when the server does not answer and ConfigurationError when it evicts keys or when the
    log was made with another number of partitions.
    """
    try:
        epoch = await fix(client, settings)
        fixed = int(await client.hget(settings.keys.meta(), "partitions") or 0)
        policy = await _config(client, "maxmemory-policy")
        if (assurance := Assurance.of(settings.ack)) is not None:
            await assurance.check_server(client)
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
    return epoch


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
