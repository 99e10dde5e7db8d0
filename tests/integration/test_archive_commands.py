"""`headgate archive`: out of one database and into another."""

from __future__ import annotations

import json
import os
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from console.archive import export
from processors.persistence.reader import ArchiveReader, Query
from processors.persistence.rules import Row
from runtime.settings import Settings
from tests.support.archives import START_MS, conversation, database, filled
from tests.support.command import outcome
from tests.support.postgres import PostgresServer


async def held(url: str) -> list[Row]:
    reader = ArchiveReader(url)
    try:
        return [row async for page in reader.pages(Query()) for row in page]
    finally:
        await reader.close()


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet"])
async def test_an_export_is_imported_into_the_other_database(
    name: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    """SQLite to PostgreSQL, every field and byte; done twice it changes nothing; nobody else can read the file."""
    rows = [row._replace(data=bytes(range(n % 256)) or b"\xff") for n, row in enumerate(conversation(200))]
    rows[3] = rows[3]._replace(data=b"", erased=5)
    source, target = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}", await database("postgresql", tmp_path, postgres)
    file = tmp_path / name
    async with filled(source, rows):
        status, out, err = await outcome(
            "archive", "export", str(file), env={"HEADGATE_ARCHIVE_URL": source}, cwd=tmp_path
        )
        assert (status, out, "400 entries" in err) == (0, "", True), err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for _ in range(2):
        status, out, err = await outcome(
            "archive", "import", str(file), env={"HEADGATE_ARCHIVE_URL": target}, cwd=tmp_path
        )
        assert (status, "400 entries" in err) == (0, True), err
    assert await held(target) == sorted(rows, key=lambda row: row.place)


async def test_an_export_writes_into_no_file_that_somebody_put_there(tmp_path: Path) -> None:
    """Neither into one that others may read, nor through a link to where others want it; its own is the owner's."""
    url, file = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}", tmp_path / "all.jsonl"
    elsewhere, part = tmp_path / "elsewhere", tmp_path / "all.jsonl.part"
    part.symlink_to(elsewhere)
    file.write_text("of before")
    file.chmod(0o666)
    async with filled(url, conversation(2)):
        assert (await outcome("archive", "export", str(file), env={"HEADGATE_ARCHIVE_URL": url}, cwd=tmp_path))[0] == 0
    assert (elsewhere.exists(), part.is_symlink()) == (False, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().splitlines()) == 4
    assert set(os.listdir(tmp_path)) == {"all.jsonl", "all.jsonl.part", "archive.db"}


async def test_what_the_database_cannot_take_is_told(tmp_path: Path, postgres: PostgresServer) -> None:
    """An import that stops says where, and shows nothing of the entries."""
    source, target = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}", await database("postgresql", tmp_path, postgres)
    file = str(tmp_path / "all.jsonl")
    async with filled(source, [row._replace(gateway="a\0b") for row in conversation(2)]):
        assert (await outcome("archive", "export", file, env={"HEADGATE_ARCHIVE_URL": source}, cwd=tmp_path))[0] == 0
    status, _, err = await outcome("archive", "import", file, env={"HEADGATE_ARCHIVE_URL": target}, cwd=tmp_path)
    assert (status, "entries 1 to 4" in err, "Traceback" in err) == (2, True, False), err


async def test_filters_choose_what_is_exported(tmp_path: Path) -> None:
    """By session, user, topic, type and time, to standard output, in the order of the log."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
    rows = sorted(conversation(), key=lambda row: row.place)
    filters: dict[tuple[str, ...], Callable[[Row], bool]] = {
        ("--session", "s1"): lambda row: row.session == "s1",
        ("--user", "2", "--type", "message.rec*"): lambda row: row.user == "2" and row.type == "message.received",
        ("--topic", "channel:room-0"): lambda row: row.topic == "channel:room-0",
        ("--since", "2023-11-14T22:13:20.004Z", "--until", "2023-11-14T22:13:20.009Z"): lambda row: (
            START_MS + 4 <= row.at < START_MS + 9
        ),
    }
    async with filled(url, rows):
        for arguments, wanted in filters.items():
            status, out, err = await outcome(
                "archive", "export", "-", *arguments, env={"HEADGATE_ARCHIVE_URL": url}, cwd=tmp_path
            )
            assert status == 0, err
            assert [json.loads(line)["id"] for line in out.splitlines()] == [row.id for row in rows if wanted(row)]


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    """A time that is none, no archive, a file that is none: status 2 and words, and no half of a file."""
    env = {"HEADGATE_ARCHIVE_URL": f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"}
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"stream": "a"}\n')
    for arguments, words in {
        ("export", "-", "--since", "yesterday"): "no time",
        ("export", str(tmp_path / "out.jsonl")): "there is no archive",
        ("import", str(broken)): "entry 1",
        ("import", str(tmp_path / "nothing.jsonl")): "cannot be read",
    }.items():
        status, _, err = await outcome("archive", *arguments, env=env, cwd=tmp_path)
        assert (status, words in err, "Traceback" in err) == (2, True, False), err
    assert not (tmp_path / "out.jsonl").exists()
    assert set(os.listdir(tmp_path)) <= {"archive.db", "broken.jsonl"}


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet"])
async def test_memory_does_not_grow_with_the_archive(name: str, tmp_path: Path) -> None:
    """Five times as many entries take no more memory to export."""
    peaks = []
    for number, times in enumerate((20, 100)):
        url = f"sqlite+aiosqlite:///{tmp_path / f'{number}.db'}"
        async with filled(url, [row._replace(id=f"{row.id}-{n}") for n in range(times) for row in conversation()]):
            tracemalloc.start()
            await export(Settings(archive_url=url, _env_file=None), str(tmp_path / name), Query())
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.3, peaks
