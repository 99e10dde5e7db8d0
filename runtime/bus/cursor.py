"""Following streams without a group: delivery streams, and whoever watches the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from runtime.backoff import backoff
from runtime.bus.cluster import together
from runtime.bus.connection import BLOCK_MS, Answer
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.errors import InvalidEntry

log = structlog.get_logger()

Batch = list[tuple[str, str, Entry]]


async def follow(client: aioredis.Redis, start: Mapping[str, str], *, count: int = 500) -> AsyncIterator[Batch]:
    """Batches of (stream key, stream id, entry) from the ids in `start` on (`0` all, `$` only what comes).

    Survives a server that goes away: it resumes after the last id it gave. What is no entry is logged and passed
    over. An empty batch is given when nothing came for a while, so that the caller can look at other things. Raises
    RedisError when it cannot begin.
    """
    keys = list(start)
    parts = [_follow(client, {keys[i]: start[keys[i]] for i in part}, count) for part in together(client, keys)]
    async with aclosing(parts[0] if len(parts) == 1 else _merged(parts)) as batches:
        async for batch in batches:
            yield batch


async def _merged(parts: Sequence[AsyncGenerator[Batch]]) -> AsyncGenerator[Batch]:
    """What all of `parts` give, as it comes; raises what one of them raises."""
    queue: asyncio.Queue[Batch | Exception] = asyncio.Queue(maxsize=1)

    async def pump(part: AsyncGenerator[Batch]) -> None:
        try:
            async with aclosing(part):
                async for batch in part:
                    await queue.put(batch)
        # Nobody waits for this task: what ends it, be it a defect, is for who follows.
        except Exception as error:
            await queue.put(error)

    pumps = [asyncio.create_task(pump(part)) for part in parts]
    try:
        while True:
            batch = await queue.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        await cancel(*pumps)


async def _follow(client: aioredis.Redis, start: Mapping[str, str], count: int) -> AsyncGenerator[Batch]:
    position: dict[str, str] = dict(start)
    failures = 0
    for key, stream_id in position.items():
        if stream_id == "$":
            position[key] = await _last_id(client, key)
    while True:
        try:
            answer = cast("Answer", await client.xread(cast("Any", position), count=count, block=BLOCK_MS))
        except RedisError as error:
            failures += 1
            log.warning("log.read_failed", error=type(error).__name__, streams=len(position))
            await asyncio.sleep(backoff(failures))
            continue
        failures = 0
        batch: Batch = []
        for raw_key, items in answer:
            key = raw_key.decode()
            for raw_id, fields in items:
                position[key] = raw_id.decode()
                try:
                    batch.append((key, position[key], Entry.from_fields(fields)))
                except InvalidEntry as error:
                    log.warning("log.invalid_entry", stream=key, stream_id=position[key], error=str(error))
        yield batch


async def _last_id(client: aioredis.Redis, key: str) -> str:
    """The id of the last entry, so that `$` means the same on every read."""
    last = cast("list[tuple[bytes, dict[bytes, bytes]]]", await client.xrevrange(key, count=1))
    return last[0][0].decode() if last else "0"
