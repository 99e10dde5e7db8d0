"""Appending to, following and watching the log on a real redis-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from runtime.bus.appender import Appender
from runtime.bus.connection import LogConnection, check_server, durability
from runtime.bus.cursor import follow
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError, LogUnavailable
from schemas.events import MessageReceived
from tests.support.bus import Bus
from tests.support.defects import Defect
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually


async def test_appends_keep_their_order_and_give_stream_ids(bus: Bus) -> None:
    """Many appends at once land in the order of the calls, and each future gives its own id."""
    log = bus.keys.inbound_of("s")
    entries = [Entry.of(MessageReceived(frame={"n": n}), id=str(n), ts=n, session="s") for n in range(500)]
    ids = await asyncio.gather(*[bus.appender.append(log, entry) for entry in entries])
    stored = await bus.stored(log)
    assert [stream_id.decode() for stream_id, _ in stored] == ids
    assert [int(fields[b"id"]) for _, fields in stored] == list(range(500))


async def test_an_append_that_redis_refuses_fails_alone(bus: Bus) -> None:
    """A key of the wrong type fails its own append; its neighbours in the same write are confirmed."""
    await bus.client.set("text", "x")
    entry = Entry.of(MessageReceived(frame={}), id="i", ts=1)
    good, bad, after = (bus.appender.append(key, entry) for key in ("a", "text", "b"))
    results = await asyncio.gather(good, bad, after, return_exceptions=True)
    assert isinstance(results[1], LogUnavailable)
    assert isinstance(results[0], str)
    assert isinstance(results[2], str)


async def test_appends_fail_while_redis_is_away_and_work_again_after(bus: Bus, server: RedisServer) -> None:
    """Without a confirmation there is an error, never a silent success; afterwards appends work without help."""
    await bus.write("s", 1)
    await server.kill()
    with pytest.raises(LogUnavailable):
        await bus.write("s", 2)
    await server.restart()

    await eventually(lambda: bus.writes("s", 3), 10)
    stored = [fields[b"id"] for _, fields in await bus.stored(bus.keys.inbound_of("s"))]
    assert b"s-1" in stored
    assert b"s-3" in stored


async def test_a_full_queue_refuses_at_once(bus: Bus, server: RedisServer) -> None:
    """The queue to Redis is bounded: what does not fit fails with words, it does not pile up."""
    small = Appender(bus.client, max_queue=2)
    entry = Entry.of(MessageReceived(frame={}), id="i", ts=1)
    first, second, third = (small.append("k", entry) for _ in range(3))
    with pytest.raises(LogUnavailable, match="queue"):
        await third
    await small.start()
    await asyncio.gather(first, second)
    await small.stop()


async def test_following_goes_on_after_a_restart(bus: Bus, server: RedisServer) -> None:
    """A follower resumes after the last entry it gave, and passes over what is no entry."""
    log = bus.keys.inbound_of("s")
    got: list[int] = []

    async def read() -> None:
        async for batch in follow(bus.client, {log: "0"}):
            got.extend(entry.payload()["frame"]["n"] for _, _, entry in batch)

    task = asyncio.create_task(read())
    await bus.write("s", 1)
    await bus.client.xadd(log, {"no": "entry"})
    await eventually(lambda: got == [1], 10)
    await server.restart()

    await eventually(lambda: bus.writes("s", 2), 10)
    await eventually(lambda: got == [1, 2], 10)
    task.cancel()


async def test_a_log_that_goes_away_is_a_problem_until_it_is_back(settings: Settings, server: RedisServer) -> None:
    """Readiness follows the server: not ready while it does not answer, ready again without a restart."""
    connection = LogConnection(connect(settings), settings)
    await connection.start()
    assert connection.problem() is None
    await server.kill()
    await eventually(lambda: connection.problem() is not None, 10)
    await server.restart()
    await eventually(lambda: connection.problem() is None, 10)
    await connection.stop()


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[LogConnection]:
    """One that is started; whoever it tells of a lost log has a defect."""

    def tell(places: Sequence[str]) -> None:
        raise AttributeError("'NoneType' object has no attribute 'members'")

    made = LogConnection(connect(settings), settings, tell)
    await made.start()
    yield made
    await made.stop()


async def test_a_defect_is_no_answer_of_the_log(connection: LogConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for it may fail by something else than Redis: that is a problem until it goes well again, and said."""
    defect = Defect("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    with capture_logs() as logs:
        with monkeypatch.context() as broken:
            broken.setattr("runtime.bus.connection.epochs", defect)
            broken.setattr("runtime.bus.connection.only_server", defect)
            await eventually(lambda: connection.problem() == "the log does not answer", 10)
        await eventually(lambda: connection.problem() is None, 10)
    assert {"log.look_failed", "log.away"} <= {one["event"] for one in logs if one["log_level"] == "error"}


async def test_the_log_is_watched_although_nobody_could_be_told_of_a_loss(connection: LogConnection, bus: Bus) -> None:
    """A defect of whoever is told of a lost log is said, and the next loss is seen as well."""
    with capture_logs() as logs:

        def not_told() -> int:
            return sum(one["event"] == "log.loss_not_told" for one in logs)

        await bus.client.hset(bus.keys.meta(), "epoch", "one")
        await eventually(lambda: not_told() == 1, 10)
        await bus.client.hset(bus.keys.meta(), "epoch", "two")
        await eventually(lambda: not_told() == 2, 10)
    assert [one["now"] for one in logs if one["event"] == "log.lost"] == ["one", "two"]


async def test_a_watch_that_ended_is_a_problem(connection: LogConnection, bus: Bus) -> None:
    """Nobody knows whether the log answers, then."""
    assert connection._watch is not None
    connection._watch.cancel()
    await eventually(lambda: connection.problem() == "log-watch ended")
    assert connection.problem_at(bus.logs[0]) == "log-watch ended"


async def said_at_the_start(server: RedisServer) -> list[str]:
    """How loud a service says what the server keeps."""
    settings = Settings(redis_url=server.url, _env_file=None)
    connection = LogConnection(connect(settings), settings)
    with capture_logs() as logs:
        await connection.start()
    await connection.stop()
    return [one["log_level"] for one in logs if one["event"] == "log.connected"]


async def test_a_server_that_would_lose_entries_is_refused() -> None:
    """Eviction and another number of partitions stop the start with words; durability is told as it is."""
    async with redis_server(maxmemory_policy="allkeys-lru", appendfsync="always") as evicting:
        wrong = Settings(redis_url=evicting.url, _env_file=None)
        client = connect(wrong)
        with pytest.raises(ConfigurationError, match="noeviction"):
            await check_server(client, wrong)
        await client.config_set("maxmemory-policy", "noeviction")
        await check_server(client, wrong)
        with pytest.raises(ConfigurationError, match="16 partitions"):
            await check_server(client, Settings(redis_url=evicting.url, partitions=8, _env_file=None))
        assert (await durability(client)).startswith("disk before")
        await client.config_set("appendfsync", "everysec")
        assert "second" in await durability(client)
        await client.config_set("appendfsync", "no")
        assert "half a minute" in await durability(client)
        assert await said_at_the_start(evicting) == ["info"]
        await client.config_set("appendonly", "no")
        assert await said_at_the_start(evicting) == ["warning"]
        await client.aclose()
    gone = Settings(redis_url=evicting.url, _env_file=None)
    client = connect(gone)
    with pytest.raises(LogUnavailable, match="is Redis running"):
        await check_server(client, gone)
    await client.aclose()
