"""The bridge from Redis pub/sub, for applications of the older contract, which publish there.

`PUBLISH channel:NAME JSON` and `PUBLISH session:ID JSON` become what the HTTP API makes of a broadcast and of a message
to a session. Nothing says who published, and what is published while nobody listens is gone: Redis keeps none of it.
Every egress process listens and one writes, whoever holds a lease, so that each publication is in the log once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import ConnectionError, RedisError

from egress.api.bodies import MAX_BODY
from egress.api.publications import Publication, publication_of
from egress.api.publisher import Outcome, Publisher, SessionUnknown
from egress.api.requests import MAX_BATCH, Broadcast, SendToSession
from runtime.bus.cluster import masters
from runtime.leases import LeaseKeys, Leases
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.errors import LogUnavailable

log = structlog.get_logger()

MESSAGES: Final = Counter(
    "headgate_bridge_messages", "Redis publications that were bridged or not, by result.", ["result"]
)

PATTERNS: Final = ("channel:*", "session:*")
#: What may wait to be written, in bytes; publications beyond it are dropped.
MAX_HELD: Final = 16 * 1024 * 1024
#: What each of them counts besides its bytes.
OVERHEAD: Final = 256
#: A connection that says nothing for this long is asked whether it lives, and given up when it does not say (seconds).
QUIET_S: Final = 2.0
RETRY_S: Final = 0.5
_GROUP: Final = "bridge"


class Bridge:
    """Takes what is published in Redis into the log; a Component."""

    def __init__(
        self,
        settings: Settings,
        client: aioredis.Redis,
        publisher: Publisher,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monotonic` gives seconds."""
        keys, beside = settings.keys, settings.keys.outbound(0)
        self._client = client
        self._publisher = publisher
        self._lease_seconds, self._drain = settings.lease_seconds, settings.drain_seconds
        lease = LeaseKeys(keys.lease(beside, _GROUP), keys.lease_reader(beside, _GROUP))
        self._leases = Leases(client, [lease], keys.members(_GROUP), settings.lease_seconds, monotonic)
        self._queue: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self._held = 0
        self._listens = False
        self._tasks: list[asyncio.Task[None]] = []

    def problem(self) -> str | None:
        """Why nothing is bridged any more, or None."""
        return "the pub/sub bridge ended" if any(task.done() for task in self._tasks) else None

    def warning(self) -> str | None:
        """Why nothing is bridged now, or None."""
        return None if self._listens else "the pub/sub bridge is not subscribed: publications are lost"

    async def start(self) -> None:
        """Begin to listen."""
        await self._look()
        loops = {"listen": self._listen, "write": self._write, "lease": self._keep}
        self._tasks = [asyncio.create_task(run(), name=f"bridge-{name}") for name, run in loops.items()]

    async def stop(self) -> None:
        """Listen no more, write what was heard, and let another process go on."""
        if not self._tasks:
            return
        listening, writing, keeping = self._tasks
        self._tasks = []
        await cancel(listening)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain):
                await self._queue.join()
        await cancel(writing, keeping)
        with contextlib.suppress(RedisError):  # It lapses by itself.
            await self._leases.release([0])

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            await self._look()

    async def _look(self) -> None:
        """Renew the lease, or take it if nobody has it."""
        try:
            await self._leases.renew()
            if not self._leases.holds(0) and await self._leases.acquire(0) is not None:
                await self._leases.confirm([0])
        except RedisError as error:
            log.warning("bridge.lease_failed", error=type(error).__name__)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except RedisError as error:
                log.warning("bridge.not_subscribed", error=type(error).__name__)
            finally:
                self._listens = False
            await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        """Take publications until the connection ends; raises RedisError."""
        server = (await masters(self._client))[0]  # A cluster tells all of its nodes.
        async with server.pubsub() as pubsub:
            await pubsub.psubscribe(*PATTERNS)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=QUIET_S)
                if message is None and asked:
                    raise ConnectionError("no answer to a ping")
                asked = message is None
                if message is None:
                    await pubsub.ping()
                elif message["type"] == "psubscribe":
                    self._listens = True
                elif message["type"] == "pmessage" and self._leases.holds(0):
                    self._take(message["channel"], message["data"])

    def _take(self, name: bytes, data: bytes) -> None:
        size = len(name) + len(data) + OVERHEAD
        if len(data) > MAX_BODY:
            MESSAGES.labels("too_long").inc()
        elif self._held + size > MAX_HELD:
            MESSAGES.labels("queue_full").inc()
        else:
            self._held += size
            self._queue.put_nowait((name, data))

    async def _write(self) -> None:
        while True:
            taken = [await self._queue.get()]
            while len(taken) < MAX_BATCH and not self._queue.empty():
                taken.append(self._queue.get_nowait())
            read = [_read(name, data) for name, data in taken]
            await self._publish([one for one in read if one is not None])
            for name, data in taken:
                self._held -= len(name) + len(data) + OVERHEAD
                self._queue.task_done()

    async def _publish(self, publications: Sequence[Publication]) -> None:
        if not publications:
            return
        try:
            outcomes = await self._publisher.publish(publications, name="bridge")
        except RedisError as error:
            outcomes = [LogUnavailable(type(error).__name__)] * len(publications)
        for outcome in outcomes:
            MESSAGES.labels(_result(outcome)).inc()
        if lost := sum(isinstance(outcome, LogUnavailable) for outcome in outcomes):
            log.error("bridge.lost", publications=lost, hint="the log was away, and Redis keeps no publications")


def _read(name: bytes, data: bytes) -> Publication | None:
    """What was published as `name`; None, counted and logged, when it is not what a client can be told."""
    try:
        kind, _, rest = name.decode().partition(":")
        message: Any = orjson.loads(data)
        if kind == "channel":
            return publication_of(Broadcast(channel=rest, message=message))
        return publication_of(SendToSession(session_id=rest, message=message))
    except ValueError as error:
        MESSAGES.labels("invalid").inc()
        log.warning("bridge.invalid", name=ascii(name[:100]), error=type(error).__name__)
        return None


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, str):
        return "published"
    return "session_unknown" if isinstance(outcome, SessionUnknown) else "log_away"
