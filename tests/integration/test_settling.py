"""An entry that is settled leaves nothing behind, wherever in the middle of settling it its process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import redis.asyncio as aioredis

from runtime.bus.settle import Settler
from tests.support.bus import Bus
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


@asynccontextmanager
async def dying_before(command: bytes, url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A relay to Redis that ends with the first `command`, as by its sender's death: its address, whether it did."""
    server, ended = urlsplit(url), asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, commands = await asyncio.open_connection(server.hostname, server.port)

        async def back() -> None:
            while answer := await answers.read(65536):
                writer.write(answer)

        answering = asyncio.create_task(back())
        while not ended.is_set() and (sent := await reader.read(65536)):
            before, fatal, _ = sent.partition(command)
            commands.write(before[: before.rindex(b"*")] if fatal else before)
            if fatal:
                ended.set()
        answering.cancel()
        for end in (commands, writer):
            end.close()

    relaying = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with relaying:
        yield f"redis://127.0.0.1:{relaying.sockets[0].getsockname()[1]}", ended


async def test_a_death_before_the_acknowledgement_leaves_no_count_without_its_entry(
    bus: Bus, server: RedisServer
) -> None:
    """Counts of attempts go first: what dies then has left an entry pending, which is settled again.

    The other way round, the count of an acknowledged entry would stay for ever.
    """
    log = bus.keys.inbound(0)
    attempts = bus.keys.attempts(log, "g")
    await bus.observer.xgroup_create(log, "g", id="0", mkstream=True)
    await bus.observer.xadd(log, {"id": "one"})
    await bus.observer.xreadgroup("g", "c", {log: ">"})
    [(read, _)] = await bus.stored(log)
    stream_id = read.decode()
    await bus.observer.hset(attempts, stream_id, 2)
    async with dying_before(b"XACK", server.url) as (address, died):
        client = aioredis.Redis.from_url(address)
        settler = Settler(client, [log], "g")
        settler.acknowledge(0, stream_id, attempted=True)
        await asyncio.wait_for(died.wait(), 10)
        await settler.abandon()
        await client.aclose()

    async def forgotten() -> bool:
        return await bus.observer.hlen(attempts) == 0

    await eventually(forgotten, 10)
    assert (await bus.observer.xpending(log, "g"))["pending"] == 1
