"""Entries into the log once more, for the application to handle again: marked, and only where that can be wanted."""

from __future__ import annotations

import time
from typing import Any, Final

import redis.asyncio as aioredis

from schemas.entry import Entry, encode_data
from schemas.errors import ConfigurationError, InvalidEntry
from schemas.events import MessagePublished, MessageReceived, WhisperReceived
from schemas.ids import derived
from schemas.keys import Keys

#: What may be replayed into the log. Sessions and subscriptions are not: they have moved on since.
TYPES: Final = frozenset({MessageReceived.TYPE, WhisperReceived.TYPE, MessagePublished.TYPE})
#: Name in the payload that says in which replay an entry was written. It is in the archive, as all of the payload is.
MARK: Final = "replayed"


class Live:
    """Appends to the log that is in use. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys, run: str) -> None:
        """`run`: name of the replay; under the same one what is appended again is told to be a repeat."""
        self._client = client
        self._keys = keys
        self._run = run
        self._queue: list[tuple[str, Entry]] = []
        self._appended = 0
        self._passed_over = 0

    @property
    def sentence(self) -> str:
        """What an operator has to type."""
        return f"replay into {self._keys.prefix}"

    def confirmed(self, typed: str) -> None:
        """Raises ConfigurationError unless that was `typed`."""
        if typed.strip() != self.sentence:
            raise ConfigurationError("something else was typed: nothing was written")

    def queue(self, stream: str, stream_id: str, entry: Entry) -> None:
        """Append `entry` with the next flush, if it is one that may be; what followed from others follows again."""
        if entry.type not in TYPES or entry.cause:
            self._passed_over += 1
            return
        self._queue.append((stream, self.marked(entry)))

    async def flush(self) -> None:
        """Append what is queued."""
        pipeline = self._client.pipeline(transaction=False)
        for stream, entry in self._queue:
            fields = entry.fields()
            pairs: Any = dict(zip(fields[::2], fields[1::2], strict=True))
            pipeline.xadd(stream, pairs)
        await pipeline.execute()
        self._appended += len(self._queue)
        self._queue.clear()

    def marked(self, entry: Entry) -> Entry:
        """`entry` as one of its own: another id, caused by the first, and the mark in its payload."""
        payload = entry.payload()
        if not isinstance(payload, dict):
            raise InvalidEntry(f"{entry.type}: the payload is not a map")
        ct, data = encode_data({**payload, MARK: self._run})
        return Entry(
            id=derived(entry.id, f"replay/{self._run}"),
            type=entry.type,
            v=entry.v,
            ts=time.time_ns() // 1_000_000,
            data=data,
            topic=entry.topic,
            session=entry.session,
            user=entry.user,
            gateway=entry.gateway,
            ct=ct,
            cause=entry.id,
        )

    def said(self) -> str:
        """What was done."""
        return f"appended {self._appended} entries, marked {MARK}={self._run}; passed over {self._passed_over}"
