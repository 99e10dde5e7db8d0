"""New log entries for all who look at the demo page: one reader of Redis, a bounded queue per viewer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Final

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from console.records import order, record, streams
from runtime.backoff import backoff
from runtime.bus.cursor import Batch, follow
from runtime.bus.servers import connect
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.events import AuthRequested
from schemas.readable import to_json

log = structlog.get_logger()

#: Entries that wait for a viewer; a slower one loses the oldest and is told how many.
QUEUE_SIZE: Final = 1000
#: Seconds without an entry after which a viewer gets a comment, so that both sides notice a dead connection.
HEARTBEAT_S: Final = 15.0


class Viewer:
    """One open page's queue of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

    def __init__(self, size: int = QUEUE_SIZE) -> None:
        self._rows: deque[bytes] = deque()
        self._size = size
        self._skipped = 0
        self._news = asyncio.Event()
        self._over = False

    def put(self, row: bytes) -> None:
        """Queue a row (one line of JSON); the oldest makes room."""
        if len(self._rows) >= self._size:
            self._rows.popleft()
            self._skipped += 1
        self._rows.append(row)
        self._news.set()

    def end(self) -> None:
        """Give what is queued, then no more."""
        self._over = True
        self._news.set()

    async def events(self, heartbeat: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
        """Server-sent events, all that is queued in one piece; `skipped` tells how many were lost."""
        yield b"retry: 1000\n\n"
        while self._rows or not self._over:
            try:
                async with asyncio.timeout(heartbeat):
                    await self._news.wait()
            except TimeoutError:
                yield b": heartbeat\n\n"
                continue
            self._news.clear()
            if self._rows:
                yield self._take()

    def _take(self) -> bytes:
        events = [b"data: %b\n\n" % row for row in self._rows]
        if self._skipped:
            # An event type of its own: whoever listens for entries alone never sees it.
            events.insert(0, b"event: skipped\ndata: %b\n\n" % to_json({"skipped": self._skipped}))
        self._rows.clear()
        self._skipped = 0
        return b"".join(events)


class Feed:
    """Follows every log and hands each new entry to all viewers; a Component."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._viewers: set[Viewer] = set()
        self._client: aioredis.Redis | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow, from the newest entry on."""
        self._client = connect(self._settings)
        self._task = asyncio.create_task(self._run(self._client), name="demo-feed")

    async def stop(self) -> None:
        """Send every viewer away."""
        for viewer in self._viewers:
            viewer.end()
        await cancel(self._task)
        if self._client is not None:
            await self._client.aclose()

    @contextlib.contextmanager
    def watch(self) -> Iterator[Viewer]:
        """A viewer, for the length of a block."""
        viewer = Viewer()
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    async def _run(self, client: aioredis.Redis) -> None:
        start = dict.fromkeys(streams(self._settings.keys, datagrams=True), "$")
        failures = 0
        while True:
            try:
                async for batch in follow(client, start):
                    failures = 0
                    self._publish(batch)
            except RedisError as error:  # While the position was looked up: nothing was followed yet.
                log.warning("demo.log_unavailable", error=type(error).__name__)
            # Nobody waits for this task: if a defect ended it, no page would get anything any more.
            except Exception:
                log.exception("demo.feed_broken")
            failures += 1
            await asyncio.sleep(backoff(failures))

    def _publish(self, batch: Batch) -> None:
        if not self._viewers:
            return
        for stream, stream_id, entry in sorted(batch, key=lambda item: order(item[1])):
            row = row_of(stream, stream_id, entry)
            for viewer in self._viewers:
                viewer.put(row)


def row_of(stream: str, stream_id: str, entry: Entry) -> bytes:
    """The row of an entry, as JSON. A token, sealed as it is, stays here: the page says that there is one."""
    row = record(stream, stream_id, entry)
    data = row["entry"]["data"]
    if entry.type == AuthRequested.TYPE and isinstance(data, dict) and "token" in data:
        row["entry"]["data"] = data | {"token": "sealed"}
    return to_json(row)
