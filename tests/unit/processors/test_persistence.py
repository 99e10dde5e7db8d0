from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from processors.persistence import rules
from processors.persistence.database import ArchiveUnavailable
from processors.persistence.handler import PersistenceHandler
from processors.persistence.redaction import Redaction
from processors.persistence.schema import ENTRIES
from processors.persistence.store import Archive
from runtime.bus.outcomes import Outcome, Received, Verdict
from schemas.entry import JSON
from schemas.errors import ConfigurationError
from schemas.events import (
    ChannelSubscribed,
    ChannelUnsubscribed,
    DatagramReceived,
    Event,
    MessageReceived,
    SubscribeRequested,
    UnsubscribeRequested,
    WhisperReceived,
)
from tests.unit.processors.making import entry_of

EVENT = MessageReceived(frame={"type": "x", "raw": b"\x00\xff"})


def rows(path: Path, columns: str = "stream, id, stream_id") -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(f"select {columns} from entries order by rowid").fetchall()


def test_a_row_has_every_field_of_its_entry() -> None:
    """The archive loses nothing: an entry can be made again from its row."""
    entry = entry_of(EVENT)
    row = rules.row("hg:{in:0}", "1700000000000-7", entry)
    assert row._fields == tuple(column.name for column in ENTRIES.columns)
    assert (row.stream, row.stream_id, row.at, row.seq) == ("hg:{in:0}", "1700000000000-7", 1_700_000_000_000, 7)
    assert row.entry == entry


@pytest.mark.parametrize(
    "event",
    [
        MessageReceived(frame={"raw": b"\xff"}, channel="room"),
        WhisperReceived(event="client-x", channel="room"),
        DatagramReceived(frame={}, channel="room"),
        SubscribeRequested(channel="room"),
        UnsubscribeRequested(channel="room"),
        ChannelSubscribed(channel="room"),
        ChannelUnsubscribed(channel="room", reason="closed"),
    ],
    ids=lambda event: event.TYPE,
)
def test_what_is_about_a_channel_is_found_by_its_topic(event: Event) -> None:
    """The log has no topic there; the entry that is made of the row is the one that the log had."""
    entry = entry_of(event)
    row = rules.row("hg:{in:0}", "1-0", entry)
    assert (entry.topic, row.topic, row.entry) == ("", "channel:room", entry)
    assert rules.row("hg:{in:0}", "1-0", replace(row.entry, topic=row.topic)) == row, "as it is imported"


@pytest.mark.parametrize("data", [b'{"channel":5}', b'["channel"]', b"channel", b'{"channel":null}', b'{"channel":""}',
                                  b'{"channel":"%s"}' % (b"x" * 3000), b'{"channel":"a\\u0000b"}'])  # fmt: skip
def test_no_topic_is_made_of_what_is_no_channel(data: bytes) -> None:
    """Clients may send any name: what no channel can be called would not fit into an index, or not into a text."""
    row = rules.row("hg:{in:0}", "1-0", replace(entry_of(EVENT), ct=JSON, data=data))
    assert (row.topic, row.data) == ("", data)


def test_a_stream_id_that_somebody_chose_by_hand_has_a_place() -> None:
    """The numbers of a stream id have 64 bits, a database's one less: the largest stand at the end."""
    row = rules.row("hg:{in:0}", f"{2**64 - 1}-{2**64 - 1}", entry_of(EVENT))
    assert (row.stream_id, row.at, row.seq) == (f"{2**64 - 1}-{2**64 - 1}", 2**63 - 1, 2**63 - 1)


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
    handler = PersistenceHandler(archive, ["hg:{in:0}"], Redaction((), bytes))
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


@pytest.mark.parametrize(("change", "error"), [({"gateway": None}, IntegrityError), ({"ts": 2**63}, OverflowError)])
async def test_one_batch_that_cannot_be_written_holds_up_no_other(
    tmp_path: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    """What waits for the disk is written together; what the database cannot take fails for its own batch alone."""
    path = tmp_path / "archive.db"
    archive = Archive(f"sqlite+aiosqlite:///{path}")
    await archive.start()
    batches = [[rules.row("s", "1-0", entry_of(EVENT, id=f"id-{n}"))] for n in range(4)]
    batches[2] = [batches[2][0]._replace(**change)]
    try:
        results = await asyncio.gather(*map(archive.insert, batches), return_exceptions=True)
    finally:
        await archive.stop()
    assert [type(result) for result in results] == [type(None), type(None), error, type(None)]
    assert [id for _, id, _ in rows(path)] == ["id-0", "id-1", "id-3"]
    assert "id-2" not in str(results[2])


async def test_whoever_is_cancelled_leaves_the_others_written(tmp_path: Path) -> None:
    """A stopping service cancels what waits: the rest is written, and nobody waits for ever."""
    path = tmp_path / "archive.db"
    archive = Archive(f"sqlite+aiosqlite:///{path}")
    await archive.start()
    batches = [[rules.row("s", "1-0", entry_of(EVENT, id=f"id-{n}"))] for n in range(3)]
    tasks = [asyncio.create_task(archive.insert(batch)) for batch in batches]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    for batch, result in zip(batches, results, strict=True):
        assert result is None or isinstance(result, asyncio.CancelledError | ArchiveUnavailable)
        await archive.insert(batch)
    await archive.stop()
    assert len(rows(path)) == 3


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite+nosuch:///x", "sqlite+aiosqlite://"])
def test_other_databases_are_refused(url: str) -> None:
    """A URL that cannot be used is the operator's to mend, at the start."""
    with pytest.raises(ConfigurationError):
        Archive(url)
