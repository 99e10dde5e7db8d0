"""Whose an entry is, and how it is taken out of the archive and of a log that is being handled."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from console.redis_erasing import Found, RedisEraser
from console.replay.sandbox import PREFIX
from processors.persistence import rules
from processors.persistence.erasing import Eraser, Traces
from processors.persistence.reader import Query
from processors.persistence.rules import Row
from runtime.bus.cluster import masters
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    Event,
    MessagePublished,
    MessageReceived,
    SessionAuthenticated,
    SessionOpened,
)
from schemas.groups import INBOUND, OUTBOUND
from schemas.keys import Keys
from tests.support.archives import START_MS, conversation, database, filled, holding
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.cluster import redis_cluster
from tests.support.postgres import PostgresServer

OPENED = SessionOpened(transport="websocket", origin="", path="/", address="::1")
SAID = MessagePublished(frame={"words": "secret"})


def row(id: str, event: Event, *, log: str = "hg:{in:0}", at: int = START_MS, **context: str) -> Row:
    return rules.row(log, f"{at}-{len(id)}", Entry.of(event, id=id, ts=at, **context))


#: What is Ada's (user 7, sessions s1 and s2), and what is not.
ADAS = [
    row("opened", OPENED, session="s1", user="7"),
    row("asked", AuthRequested(token="sealed"), session="s1"),
    row("asked again", AuthRequested(token="sealed"), session="s2"),
    row("came back", SessionAuthenticated(user="7", connection="s2"), session="s1", user="7", topic="session:s1"),
    row("to her", SAID, topic="user:7"),
    row("to her session", SAID, topic="session:s1"),
    row("said", MessageReceived(frame={"words": "secret"}), session="s1", user="7"),
    row("passed on", SAID, topic="channel:room", cause="said"),
    row("and on", SAID, topic="channel:other", cause="passed on"),
    row("told bob", SAID, topic="user:8", cause="said"),
    row("told carol", SAID, topic="session:s9", cause="passed on"),
]
OTHERS = [
    row("bob's", OPENED, session="s8", user="8"),
    row("from bob to her", SAID, session="s8", user="8", topic="user:7"),
    row("in the same room", SAID, session="s8", user="8", topic="channel:room"),
    row("to all", SAID, topic="channel:room"),
    row("another 7", OPENED, session="s77", user="77"),
    row("nobody's", AuthRequested(token="sealed"), session="s9"),
]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_is_a_users_is_emptied_and_nothing_else(kind: str, tmp_path: Path, postgres: PostgresServer) -> None:
    """By user, session, topic and cause; the rows stay with their ids, types and times."""
    url = await database(kind, tmp_path, postgres)
    others = [*OTHERS, *conversation(1200)]
    async with filled(url, [*others, *ADAS]) as reader:
        eraser, traces = Eraser(url), Traces("7")
        assert await eraser.find(traces) == len(ADAS)
        assert traces.sessions == {"s1", "s2"}
        assert traces.reached - traces.topics == {"channel:room", "channel:other", "user:8", "session:s9"}
        assert await eraser.erase(traces, 5) == len(ADAS)
        assert await eraser.compact(soon())
        found = {one.id: one async for page in reader.pages(Query()) for one in page}
        assert [found[one.id] for one in ADAS] == [one._replace(data=b"", erased=5) for one in ADAS]
        assert [found[one.id] for one in others] == others
        assert await eraser.erase(traces, 6) == 0
        await eraser.close()


async def test_many_entries_are_emptied(tmp_path: Path) -> None:
    """More than a page of them; those of others in between stay."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
    rows = conversation(2000, users=2)
    async with filled(url, rows) as reader:
        eraser, traces = Eraser(url), Traces("1")
        assert await eraser.find(traces) == 2000
        assert await eraser.erase(traces, 5) == 2000
        await eraser.close()
        found = [one async for page in reader.pages(Query()) for one in page]
        assert {(one.user, one.erased) for one in found} == {("0", None), ("1", 5)}


async def test_pages_that_somebody_reads_are_said_to_be_left(tmp_path: Path) -> None:
    """SQLite cannot empty its write-ahead log while a reader has a view of it: that is waited for, and told."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
    async with filled(url, ADAS):
        eraser, traces = Eraser(url), Traces("7")
        event.listen(eraser._engine.sync_engine, "connect", lambda made, _: made.execute("PRAGMA busy_timeout = 50"))
        with sqlite3.connect(tmp_path / "archive.db", isolation_level=None) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM entries").fetchall()
            await eraser.find(traces)
            await eraser.erase(traces, 5)
            assert not await eraser.compact(soon())
            assert holding(tmp_path, "archive.db*", "secret")
            compacting = asyncio.create_task(eraser.compact(soon() + 20))
            reader.execute("COMMIT")
            assert await compacting
        assert holding(tmp_path, "archive.db*", "secret") == []
        await eraser.close()


async def test_what_the_user_led_others_to_hear_goes_from_their_histories(bus: Bus) -> None:
    """Of topics of others only the history goes: who they are and where they are stays."""
    traces, keys = Traces("7"), bus.keys
    traces.add({"s1"})
    for one in ADAS:
        traces.take(one.entry)
    for topic in ("user:8", "session:s9", "channel:room", "session:s1"):
        for part in ("history", "state"):
            await bus.observer.hset(keys.topic(topic, part), "words", "secret")
    eraser = eraser_of(bus)
    found = await eraser.find(traces)
    assert found.topics == {"user:8", "session:s9", "channel:room", "session:s1"}
    await eraser.forget(found, traces)
    left = {*await bus.observer.keys("*:state"), *await bus.observer.keys("*:history")}
    assert left == {keys.topic(topic, "state").encode() for topic in ("user:8", "session:s9", "channel:room")}


async def test_replays_on_the_server_of_the_log_are_forgotten(bus: Bus) -> None:
    """What a sandbox kept, or one that was killed, holds is what was said; other keys of the server stay."""
    for key in (f"{PREFIX}kept:{{user:8}}:history", f"{PREFIX}killed:{{in:0}}", "somebody-elses"):
        await bus.observer.set(key, "secret")
    eraser = eraser_of(bus)
    assert len(await eraser.sandboxes()) == 2
    await eraser.forget(Found(), Traces("7"))
    assert await eraser.sandboxes() == []
    assert await bus.observer.exists("somebody-elses")


def eraser_of(bus: Bus) -> RedisEraser:
    """One that takes gateways for lost at once."""
    return RedisEraser(bus.client, bus.settings.model_copy(update={"gateway_lease_seconds": 0.1}))


@asynccontextmanager
async def a_log(bus: Bus) -> AsyncIterator[tuple[str, list[str], RedisEraser]]:
    """A log whose first entry is Ada's, its groups, none of which has read anything, and an eraser."""
    for partition in range(bus.settings.partitions):
        for log, names in ((bus.keys.inbound(partition), INBOUND), (bus.keys.outbound(partition), OUTBOUND)):
            for name in names:
                await bus.observer.xgroup_create(log, name, id="0", mkstream=True)
    log = bus.keys.inbound(1)
    for one in (ADAS[6], OTHERS[0]):
        await add(bus, log, one)
    yield log, list(INBOUND), eraser_of(bus)


async def add(bus: Bus, log: str, one: Row) -> None:
    fields = one.entry.fields()
    await bus.observer.xadd(log, dict(zip(fields[::2], fields[1::2], strict=True)))


async def handle(bus: Bus, log: str, groups: list[str]) -> None:
    """Let groups read and acknowledge all there is."""
    for group in groups:
        answer: Any = await bus.observer.xreadgroup(group, "owner", {log: ">"})
        for _, items in answer:
            await bus.observer.xack(log, group, *(stream_id for stream_id, _ in items))


def soon() -> float:
    return asyncio.get_running_loop().time() + 0.3


async def test_an_entry_stays_until_every_group_has_handled_it(bus: Bus) -> None:
    """What is erased too early was never handled: it is waited for, and told when that takes too long."""
    async with a_log(bus) as (log, groups, eraser):
        traces = Traces("7")
        found = await eraser.find(traces)
        assert (list(found.logs), found.entries) == ([log], 1)
        assert await eraser.trim(found, soon()) == {log: f"the group {groups[0]}"}
        await handle(bus, log, groups[:3])
        assert await eraser.trim(found, soon()) == {log: "the group persistence"}
        await bus.observer.xreadgroup("persistence", "owner", {log: ">"})
        assert await eraser.trim(found, soon()) == {log: "the group persistence"}
        assert await bus.observer.xlen(log) == 2
        trimming = asyncio.create_task(eraser.trim(found, soon() + 20))
        await bus.observer.xack(log, "persistence", *(stream_id for stream_id, _ in await bus.stored(log)))
        assert await trimming == {}
        assert await bus.observer.xlen(log) == 0
        assert (await eraser.find(traces)).logs == {}


async def test_what_shares_a_block_with_unhandled_entries_waits(bus: Bus) -> None:
    """A deleted entry's bytes stay with its block: it goes when the whole block can, and nothing unhandled does."""
    async with a_log(bus) as (log, groups, eraser):
        await bus.observer.config_set("rdbcompression", "no")
        await handle(bus, log, groups)
        found = await eraser.find(Traces("7"))
        await add(bus, log, OTHERS[5])
        (reason,) = (await eraser.trim(found, soon())).values()
        assert "same block" in reason
        for number in range(120):
            await add(bus, log, OTHERS[0]._replace(id=f"more-{number}"))
        await handle(bus, log, groups)
        await add(bus, log, OTHERS[4])
        assert await eraser.trim(found, soon()) == {}
        assert [fields[b"id"] for _, fields in await bus.stored(log)] == [b"another 7"]
        assert b"secret" not in (await bus.observer.dump(log) or b"")


async def test_a_dead_letter_that_is_no_entry_is_the_users_too(bus: Bus) -> None:
    """By the fields that it has; what it lacks makes nothing else the user's."""
    dead = Keys.dead(bus.keys.inbound(0))
    letters: list[Any] = [{"user": "7", "data": "secret"}, {"user": "8"}, {"data": "nobody's"}]
    for fields in letters:
        await bus.observer.xadd(dead, fields)
    await add(bus, dead, OTHERS[3])
    eraser, traces = eraser_of(bus), Traces("7")
    found = await eraser.find(traces)
    assert {key: len(ids) for key, ids in found.dead.items()} == {dead: 1}
    await eraser.forget(found, traces)
    left = await bus.stored(dead)
    assert [fields.get(b"user") or fields[b"data"] for _, fields in left[:2]] == [b"8", b"nobody's"]
    assert len(left) == 3
    later: Any = await bus.observer.xadd(dead, {"user": "8"})
    assert later > left[-1][0]


async def test_a_group_that_never_ran_holds_the_log(bus: Bus) -> None:
    """It is to find everything when it starts."""
    async with a_log(bus) as (log, groups, eraser):
        await bus.observer.xgroup_destroy(log, "laravel")
        await handle(bus, log, [group for group in groups if group != "laravel"])
        assert await eraser.trim(await eraser.find(Traces("7")), soon()) == {log: "a group that has never run"}
        await bus.observer.sadd(bus.keys.removed_groups(), "laravel")
        assert await eraser.trim(await eraser.find(Traces("7")), soon()) == {}


async def test_a_user_is_erased_from_a_cluster() -> None:
    """Logs, dead letters, topics, delivery streams and the files of all masters, wherever their slots are."""
    async with redis_cluster() as cluster, running_bus(bus_settings(cluster.url)) as bus:
        for server in await masters(bus.client):
            await server.config_set("rdbcompression", "no")  # So that what there is can be seen in its files.
        keys, traces = bus.keys, Traces("7")
        logs = [log(p) for p in range(bus.settings.partitions) for log in (keys.inbound, keys.outbound)]
        for log in logs:
            names = list(INBOUND if "{in:" in log else OUTBOUND)
            for name in names:
                await bus.client.xgroup_create(log, name, id="0", mkstream=True)
            for stream in (log, Keys.dead(log), Keys.datagrams(log)):
                await add(bus, stream, ADAS[6])
            await handle(bus, log, names)
            await add(bus, keys.delivery(f"gateway of {log}"), ADAS[6])
        for topic in ("user:7", "session:s1"):
            await bus.client.hset(keys.topic(topic, "state"), "epoch", "secret")
        eraser = eraser_of(bus)
        found = await eraser.find(traces)
        assert (found.entries, len(found.dead), found.topics) == (16, 8, {"user:7", "session:s1"})
        assert await eraser.sessions("7") == 0
        assert await eraser.trim(found, soon() + 10) == {}
        await eraser.forget(found, traces)
        await eraser.forget_deliveries()
        assert await eraser.rewrite_aof(soon() + 60) == []
        again = await eraser.find(traces)
        assert (again.entries, again.dead, again.topics) == (0, {}, set())
        for server in await masters(bus.client):
            for key in await server.keys("*"):
                assert b"secret" not in (await server.dump(key) or b""), key
            assert holding(Path(str((await server.config_get("dir"))["dir"])), "*", "secret") == []
