from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql

from processors.persistence import rules
from processors.persistence.handler import PersistenceHandler
from processors.persistence.store import ENTRIES, Archive, ArchiveUnavailable, insert_for
from runtime.bus.outcomes import Outcome, Received, Verdict
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import MessageReceived
from tests.unit.processors.making import entry_of

EVENT = MessageReceived(frame={"type": "x", "raw": b"\x00\xff"})


def rows(path: Path, columns: str = "stream, id, stream_id") -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(f"select {columns} from entries order by rowid").fetchall()


def test_a_row_has_every_field_of_its_entry() -> None:
    """The archive loses nothing: an entry can be made again from its row."""
    entry = entry_of(EVENT)
    row = rules.row("hg:{in:0}", "1-0", entry)
    assert set(row) == {column.name for column in ENTRIES.columns}
    assert Entry(**{name: row[name] for name in row if name not in ("stream", "stream_id")}) == entry


async def test_a_repeated_batch_changes_nothing(tmp_path: Path) -> None:
    """Rows that are there stay as they are; the same entry in another log is another row."""
    path = tmp_path / "new" / "archive.db"
    archive = Archive(f"sqlite+aiosqlite:///{path}")
    await archive.start()
    first = [rules.row("hg:{in:0}", f"{n}-0", entry_of(EVENT, id=f"id-{n}")) for n in (1, 2)]
    try:
        await archive.insert(first)
        await archive.insert([rules.row("hg:{in:0}", "9-0", entry_of(EVENT, id="id-2")), *first])
        await archive.insert([rules.row("hg:{out:0}", "9-0", entry_of(EVENT, id="id-2"))])
    finally:
        await archive.stop()
    assert rows(path) == [
        ("hg:{in:0}", "id-1", "1-0"),
        ("hg:{in:0}", "id-2", "2-0"),
        ("hg:{out:0}", "id-2", "9-0"),
    ]
    assert rows(path, "data")[0][0] == entry_of(EVENT).data


async def test_two_processes_make_the_same_table(tmp_path: Path) -> None:
    """Archives that start at the same time do not get in each other's way."""
    path = tmp_path / "archive.db"
    archives = [Archive(f"sqlite+aiosqlite:///{path}") for _ in range(3)]
    await asyncio.gather(*(archive.start() for archive in archives))
    for number, archive in enumerate(archives):
        await archive.insert([rules.row("s", "1-0", entry_of(EVENT, id=f"id-{number}"))])
        await archive.stop()
    assert len(rows(path)) == 3


async def test_a_database_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    """While the database is away the whole batch comes later; when it is back, it is written."""
    path = tmp_path / "archive.db"
    path.mkdir()
    archive = Archive(f"sqlite+aiosqlite:///{path}")
    await archive.start()
    handler = PersistenceHandler(archive, ["hg:{in:0}"])
    batch = [Received(0, f"{n}-0", entry_of(EVENT, id=f"id-{n}")) for n in (1, 2)]
    try:
        assert [one.verdict for one in await handler.handle(batch)] == [Verdict.LATER, Verdict.LATER]
        with pytest.raises(ArchiveUnavailable):
            await archive.insert([])
        path.rmdir()
        assert await handler.handle(batch) == [Outcome.done(), Outcome.done()]
    finally:
        await archive.stop()
    assert len(rows(path)) == 2


def test_postgresql_passes_over_what_it_has() -> None:
    """The statement for PostgreSQL ignores conflicts on the same key as SQLite's."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    sql = str(insert_for("postgresql").compile(dialect=dialect))
    assert "ON CONFLICT (stream, id) DO NOTHING" in sql


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "nosuch+driver://x/y"])
def test_other_databases_are_refused(url: str) -> None:
    """A URL that cannot be used is the operator's to mend, at the start."""
    with pytest.raises(ConfigurationError):
        Archive(url)
