"""Writing to one server: one connection, one write outstanding."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter, Gauge, Histogram
from redis.exceptions import AskError, RedisError, ResponseError

from runtime.bus.assurance import Assurance
from runtime.bus.cluster import LOOK_S, MOVING_S
from runtime.bus.servers import SOCKET_TIMEOUT_S
from schemas.errors import LogUnavailable

log = structlog.get_logger()

APPENDED = Counter("headgate_appended", "Entries confirmed by Redis.")
APPEND_FAILED = Counter("headgate_append_failed", "Entries that Redis did not confirm; nothing was acknowledged.")
APPEND_QUEUE = Gauge("headgate_append_queue", "Entries waiting for the next write to Redis.")
APPEND_BATCH = Histogram("headgate_append_batch", "Entries per write.", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500))

Done = Callable[[str | LogUnavailable], None]
"""Told what became of an append: its stream id, or why it was not confirmed (it may have happened all the same)."""

#: Writes in a row of which something was sent elsewhere, until that has failed.
_REDIRECTIONS: Final = int(MOVING_S / LOOK_S)


Queued = tuple[bytes, Done, str]
"""An append that waits: its command, who is told, its stream."""


class Writer:
    """What is queued for one server. What its `run` writes is in the order of `queue`."""

    def __init__(
        self,
        server: aioredis.Redis,
        *,
        assurance: Assurance | None,
        question: bytes,
        max_batch: int,
        failed: Callable[[Writer], Awaitable[None]],
        elsewhere: Callable[[Writer, list[Queued]], list[Queued]],
    ) -> None:
        """`question`: the command of `assurance`, packed.

        `failed` is called when all there was has failed. `elsewhere` is given what is queued for streams that the
        server does not have, and gives back what is to be tried here once more.
        """
        self._pool = server.connection_pool
        self._assurance = assurance
        self._question = question
        self._max_batch = max_batch
        self._failed = failed
        self._elsewhere = elsewhere
        self.queue: list[Queued] = []
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        """Nothing is queued or outstanding."""
        self.idle.set()
        self._connection: aioredis.Connection | None = None
        self._redirections = 0
        self._reported = 0

    def put(self, item: Queued) -> None:
        """Queue an append."""
        self.queue.append(item)
        self.idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Write what is queued, for ever."""
        delay = 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.queue:
                batch = self.queue[: self._max_batch]
                del self.queue[: len(batch)]
                self._report()
                try:
                    await self._write(batch)
                    if batch:
                        await self._redirect(batch)
                    else:
                        self._redirections = 0
                    delay = 0.0
                # Nobody waits for this task: if a defect, be it the client's, ended it, nothing would be appended any
                # more, and nobody told.
                except Exception as error:
                    if not isinstance(error, RedisError | OSError | TimeoutError):
                        log.exception("append.broken")
                    await self._fail(batch, error)
                    await asyncio.sleep(delay)
                    delay = min(max(0.05, delay * 2), 2.0)
            self.idle.set()

    async def _fail(self, batch: list[Queued], error: Exception) -> None:
        """Later entries must not overtake those whose fate is unknown: all of them fail together."""
        undecided, self.queue = [*batch, *self.queue], []
        for _, done, _ in undecided:
            tell(done, unconfirmed(error))
        try:
            await self.disconnect()
            await self._failed(self)
        except Exception:  # As above: the next write finds out what is left of it.
            log.exception("append.not_given_up")

    def _report(self) -> None:
        APPEND_QUEUE.inc(len(self.queue) - self._reported)
        self._reported = len(self.queue)

    async def disconnect(self) -> None:
        """Close the connection; the next write opens another."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)

    async def _write(self, batch: list[Queued]) -> None:
        """Write `batch` and tell of what is decided. What is not stays in it: what the server does not have the stream
        of, or everything, by RedisError or OSError."""
        if self._connection is None:
            connection: aioredis.Connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            await connection.connect()  # type: ignore[no-untyped-call]
            self._connection = connection
        APPEND_BATCH.observe(len(batch))
        answers: list[str | LogUnavailable | AskError] = []
        try:
            # The time is limited once for the whole write, which is cheaper than for each answer.
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                data = b"".join([item[0] for item in batch]) + self._question
                await self._connection.send_packed_command(data, check_health=False)
                await self._read(self._connection, len(batch), answers)
        except BaseException:
            if self._assurance is not None:
                answers.clear()  # None of them is where it was to be.
            raise
        finally:
            told = batch[: len(answers)]
            left = batch[len(answers) :]
            APPENDED.inc(sum(isinstance(answer, str) for answer in answers))
            redirected = []
            for item, answer in zip(told, answers, strict=True):
                if isinstance(answer, AskError):
                    redirected.append(item)
                else:
                    tell(item[1], answer)
            batch[:] = redirected + left

    async def _read(
        self, connection: aioredis.Connection, count: int, answers: list[str | LogUnavailable | AskError]
    ) -> None:
        for _ in range(count):
            try:
                answer = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except AskError as error:  # Not carried out; a MovedError is one too.
                answers.append(error)
            except ResponseError as error:  # This command's own: the others of the batch were carried out.
                answers.append(unconfirmed(error))
            else:
                answers.append(answer.decode())
        if self._assurance is not None:
            self._assurance.check(await connection.read_response(disable_decoding=True, timeout=math.inf))

    async def _redirect(self, items: list[Queued]) -> None:
        """Let `items`, which were not carried out, go where their streams are, ahead of what is queued for these."""
        keys = {key for _, _, key in items}
        queued = items + [item for item in self.queue if item[2] in keys]
        self.queue = [item for item in self.queue if item[2] not in keys]
        self._redirections += 1
        if self._redirections > _REDIRECTIONS:
            for _, done, _ in queued:
                tell(done, LogUnavailable("the append was not confirmed: its stream is between two servers"))
            return
        try:
            stays = self._elsewhere(self, queued)
        except Exception as error:
            for _, done, _ in queued:
                tell(done, unconfirmed(error))
            raise
        self.queue[:0] = stays
        if stays:  # On its way to another server, which is told by this one when it has arrived.
            await asyncio.sleep(LOOK_S)


def unconfirmed(error: BaseException) -> LogUnavailable:
    """What an append that ended with `error` is told."""
    failure = LogUnavailable(f"the append was not confirmed: {type(error).__name__}")
    failure.__cause__ = error
    return failure


def tell(done: Done, answer: str | LogUnavailable) -> None:
    """Tell who appended what became of it."""
    if not isinstance(answer, str):
        APPEND_FAILED.inc()
    try:
        done(answer)
    except Exception:  # A defect of one who is told must not keep the others from appending.
        log.exception("append.caller_failed")
