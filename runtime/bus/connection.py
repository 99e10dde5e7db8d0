"""Connections to the Redis server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

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
from runtime.bus.cluster import REDIRECTED, masters, node_of, only_server, together
from runtime.settings import Settings, mask_url
from runtime.tasks import cancel
from schemas.errors import ConfigurationError, LogUnavailable
from schemas.keys import Keys

log = structlog.get_logger()

LOST = Counter("headgate_log_lost", "Times the log was found to be another one: the server lost its data.")

#: How often a service makes sure that the log still answers, in seconds.
PING_S = 1.0
#: A blocking read waits at most this long, so that a stopping service is never held up for more.
BLOCK_MS = 1000
#: What `durability` says first of a server that keeps nothing.
MEMORY_ONLY: Final = "memory only"
#: What XREAD and XREADGROUP answer without decoding: (key, [(id, fields)]) by stream.
Answer = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


def is_away(error: RedisError) -> bool:
    """Whether the server is away or cannot write now, so that the same command can succeed later."""
    away = (ConnectionError, TimeoutError, ReadOnlyError, OutOfMemoryError, ClusterDownError, *REDIRECTED)
    return isinstance(error, away) or str(error).startswith(("MISCONF", "NOREPLICAS"))


class LogConnection:
    """A client that is checked at start and closed at stop; a Component."""

    def __init__(
        self, client: aioredis.Redis, settings: Settings, lost: Callable[[Sequence[str]], None] = lambda places: None
    ) -> None:
        """`lost` is told the keys of the epochs that are others now: what was beside them is gone."""
        self._client = client
        self._lost = lost
        self._settings = settings
        self._answers = True
        self._answering: set[aioredis.Redis] = set()
        """While not all of a cluster answers: the masters that do."""
        self._epochs: dict[str, str] = {}
        self._watch: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why not everything can be appended or read now, or None."""
        if self._ended():
            return "log-watch ended"
        return None if self._answers else "the log does not answer"

    def problem_at(self, key: str) -> str | None:
        """Why the server that has `key` cannot be used now, or None: of a cluster others may be away."""
        problem = self.problem()
        if self._answers or self._ended():
            return problem
        try:
            return None if node_of(self._client, key) in self._answering else problem
        except ClusterDownError:
            return problem

    def _ended(self) -> bool:
        """Whether nobody knows any more if the log answers."""
        return self._watch is not None and self._watch.done()

    async def start(self) -> None:
        """Raises LogUnavailable or ConfigurationError."""
        self._epochs = await check_server(self._client, self._settings)
        epoch = self._epochs[self._settings.keys.meta()]
        durable = await durability(self._client)
        report = log.warning if durable.startswith(MEMORY_ONLY) else log.info
        report("log.connected", durable=durable, epoch=epoch)
        self._watch = asyncio.create_task(self._look(), name="log-watch")

    async def stop(self) -> None:
        """Close the connections."""
        await cancel(self._watch)
        await self._client.aclose()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            try:
                now = await epochs(self._client, self._settings)
            except Exception as error:
                # Whatever failed, it is no answer. Without the watch nobody would see that there is one again.
                if not isinstance(error, RedisError):
                    log.exception("log.look_failed")
                self._answering = await self._who_answers()
                if self._answers:
                    log.error("log.away", error=type(error).__name__)
                self._answers = False
                continue
            self._answers = True
            self._compare(now)

    def _compare(self, now: dict[str, str]) -> None:
        """See whether the log is another one than before, and tell of it."""
        # What was no place before is none that was lost: one server became several.
        before, self._epochs = self._epochs, now
        if lost := [place for place, epoch in now.items() if epoch != before.get(place, epoch)]:
            # Groups are made anew by those who read them, topics by the router, with epochs of their own.
            LOST.inc()
            log.critical(
                "log.lost",
                was=before[lost[0]],
                now=now[lost[0]],
                told_by=lost,
                hint="the server lost its data: what it had acknowledged is only in the archive now",
            )
            try:
                self._lost(lost)
            except Exception:  # A defect of whoever is told must not end the watch.
                log.exception("log.loss_not_told")

    async def _who_answers(self) -> set[aioredis.Redis]:
        """The masters of a cluster that answer; the only server has just been asked."""
        try:
            servers = [] if only_server(self._client) is not None else await masters(self._client)
        except Exception:  # As in `_look`, where what failed first is said.
            return set()
        answers = await asyncio.gather(*(server.ping() for server in servers), return_exceptions=True)
        return {server for server, answer in zip(servers, answers, strict=True) if answer is True}


async def epochs(client: aioredis.Redis, settings: Settings) -> dict[str, str]:
    """The epoch of the log, given with the number of partitions at the first start; it changes when the log is lost.

    Where servers can lose their parts without each other, each partition has one besides. By their keys. Raises
    RedisError.
    """
    keys, fresh = settings.keys, secrets.token_hex(4)
    pipeline = client.pipeline(transaction=True)
    pipeline.hsetnx(keys.meta(), "partitions", str(settings.partitions))
    pipeline.hsetnx(keys.meta(), "epoch", fresh)
    pipeline.hget(keys.meta(), "epoch")
    found = {keys.meta(): (await pipeline.execute())[-1]}
    logs = [log(partition) for log in (keys.inbound, keys.outbound) for partition in range(settings.partitions)]
    if len(together(client, logs)) > 1:
        places = [Keys.epoch(log) for log in logs]
        pipeline = client.pipeline(transaction=False)
        for place in places:
            pipeline.set(place, fresh, nx=True)
            pipeline.get(place)
        found |= zip(places, (await pipeline.execute())[1::2], strict=True)
    return {place: epoch.decode() for place, epoch in found.items()}


async def check_server(client: aioredis.Redis, settings: Settings) -> dict[str, str]:
    """Fix the number of partitions at the first start and refuse what would lose entries later; gives the log's epochs.

    Raises LogUnavailable when a server does not answer and ConfigurationError when one evicts keys or when the log was
    made with another number of partitions.
    """
    try:
        found = await epochs(client, settings)
        fixed = int(await client.hget(settings.keys.meta(), "partitions") or 0)
        servers = await masters(client)
        policies = [await _config(server, "maxmemory-policy") for server in servers]
        if (assurance := Assurance.of(settings.ack)) is not None:
            for server in servers:
                await assurance.check_server(server)
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
    if evicting := set(policies) - {"", "noeviction"}:
        raise ConfigurationError(
            f"Redis evicts keys (maxmemory-policy {', '.join(sorted(evicting))}) and would drop parts of the log: "
            "set it to noeviction"
        )
    return found


async def durability(client: aioredis.Redis) -> str:
    """What the servers keep of a confirmed append when their power fails, as words for the log at start."""
    try:
        servers = await masters(client)
        if any([await _config(server, "appendonly") != "yes" for server in servers]):
            return f"{MEMORY_ONLY}: a restart of Redis loses the log (set appendonly yes, appendfsync always)"
        synced = {await _config(server, "appendfsync") for server in servers}
        if "no" in synced:
            return "disk when the system writes it: a power cut can lose half a minute (set appendfsync always)"
        if synced != {"always"}:
            return "disk within about a second: a power cut can lose acknowledged messages (set appendfsync always)"
    except RedisError as error:
        return f"unknown ({type(error).__name__})"
    return "disk before every acknowledgement"


async def _config(server: aioredis.Redis, name: str) -> str:
    """One value of CONFIG GET, empty where the server does not tell (managed servers hide it)."""
    try:
        return str((await server.config_get(name)).get(name, ""))
    except ResponseError:
        return ""
