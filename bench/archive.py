"""The archive: how many entries a second it takes, what each index costs, how fast it is read.

    .venv/bin/python bench/archive.py [--quick] [--json]

The floor is the same rows by Python's sqlite3 alone: the same table, indexes, pragmas and commits. Exit status 0 says
that it ran, not that it was fast.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import structlog

from bench.support.command import command
from bench.support.figures import Figure, spread
from processors.persistence import rules
from processors.persistence.database import CACHE_KIB, CHECKPOINT_PAGES
from processors.persistence.reader import ArchiveReader, Query
from processors.persistence.rules import Row
from processors.persistence.schema import INDEXES
from processors.persistence.store import Archive, insert_for
from schemas.entry import Entry
from schemas.events import MessagePublished, MessageReceived
from schemas.ids import uuid7
from tests.support.postgres import postgres_server

PARTITIONS: Final = 16
#: What one partition hands to the archive at a time, at most.
BATCH: Final = 500
SESSIONS: Final = 1000
GOAL: Final = ">= 20000"
START_MS: Final = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How many entries, how often; `whole`: PostgreSQL and the price of each index too."""

    entries: int
    runs: int
    whole: bool


FULL: Final = Plan(entries=200_000, runs=3, whole=True)
QUICK: Final = Plan(entries=20_000, runs=1, whole=False)


def made(count: int) -> list[Row]:
    """Messages of 1,000 sessions, each followed by its publication on a channel, as the log has them."""
    chance = random.Random(1)
    rows = []
    for number in range(0, count, 2):
        at, session = START_MS + number // 4, chance.randrange(SESSIONS)
        frame = {"type": "message", "channel": f"room-{session % 50}", "data": {"content": "x" * 120}, "id": number}
        received = Entry.of(
            MessageReceived(frame=frame, channel=f"room-{session % 50}", member=True, frame_id=str(number)),
            id=uuid7(at, chance.randbytes(10)),
            ts=at,
            session=f"{session}.0192f0c17b7a7c3e",
            user=str(session),
            gateway="gateway-1-2f3a1b",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        published = received.follow(1, MessagePublished(frame=frame), topic=f"channel:room-{session % 50}")
        place = f"{at}-{number % 4}"
        rows.append(rules.row(f"hg:{{in:{session % PARTITIONS}}}", place, received))
        rows.append(rules.row(f"hg:{{out:{session % PARTITIONS}}}", place, published))
    return rows


async def ours(url: str, rows: Sequence[Row]) -> tuple[float, float]:
    """Seconds, and seconds of this process's CPU, that the archive takes for `rows` from all partitions at once."""
    archive = Archive(url)
    await archive.start()
    batches = [list(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]

    async def partition(number: int) -> None:
        for batch in batches[number::PARTITIONS]:
            await archive.insert(batch)

    try:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(partition, range(PARTITIONS)))
        return time.perf_counter() - began, time.process_time() - cpu
    finally:
        await archive.stop()


def plain(path: Path, rows: Sequence[Row], without: Sequence[str] = ()) -> tuple[float, float]:
    """The same of sqlite3 alone, in transactions of as many rows, perhaps `without` some indexes."""
    asyncio.run(_make(path))
    with sqlite3.connect(path) as database:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"cache_size = -{CACHE_KIB}",
                       f"wal_autocheckpoint = {CHECKPOINT_PAGES}"):  # fmt: skip
            database.execute(f"PRAGMA {pragma}")
        for name in without:
            database.execute(f"DROP INDEX {name}")
        began, cpu, size = time.perf_counter(), time.process_time(), BATCH * PARTITIONS
        for i in range(0, len(rows), size):
            database.executemany(insert_for("sqlite"), rows[i : i + size])
            database.commit()
        took = time.perf_counter() - began, time.process_time() - cpu
    database.close()
    return took


async def _make(path: Path) -> None:
    archive = Archive(f"sqlite+aiosqlite:///{path}")
    await archive.start()
    await archive.stop()


def repeated(runs: int, once: Callable[[Path], tuple[float, float]]) -> list[tuple[float, float]]:
    """What `once` gives for a fresh database, several times."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
            found.append(once(Path(folder) / "archive.db"))
    return found


def rates(rows: Sequence[Row], runs: Sequence[tuple[float, float]]) -> list[float]:
    """Entries a second of each run."""
    return [len(rows) / seconds for seconds, _ in runs]


def cpu_us(rows: Sequence[Row], runs: Sequence[tuple[float, float]]) -> float:
    """CPU per entry, the least of all runs: what others on the machine add is not ours."""
    return min(cpu for _, cpu in runs) / len(rows) * 1e6


async def reading(path: Path, rows: Sequence[Row]) -> AsyncIterator[Figure]:
    """Reads the whole of an archive in the order of the log, and one session of it."""
    url = f"sqlite+aiosqlite:///{path}"
    await ours(url, rows)
    reader = ArchiveReader(url)
    try:
        began = time.perf_counter()
        count = 0
        async for page in reader.pages(Query()):
            count += len(page)
        rate = count / (time.perf_counter() - began)
        yield Figure.of("archive_read_rate", rate, "entries/s", f"{count} entries in the order of the log")
        began = time.perf_counter()
        found = [row async for page in reader.pages(Query(session=rows[0].session)) for row in page]
        took = (time.perf_counter() - began) * 1000
        yield Figure.of("archive_timeline_ms", took, "ms", f"the {len(found)} entries of one session of {len(rows)}")
    finally:
        await reader.close()


def figures(plan: Plan) -> list[Figure]:
    """Every figure."""
    rows = made(plan.entries)
    floor = repeated(plan.runs, lambda path: plain(path, rows))
    runs = repeated(plan.runs, lambda path: asyncio.run(ours(f"sqlite+aiosqlite:///{path}", rows)))
    speeds = rates(rows, runs)
    found = [
        Figure.of(
            "archive_sqlite_rate",
            median(speeds),
            "entries/s",
            f"{len(rows)} entries of 16 partitions, batches of {BATCH}, {spread(speeds)}",
            goal=GOAL,
            floor=median(rates(rows, floor)),
        ),
        Figure.of(
            "archive_sqlite_cpu_us",
            cpu_us(rows, runs),
            "us/entry",
            "CPU of the process, SQLite's included",
            floor=cpu_us(rows, floor),
        ),
    ]
    if plan.whole:
        for index in INDEXES:
            without = repeated(plan.runs, lambda path, name=str(index.name): plain(path, rows, [name]))  # type: ignore[misc]
            cost = cpu_us(rows, floor) - cpu_us(rows, without)
            columns = ", ".join(str(column.name) for column in index.columns)
            found.append(Figure.of(f"archive_{index.name}_us", cost, "us/entry", f"CPU for the index on {columns}"))
        speeds = asyncio.run(_postgresql(plan, rows))
        what = f"the same into PostgreSQL over a socket, {spread(speeds)}"
        found.append(Figure.of("archive_postgresql_rate", median(speeds), "entries/s", what))
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
        found += asyncio.run(_gathered(Path(folder) / "archive.db", rows))
    return found


async def _gathered(path: Path, rows: Sequence[Row]) -> list[Figure]:
    return [figure async for figure in reading(path, rows)]


async def _postgresql(plan: Plan, rows: Sequence[Row]) -> list[float]:
    async with postgres_server() as server:
        return rates(rows, [await ours(await server.create(f"run_{n}"), rows) for n in range(plan.runs)])


def main() -> None:
    """The command line."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    options = command("Entries a second into the archive and out of it.", quick="20,000 entries into SQLite, once")
    options.show(figures(QUICK if options.quick else FULL))


if __name__ == "__main__":
    main()
