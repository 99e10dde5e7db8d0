"""Archives for tests: rows, and databases of both kinds."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from processors.persistence import rules
from processors.persistence.reader import ArchiveReader
from processors.persistence.rules import Row
from processors.persistence.store import Archive
from schemas.entry import Entry
from schemas.events import MessagePublished, MessageReceived
from tests.support.postgres import PostgresServer

START_MS = 1_700_000_000_000


async def database(kind: str, folder: Path, postgres: PostgresServer) -> str:
    """The URL of an empty database of `kind`: sqlite or postgresql."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{folder / 'archive.db'}"
    return await postgres.create(f"t{random.getrandbits(40):x}")


@asynccontextmanager
async def filled(url: str, rows: Sequence[Row]) -> AsyncIterator[ArchiveReader]:
    """A reader of an archive that holds `rows`."""
    archive, reader = Archive(url), ArchiveReader(url)
    await archive.start()
    try:
        await archive.insert(rows)
        yield reader
    finally:
        await reader.close()
        await archive.stop()


async def run(url: str, *statements: str) -> list[Any]:
    """The rows of the last of some SQL statements."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            return list(result.all()) if result.returns_rows else []
    finally:
        await engine.dispose()


async def erase(url: str) -> None:
    """Take all payloads away, as an erasure does."""
    nothing = "x''" if url.startswith("sqlite") else "CAST('' AS bytea)"
    await run(url, f"UPDATE entries SET data = {nothing}, erased = {START_MS + 1000}")


def conversation(count: int = 60, *, users: int = 3) -> list[Row]:
    """Messages of some users in as many sessions, each with its publication on a channel, in no order."""
    rows = []
    for number in range(count):
        user, at = str(number % users), START_MS + number // 4
        received = Entry.of(
            MessageReceived(frame={"n": number}, channel=f"room-{number % 2}"),
            id=f"in-{number:03}",
            ts=at - 1,
            session=f"s{user}",
            user=user,
        )
        published = received.follow(1, MessagePublished(frame={"n": number}), topic=f"channel:room-{number % 2}")
        rows.append(rules.row(f"hg:{{in:{number % 2}}}", f"{at}-{number % 4 + 9}", received))
        rows.append(rules.row("hg:{out:0}", f"{at}-{number % 4 + 9}", published))
    random.Random(count).shuffle(rows)
    return rows


def holding(folder: Path, pattern: str, words: str) -> list[str]:
    """The files under `folder` that hold `words`."""
    return [str(one) for one in folder.rglob(pattern) if one.is_file() and words.encode() in one.read_bytes()]
