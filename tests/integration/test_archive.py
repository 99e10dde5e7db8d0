"""The archive in both databases: its schema, its order, what is found in it."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from processors.persistence.database import ArchiveNotMade, ArchiveTooNew, ArchiveUnavailable
from processors.persistence.migrating import VERSION_TABLE
from processors.persistence.reader import ArchiveReader, Query, statement_of
from processors.persistence.rules import Row
from processors.persistence.schema import metadata
from processors.persistence.store import REFUSED, Archive
from tests.support.archives import START_MS, conversation, database, filled, run
from tests.support.postgres import PostgresServer, postgres_server

#: The table as it was made before it had versions.
FIRST = """CREATE TABLE entries (stream VARCHAR NOT NULL, id VARCHAR NOT NULL, stream_id VARCHAR NOT NULL,
 type VARCHAR NOT NULL, v INTEGER NOT NULL, topic VARCHAR NOT NULL, session VARCHAR NOT NULL, "user" VARCHAR NOT NULL,
 gateway VARCHAR NOT NULL, ts BIGINT NOT NULL, ct VARCHAR NOT NULL, data {blob} NOT NULL, traceparent VARCHAR NOT NULL,
 cause VARCHAR NOT NULL, PRIMARY KEY (stream, id))"""
FIRST_INDEXES = [f'CREATE INDEX entries_by_{name} ON entries ("{name}")' for name in
                 ("session", "user", "topic", "type", "ts")]  # fmt: skip
FIRST_ROW = """INSERT INTO entries VALUES ('hg:{{in:0}}', 'a', '{at}-7', 'message.received', 1, '', 's', 'u', 'g', 5,
 'application/json', {data}, '', '')"""


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer) -> str:
    """Of an empty database of each kind."""
    return await database(request.param, tmp_path, postgres)


async def read(reader: ArchiveReader, query: Query, size: int = 7) -> list[Row]:
    return [row async for page in reader.pages(query, size=size) for row in page]


async def test_the_migrations_make_the_schema_that_the_code_knows(url: str) -> None:
    """Table, columns and indexes are those of processors.persistence.schema, whichever way they came about."""

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return list(compare_metadata(context, metadata))

    async with filled(url, []):
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
        await engine.dispose()


async def test_only_its_owner_may_read_an_archive_in_a_file(tmp_path: Path) -> None:
    """The database and what SQLite keeps beside it, however generous the umask; one that is there keeps its mode."""
    before = os.umask(0)
    try:
        async with filled(f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}", conversation(2)):
            modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
            assert modes == dict.fromkeys(("archive.db", "archive.db-wal", "archive.db-shm"), 0o600)
        (tmp_path / "archive.db").chmod(0o640)
        async with filled(f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}", []):
            assert stat.S_IMODE((tmp_path / "archive.db").stat().st_mode) == 0o640
    finally:
        os.umask(before)


async def test_an_archive_from_before_there_were_versions_is_adopted(url: str) -> None:
    """Its entries stay, and have their places in the order; the second start changes nothing."""
    sqlite = url.startswith("sqlite")
    await run(
        url,
        FIRST.format(blob="BLOB" if sqlite else "BYTEA"),
        *FIRST_INDEXES,
        FIRST_ROW.format(at=START_MS, data="x'00ff'" if sqlite else "'\\x00ff'::bytea"),
    )
    for _ in range(2):
        async with filled(url, conversation(2)) as reader:
            found = await read(reader, Query(user="u"))
    assert [(row.at, row.seq, row.stream_id, row.data) for row in found] == [
        (START_MS, 7, f"{START_MS}-7", b"\x00\xff")
    ]
    assert await run(url, "SELECT count(*) FROM entries") == [(5,)]


async def test_a_newer_schema_is_refused(url: str) -> None:
    """An older Headgate writes nothing into, and reads nothing from, a schema that it does not know."""
    async with filled(url, conversation(2)):
        pass
    await run(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    archive, reader = Archive(url), ArchiveReader(url)
    with pytest.raises(ArchiveTooNew, match="9999"):
        await archive.start()
    with pytest.raises(ArchiveTooNew):
        await reader.find("in-000")
    await archive.stop()
    await reader.close()


async def test_an_archive_that_is_newer_by_now_holds_entries_up(url: str) -> None:
    """Where another process migrates under a running one, that one loses nothing: it waits to be upgraded."""
    archive = Archive(url)
    await archive.start()
    await run(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'", "DROP TABLE entries")
    with pytest.raises((ArchiveUnavailable, ArchiveTooNew)):
        await archive.insert(conversation(2))
    with pytest.raises(ArchiveTooNew):
        await archive.insert(conversation(2))
    await archive.stop()


async def test_processes_that_start_together_migrate_once(url: str) -> None:
    """Whoever comes second waits, and finds it done."""
    archives = [Archive(url) for _ in range(4)]
    await asyncio.gather(*(archive.start() for archive in archives))
    await asyncio.gather(*(archive.insert(conversation(8)) for archive in archives))
    for archive in archives:
        await archive.stop()
    assert await run(url, "SELECT count(*) FROM entries") == [(16,)]
    assert await run(url, f"SELECT count(*) FROM {VERSION_TABLE}") == [(1,)]


async def test_a_reader_makes_no_archive(tmp_path: Path, postgres: PostgresServer) -> None:
    """Who looks into the wrong place is told so, and leaves nothing behind."""
    reader = ArchiveReader(f"sqlite+aiosqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(ArchiveNotMade, match=r"none\.db"):
        await reader.find("x")
    assert os.listdir(tmp_path) == []
    empty = ArchiveReader(await database("postgresql", tmp_path, postgres))
    with pytest.raises(ArchiveNotMade, match="missing"):
        await empty.find("x")
    await empty.close()


async def test_a_server_that_is_away_is_told_apart(tmp_path: Path) -> None:
    """No socket where the server should be: the archive is unavailable, and the service starts all the same."""
    archive = Archive(f"postgresql+asyncpg://headgate@/x?host={tmp_path}")
    await archive.start()
    with pytest.raises(ArchiveUnavailable):
        await archive.insert(conversation(2))
    await archive.stop()


async def test_what_postgresql_cannot_take_is_told_apart(tmp_path: Path, postgres: PostgresServer) -> None:
    """Text that it does not have, a number that is too large: those rows are refused, and the archive is not away."""
    rows = conversation(4)
    archive = Archive(await database("postgresql", tmp_path, postgres))
    await archive.start()
    batches = [rows[:2], [rows[2]._replace(user="a\0b")], [rows[3]._replace(ts=2**63)], rows[4:]]
    results = await asyncio.gather(*map(archive.insert, batches), return_exceptions=True)
    assert [isinstance(result, REFUSED) for result in results] == [False, True, True, False]
    assert results[0] is None
    assert results[3] is None
    await archive.stop()


async def test_a_locked_table_is_waited_for(tmp_path: Path, postgres: PostgresServer) -> None:
    """Whoever writes gives up after a while, as one whose database is away, and tries again."""
    url = await database("postgresql", tmp_path, postgres)
    archive, engine = Archive(url), create_async_engine(url)
    await archive.start()
    async with engine.begin() as connection:
        await connection.exec_driver_sql("LOCK TABLE entries")
        with pytest.raises(ArchiveUnavailable, match="locked"):
            await archive.insert(conversation(2))
    await archive.insert(conversation(2))
    await engine.dispose()
    await archive.stop()


async def test_a_server_that_restarts_is_waited_for() -> None:
    """Connections break, then there is no server, then there is one again: nothing is refused meanwhile."""
    async with postgres_server() as server:
        url = await server.create("restarted")
        archive = Archive(url)
        await archive.start()
        await archive.insert(conversation(2))
        await server.stop()
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable):
                await archive.insert(conversation(4))
        await server.start()
        await archive.insert(conversation(4))
        assert await run(url, "SELECT count(*) FROM entries") == [(8,)]
        await archive.stop()


async def test_entries_come_in_the_order_of_the_log(url: str) -> None:
    """By the time of the append; within a stream by its ids, as numbers; whatever the size of a page."""
    rows = conversation()
    async with filled(url, rows) as reader:
        for size in (1, 7, 1000):
            assert await read(reader, Query(), size) == sorted(rows, key=lambda row: row.place)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(session="s1"), lambda row: row.session == "s1"),
        (Query(user="2"), lambda row: row.user == "2"),
        (Query(topic="channel:room-1"), lambda row: row.topic == "channel:room-1"),
        (Query(type="message.received"), lambda row: row.type == "message.received"),
        (Query(type="message.*"), lambda row: True),
        (Query(type="message.p*", user="0"), lambda row: row.type == "message.published" and row.user == "0"),
        (Query(type="whisper.*"), lambda row: False),
        (Query(since=START_MS + 5, until=START_MS + 9), lambda row: START_MS + 5 <= row.at < START_MS + 9),
        (Query(session="s0", since=START_MS + 5), lambda row: row.session == "s0" and row.at >= START_MS + 5),
        (Query(erased=False), lambda row: row.erased is None),
    ],
)
async def test_what_is_asked_for_is_found(url: str, query: Query, wanted: object) -> None:
    """Filters are all of them true of what comes, and nothing else is left out."""
    assert callable(wanted)
    rows = conversation()
    rows[5] = rows[5]._replace(erased=1, data=b"")
    async with filled(url, rows) as reader:
        expected = sorted((row for row in rows if wanted(row)), key=lambda row: row.place)
        assert await read(reader, query) == expected


async def test_reading_goes_on_behind_a_place(url: str) -> None:
    """The place of the last row is where a later reading begins, also in another process."""
    rows = sorted(conversation(), key=lambda row: row.place)
    async with filled(url, rows) as reader:
        first = await reader.page(Query(), size=50)
        assert await reader.page(Query(), after=first[-1].place, size=1000) == rows[50:]
        assert await reader.page(Query(), after=rows[-1].place) == []


async def test_an_entry_is_found_with_its_causes_and_effects(url: str) -> None:
    """By its id alone; from there to what led to it and to what it led to."""
    async with filled(url, conversation()) as reader:
        (cause,) = await reader.find("in-007")
        effects = [row async for page in reader.effects(["in-007"]) for row in page]
        assert [(row.cause, row.type) for row in effects] == [("in-007", "message.published")]
        assert await reader.causes(effects[0]) == [cause]
        assert await reader.causes(cause) == []
        assert await reader.find("nothing") == []
        assert await reader.sessions_of("1") == ["s1"]
        assert await reader.types() == ["message.published", "message.received"]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(), "entries_by_time"),
        (Query(session="s1", type="message.received"), "entries_by_session"),
        (Query(user="1"), "entries_by_user"),
        (Query(topic="channel:room-1", since=5), "entries_by_topic"),
        (Query(type="message.received"), "entries_by_type"),
        (Query(session="s1", streams=("hg:{in:0}", "hg:{out:0}")), "entries_by_session"),
        (Query(since=5, until=6, streams=("hg:{in:0}",)), "entries_by_time"),
    ],
)
@pytest.mark.parametrize("newest_first", [False, True])
async def test_sqlite_reads_pages_from_an_index(tmp_path: Path, query: Query, index: str, newest_first: bool) -> None:
    """No page is found by going through the table, or by sorting all that there is; from neither end."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
    rows = conversation()
    async with filled(url, rows):
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            types = [query.type] if query.type else []
            sql = statement_of(query, types, rows[0].place, 10, newest_first=newest_first)
            text = str(sql.compile(engine.sync_engine, compile_kwargs={"literal_binds": True}))
            plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")).all()
        await engine.dispose()
    steps = [step[-1] for step in plan]
    assert any(f"USING INDEX {index} " in step for step in steps), steps
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps
