"""Appends, coalesced: all that is queued in one turn of the loop leaves in one write to each server.

One write is outstanding at a time to each, so entries reach each stream in the order of the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import cache
from typing import Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from runtime.bus.assurance import Assurance
from runtime.bus.cluster import node_of, settle
from runtime.bus.writer import Done, Queued, Writer, tell, unconfirmed
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.errors import LogUnavailable

#: What a value becomes in a template.
_VALUE: Final = b"$%d\r\n%b\r\n"
#: Streams whose writers are kept in mind.
_ROUTES: Final = 4096


def pack(args: Sequence[bytes]) -> bytes:
    """A command as a RESP array of bulk strings (https://redis.io/docs/latest/develop/reference/protocol-spec/).

    By hand: at these sizes redis-py's pipeline costs twice as much.
    """
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
    """Appends entries to streams, over one connection of its own to each server that has some."""

    def __init__(
        self,
        client: aioredis.Redis,
        *,
        assurance: Assurance | None = None,
        max_queue: int = 50_000,
        max_batch: int = 500,
    ) -> None:
        """`assurance`: what must be so before an append is confirmed, beyond that the server has it.

        `max_queue`: entries that may wait for one server.
        """
        self._client = client
        self._assurance = assurance
        self._question = b"" if assurance is None else pack(assurance.command)
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._writers: dict[aioredis.Redis, Writer] = {}
        self._routes: dict[str, Writer] = {}
        """Streams and who writes them. A stream changes its writer only while that has nothing of it outstanding: when
        it is told that the stream is elsewhere, and when all that it had has failed."""
        self._tasks: list[asyncio.Task[None]] | None = None

    async def start(self) -> None:
        """Begin to write."""
        with contextlib.suppress(RedisError):  # Whoever appends is told.
            await settle(self._client)
        self._tasks = []
        for writer in self._writers.values():
            self._run(writer)

    async def stop(self) -> None:
        """Write what is queued, then close the connections."""
        if self._tasks is None:
            return
        while busy := [writer for writer in self._writers.values() if not writer.idle.is_set()]:
            await asyncio.gather(*(writer.idle.wait() for writer in busy))
        await cancel(*self._tasks)
        await asyncio.gather(*(writer.disconnect() for writer in self._writers.values()))

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

        It is called once, never before this returns, except when the queue is full or no server is known to have the
        stream; it must not raise.
        """
        writer = self._routes.get(key)
        if writer is None:
            try:
                writer = self._route(key)
            except RedisError as error:
                tell(done, unconfirmed(error))
                return
        if len(writer.queue) >= self._max_queue:
            tell(done, LogUnavailable("the queue to Redis is full: it answers too slowly for this load"))
            return
        writer.put((_xadd(key.encode(), entry, maxlen), done, key))

    def _route(self, key: str) -> Writer:
        """Who writes the stream `key` from now on; raises ClusterDownError."""
        node = node_of(self._client, key)
        writer = self._writers.get(node)
        if writer is None:
            writer = Writer(
                node,
                assurance=self._assurance,
                question=self._question,
                max_batch=self._max_batch,
                failed=self._failed,
                elsewhere=self._elsewhere,
            )
            self._writers[node] = writer
            if self._tasks is not None:
                self._run(writer)
        if len(self._routes) >= _ROUTES:
            self._routes = {one: its for one, its in self._routes.items() if not its.idle.is_set()}
        self._routes[key] = writer
        return writer

    def _run(self, writer: Writer) -> None:
        assert self._tasks is not None
        self._tasks.append(asyncio.create_task(writer.run(), name="appender"))

    async def _failed(self, writer: Writer) -> None:
        """All that `writer` had has failed. Its streams may be elsewhere by now, and with them what came since."""
        with contextlib.suppress(RedisError):
            await settle(self._client)
        self._routes = {key: its for key, its in self._routes.items() if its is not writer}
        queued, writer.queue = writer.queue, []
        writer.queue[:0] = self._placed(writer, queued)

    def _elsewhere(self, writer: Writer, queued: list[Queued]) -> list[Queued]:
        """`writer` was told that it does not have the streams of `queued`, and has nothing else of them."""
        for _, _, key in queued:
            self._routes.pop(key, None)
        return self._placed(writer, queued)

    def _placed(self, writer: Writer, queued: list[Queued]) -> list[Queued]:
        """Give `queued` to the writers of its streams, in order; what is for `writer` is given back."""
        own = []
        for item in queued:
            _, done, key = item
            try:
                its = self._routes.get(key) or self._route(key)
            except RedisError as error:
                tell(done, unconfirmed(error))
                continue
            if its is writer:
                own.append(item)
            else:
                its.put(item)
        return own


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
