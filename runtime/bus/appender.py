"""Appends, coalesced: all that is queued in one turn of the loop leaves in one write.

One write is outstanding at a time, so entries reach each stream in the order of the calls. Commands are packed by
hand: at these sizes redis-py's pipeline costs twice as much.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter, Gauge, Histogram
from redis.exceptions import RedisError, ResponseError

from runtime.bus.assurance import Assurance
from runtime.bus.servers import SOCKET_TIMEOUT_S
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.errors import LogUnavailable

log = structlog.get_logger()

APPENDED = Counter("headgate_appended", "Entries confirmed by Redis.")
APPEND_FAILED = Counter("headgate_append_failed", "Entries that Redis did not confirm; nothing was acknowledged.")
APPEND_QUEUE = Gauge("headgate_append_queue", "Entries waiting for the next write to Redis.")
APPEND_BATCH = Histogram("headgate_append_batch", "Entries per write.", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500))

Done = Callable[[str | LogUnavailable], None]
"""Told what became of an append: its stream id, or why it was not confirmed (it may have happened all the same)."""

#: What a value becomes in a template.
_VALUE: Final = b"$%d\r\n%b\r\n"
_Queued = tuple[bytes, Done]


def pack(args: Sequence[bytes]) -> bytes:
    """A command as a RESP array of bulk strings (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    # One format for all of them: a third of the price of joining as many parts.
    sized: list[bytes | int] = [len(args)]
    for arg in args:
        sized += (len(arg), arg)
    return b"".join((b"*%d\r\n", b"$%d\r\n%b\r\n" * len(args))) % tuple(sized)


def _xadd(key: bytes, entry: Entry, maxlen: int | None) -> bytes:
    """XADD of an entry, packed: its names are constants, so that one format takes all of its values."""
    sized: list[bytes | int] = [len(key), key]
    for value in entry.values():
        sized += (len(value), value)
    return _template(entry.names(), maxlen) % tuple(sized)


@cache
def _template(names: tuple[bytes, ...], maxlen: int | None) -> bytes:
    trim = [] if maxlen is None else [b"MAXLEN", b"~", b"%d" % maxlen]
    count = 3 + len(trim) + 2 * len(names)
    head = _bulk(b"XADD") + _VALUE + b"".join(map(_bulk, [*trim, b"*"]))
    return b"*%d\r\n" % count + head + b"".join(_bulk(name) + _VALUE for name in names)


def _bulk(arg: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(arg), arg)


class Appender:
    """Appends entries to streams over one connection of its own."""

    def __init__(
        self,
        client: aioredis.Redis,
        *,
        assurance: Assurance | None = None,
        max_queue: int = 50_000,
        max_batch: int = 500,
    ) -> None:
        """`assurance`: what must be so before an append is confirmed, beyond that the server has it."""
        self._pool = client.connection_pool
        self._assurance = assurance
        self._question = b"" if assurance is None else pack(assurance.command)
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._queue: list[_Queued] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._connection: aioredis.Connection | None = None

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="appender")

    async def stop(self) -> None:
        """Write what is queued, then close the connection."""
        if self._task is None:
            return
        await self._idle.wait()
        await cancel(self._task)
        await self._disconnect()

    def append(self, key: str, entry: Entry, *, maxlen: int | None = None) -> asyncio.Future[str]:
        """Queue `entry` for the stream `key`; the future gives its stream id once Redis confirmed it.

        `maxlen` trims about to that length (only for streams that may forget). The future fails with LogUnavailable
        when the append was not confirmed: it may or may not have happened.
        """
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.append_then(key, entry, _Settle(future), maxlen=maxlen)
        return future

    def append_then(self, key: str, entry: Entry, done: Done, *, maxlen: int | None = None) -> None:
        """As `append`, and `done` is called with the answer: cheaper, for what comes by the thousand.

        It is called once, never before this returns, except when the queue is full; it must not raise.
        """
        if len(self._queue) >= self._max_queue:
            _tell(done, LogUnavailable("the queue to Redis is full: it answers too slowly for this load"))
            return
        self._queue.append((_xadd(key.encode(), entry, maxlen), done))
        self._idle.clear()
        self._wake.set()

    async def _run(self) -> None:
        delay = 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = self._queue[: self._max_batch]
                del self._queue[: len(batch)]
                APPEND_QUEUE.set(len(self._queue))
                try:
                    await self._write(batch)
                    delay = 0.0
                except (RedisError, OSError, TimeoutError) as error:
                    # Later entries must not overtake those whose fate is unknown: all of them fail together.
                    undecided, self._queue = [*batch, *self._queue], []
                    for _, done in undecided:
                        _tell(done, _unconfirmed(error))
                    await self._disconnect()
                    await asyncio.sleep(delay)
                    delay = min(max(0.05, delay * 2), 2.0)
            self._idle.set()

    async def _write(self, batch: list[_Queued]) -> None:
        """Write `batch` and tell of what is decided; what is not stays in it. Raises RedisError, OSError."""
        if self._connection is None:
            connection: aioredis.Connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            await connection.connect()  # type: ignore[no-untyped-call]
            self._connection = connection
        APPEND_BATCH.observe(len(batch))
        answers: list[str | LogUnavailable] = []
        try:
            # The time is limited once for the whole write, which is cheaper than for each answer.
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                data = b"".join(item[0] for item in batch) + self._question
                await self._connection.send_packed_command(data, check_health=False)
                await self._read(self._connection, len(batch), answers)
        except BaseException:
            if self._assurance is not None:
                answers.clear()  # None of them is where it was to be.
            raise
        finally:
            told = batch[: len(answers)]
            del batch[: len(answers)]
            APPENDED.inc(sum(isinstance(answer, str) for answer in answers))
            for (_, done), answer in zip(told, answers, strict=True):
                _tell(done, answer)

    async def _read(self, connection: aioredis.Connection, count: int, answers: list[str | LogUnavailable]) -> None:
        for _ in range(count):
            try:
                answer = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except ResponseError as error:  # This command's own: the others of the batch were carried out.
                answers.append(_unconfirmed(error))
            else:
                answers.append(answer.decode())
        if self._assurance is not None:
            self._assurance.check(await connection.read_response(disable_decoding=True, timeout=math.inf))

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)


class _Settle:
    """Settles a future, unless its caller has gone."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[str]) -> None:
        self._future = future

    def __call__(self, answer: str | LogUnavailable) -> None:
        if self._future.done():
            return
        if isinstance(answer, str):
            self._future.set_result(answer)
        else:
            self._future.set_exception(answer)
            self._future.exception()  # A caller that went away has nobody left to tell: not an unhandled error.


def _unconfirmed(error: BaseException) -> LogUnavailable:
    return LogUnavailable(f"the append was not confirmed: {type(error).__name__}")


def _tell(done: Done, answer: str | LogUnavailable) -> None:
    if not isinstance(answer, str):
        APPEND_FAILED.inc()
    try:
        done(answer)
    except Exception:  # A defect of one who is told must not keep the others from appending.
        log.exception("append.caller_failed")
