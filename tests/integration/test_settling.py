"""An entry that is settled leaves nothing behind, wherever in the middle of settling it its process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import redis.asyncio as aioredis
from prometheus_client import REGISTRY
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from structlog.testing import capture_logs

from runtime.bus.appender import Appender
from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.settle import Settler
from runtime.bus.writer import Done, unconfirmed
from schemas.entry import Entry
from schemas.events import MessagePublished, MessageReceived
from schemas.keys import Keys
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


@asynccontextmanager
async def losing_an_answer(command: bytes, url: str) -> AsyncIterator[str]:
    """A relay to Redis that ends a connection in place of the answer to the first `command`: its address."""
    server, lost = urlsplit(url), False

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lost
        answers, commands = await asyncio.open_connection(server.hostname, server.port)
        while sent := await reader.read(65536):
            commands.write(sent)
            answer = await answers.read(65536)
            if command in sent and not lost and b"NOSCRIPT" not in answer:
                lost = True
                break
            writer.write(answer)
        for end in (commands, writer):
            end.close()

    relaying = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with relaying:
        yield f"redis://127.0.0.1:{relaying.sockets[0].getsockname()[1]}"
    assert lost


async def pending(bus: Bus, log: str) -> Received:
    """An entry that the group `g` has read and not settled."""
    await bus.observer.xgroup_create(log, "g", id="0", mkstream=True)
    await bus.observer.xadd(log, {"id": "one"})
    await bus.observer.xreadgroup("g", "c", {log: ">"})
    [(read, _)] = await bus.stored(log)
    return Received(0, read.decode(), Entry.of(MessageReceived(frame={}), id="one", ts=1), attempt=3)


async def test_a_dead_letter_whose_answer_is_lost_is_written_once(bus: Bus, server: RedisServer) -> None:
    """Who does not know whether it was written asks again, and finds that it was; the trail has it once, too."""
    log = bus.keys.inbound(0)
    received = await pending(bus, log)
    await bus.observer.hset(bus.keys.attempts(log, "g"), received.stream_id, 2)
    async with losing_an_answer(b"dead_group", server.url) as address:
        client = aioredis.Redis.from_url(address, retry=Retry(NoBackoff(), 0))
        await Settler(client, [log], "g").bury(received, "broken", Entry.of(MessageReceived(frame={}), id="t", ts=1))
        await client.aclose()
    [(_, letter)] = await bus.stored(bus.keys.dead(log))
    assert (letter[b"id"], letter[b"dead_error"], letter[b"dead_attempts"]) == (b"one", b"broken", b"3")
    assert len(await bus.stored(bus.keys.trail(log))) == 1
    assert (await bus.observer.xpending(log, "g"))["pending"] == 0
    assert await bus.observer.hlen(bus.keys.attempts(log, "g")) == 0


async def test_what_another_owner_has_settled_is_not_buried(bus: Bus) -> None:
    """A process that slept while it handled an entry leaves no letter of what was handled meanwhile."""
    log = bus.keys.inbound(0)
    received = await pending(bus, log)
    await bus.observer.xack(log, "g", received.stream_id)
    settler = Settler(bus.client, [log], "g")
    await settler.bury(received, "broken")
    assert await bus.stored(bus.keys.dead(log)) == []


async def test_a_letter_waits_for_no_log_that_was_lost_and_for_no_trail(bus: Bus) -> None:
    """Without its group nobody has the entry any more; a trail that cannot be written keeps no entry from its end."""
    log = bus.keys.inbound(0)
    received = await pending(bus, log)
    settler, trail = Settler(bus.client, [log], "g"), Entry.of(MessageReceived(frame={}), id="t", ts=1)
    await bus.observer.set(bus.keys.trail(log), "no stream")
    await asyncio.wait_for(settler.bury(received, "broken", trail), 10)
    assert len(await bus.stored(bus.keys.dead(log))) == 1
    await bus.observer.xgroup_destroy(log, "g")
    await asyncio.wait_for(settler.bury(received, "broken"), 10)
    assert len(await bus.stored(bus.keys.dead(log))) == 1


async def test_an_entry_that_is_deleted_while_it_is_pending_is_told_and_holds_nothing_up(bus: Bus) -> None:
    """Whoever deletes it takes it from the group: that is counted, and what comes after it is handled."""
    log, handled = bus.keys.inbound_of("s"), list[str]()
    for n in range(4):
        await bus.write("s", n)
    await bus.observer.xgroup_create(log, "g", id="0")
    await bus.observer.xreadgroup("g", "owner", {log: ">"})
    second = (await bus.stored(log))[1][0]
    await bus.observer.xdel(log, second)
    before = REGISTRY.get_sample_value("headgate_vanished_total", {"group": "g"}) or 0

    async def handle(received: Received) -> Outcome:
        handled.append(received.stream_id)
        return Outcome.done()

    with capture_logs() as logs:
        await bus.group(handle)
        await eventually(lambda: settled(bus), 10)
    assert handled == [stream_id.decode() for stream_id, _ in await bus.stored(log)]
    assert [one["stream_id"] for one in logs if one["event"] == "entry.vanished"] == [second.decode()]
    assert REGISTRY.get_sample_value("headgate_vanished_total", {"group": "g"}) == before + 1
    assert not await bus.observer.exists(Keys.dead(log))


async def test_what_follows_from_the_last_attempt_is_told_when_no_other_will_be_made(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then, and whoever finds the entry after a death puts it aside: its sender was told."""
    log, counts, emit = bus.keys.inbound_of("s"), list[bytes | str | None](), Lanes._emit
    told = Entry.of(MessagePublished(frame={}), id="told", ts=1, topic="session:s")

    async def fails(_: Received) -> Outcome:
        return Outcome.again("no", told)

    async def emitted(lanes: Lanes, entries: Sequence[Entry]) -> None:
        [(stream_id, _)] = await bus.stored(log)
        counts.append(await bus.observer.hget(bus.keys.attempts(log, "g"), stream_id.decode()))
        await emit(lanes, entries)
        if len(counts) == 1:
            raise RuntimeError("as if its process had ended")

    monkeypatch.setattr(Lanes, "_emit", emitted)
    await bus.group(fails)
    await bus.write("s", 0)
    await eventually(lambda: settled(bus), 10)
    assert counts == [b"3"]
    assert len(await bus.stored(Keys.dead(log))) == 1
    assert [fields[b"id"] for _, fields in await bus.stored(bus.keys.outbound_of("session:s"))] == [b"told"]


async def settled(bus: Bus) -> bool:
    return await bus.backlog() == 0


async def test_what_is_no_entry_is_buried_however_many_fields_it_has(bus: Bus) -> None:
    """As many of them as a script can be given, and why it died."""
    log, fields = bus.keys.inbound(0), [b"%d" % n for n in range(20_000)]
    received = await pending(bus, log)
    await asyncio.wait_for(Settler(bus.client, [log], "g").bury_fields(0, received.stream_id, fields, "x", 1, ""), 10)
    [(_, letter)] = await bus.stored(bus.keys.dead(log))
    assert len(letter) > 1000
    assert letter[b"dead_error"] == b"x"


async def test_without_memory_a_letter_waits(bus: Bus) -> None:
    """The entry is not acknowledged before its letter is there."""
    log = bus.keys.inbound(0)
    received = await pending(bus, log)
    settler = Settler(bus.client, [log], "g")
    await bus.observer.config_set("maxmemory", "1")
    burying = asyncio.create_task(settler.bury(received, "broken"))

    async def refused() -> bool:
        return "errorstat_OOM" in await bus.observer.info("errorstats")

    await eventually(refused, 10)
    assert (await bus.observer.xpending(log, "g"))["pending"] == 1
    await bus.observer.config_set("maxmemory", "0")
    await asyncio.wait_for(burying, 10)
    assert len(await bus.stored(bus.keys.dead(log))) == 1
    assert (await bus.observer.xpending(log, "g"))["pending"] == 0


class Refusing(Appender):
    """An appender whose appends fail in turn."""

    def __init__(self, client: aioredis.Redis, *errors: Exception) -> None:
        super().__init__(client)
        self._errors = list(errors)

    def append_then(self, key: str, entry: Entry, done: Done, *, maxlen: int | None = None) -> None:
        """Fail as is planned, else append."""
        if self._errors:
            asyncio.get_running_loop().call_soon(done, unconfirmed(self._errors.pop(0)))
        else:
            super().append_then(key, entry, done, maxlen=maxlen)


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ReadOnlyError("You can't write against a read only replica."), 1),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), 1),
        (ClusterDownError("CLUSTERDOWN The cluster is down"), 1),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), 0),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), 0),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_trail_is_given_up_only_where_waiting_is_in_vain(bus: Bus, error: Exception, left: int) -> None:
    """A server that cannot write for a moment is waited for: what is settled then has left its trail."""
    log = bus.keys.inbound(0)
    received = await pending(bus, log)
    appender = Refusing(bus.client, error)
    await appender.start()
    settler = Settler(bus.client, [log], "g", appender)
    settler.acknowledge(0, received.stream_id, trail=Entry.of(MessageReceived(frame={}), id="t", ts=1))
    await asyncio.wait_for(settler.flushed(), 10)
    assert len(await bus.stored(bus.keys.trail(log))) == left
    assert (await bus.observer.xpending(log, "g"))["pending"] == 0
    await appender.stop()


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
