"""The archive: one table, written by batches that may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from processors.persistence.database import ArchiveUnavailable, engine_of, make_folder, unavailable, url_of
from processors.persistence.migrating import migrate
from processors.persistence.rules import Row

log = structlog.get_logger()

#: What says that rows cannot be written, now or later: a number that is too large, text that the database has not.
REFUSED: Final = (DBAPIError, OverflowError)

_COLUMNS: Final = ", ".join(f'"{name}"' for name in Row._fields)
_VALUES: Final = {
    "sqlite": ", ".join("?" for _ in Row._fields),
    "postgresql": ", ".join(f"${number}" for number, _ in enumerate(Row._fields, 1)),
}


#: The oldest rows of a type, by where they lie, which both databases find fastest.
_EXPIRE: Final = {
    "sqlite": "DELETE FROM entries WHERE rowid IN "
    "(SELECT rowid FROM entries WHERE type = ? AND at < ? ORDER BY at LIMIT ?)",
    "postgresql": "DELETE FROM entries WHERE ctid = ANY (ARRAY"
    "(SELECT ctid FROM entries WHERE type = $1 AND at < $2 ORDER BY at LIMIT $3))",
}


def insert_for(dialect: str) -> str:
    """INSERT that passes over rows that are there, as the driver takes it."""
    return f"INSERT INTO entries ({_COLUMNS}) VALUES ({_VALUES[dialect]}) ON CONFLICT (id, stream) DO NOTHING"


class Archive:
    """Writes rows to the database of `url`; a Component.

    What comes while a transaction is being written goes into the next one together: a commit waits for the disk, and
    the batches of all partitions wait once.
    """

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError for a URL that no driver here can open."""
        self._url = url_of(url)
        self._engine = engine_of(self._url, hurried=True)
        self._insert = insert_for(self._url.get_backend_name())
        self._expire = _EXPIRE[self._url.get_backend_name()]
        self._ready = False
        self._waiting: list[tuple[list[Row], asyncio.Future[None]]] = []
        self._writer = asyncio.Lock()

    async def start(self) -> None:
        """Bring the schema up to date; a database that is away now is waited for by `insert`.

        Raises ConfigurationError, ArchiveTooNew among them.
        """
        make_folder(self._url)
        try:
            await self.insert([])
        except ArchiveUnavailable as error:
            log.warning("archive.unavailable", error=str(error))

    async def stop(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def insert(self, rows: Sequence[Row]) -> None:
        """Keep `rows`, all or none, passing over those it has. Raises ArchiveUnavailable, ArchiveTooNew.

        Rows that the database cannot take raise one of REFUSED.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((list(rows), written))
        async with self._writer:
            if not written.done():
                batches, self._waiting = self._waiting, []
                await self._write_all(batches)
        await written

    async def expire(self, type_: str, before: int, most: int) -> int:
        """Remove at most `most` of the oldest entries of a type that were appended before a time (Unix ms).

        Gives how many those were. Raises ArchiveUnavailable.
        """
        async with self._writer:
            with unavailable():
                async with self._engine.begin() as connection:
                    return (await connection.exec_driver_sql(self._expire, (type_, before, most))).rowcount

    async def _write_all(self, batches: list[tuple[list[Row], asyncio.Future[None]]]) -> None:
        """Write `batches` in one transaction and tell those who wait, whatever happens."""
        try:
            try:
                await self._write([row for rows, _ in batches for row in rows])
            except REFUSED:
                # One batch has what cannot be written: the others are not to be blamed.
                for rows, written in batches:
                    await self._write_alone(rows, written)
        # Whatever it is, those who wait would wait for ever; the one that is here raises it like the others.
        except Exception as error:
            _tell(batches, error)
        except asyncio.CancelledError:
            _tell(batches, ArchiveUnavailable("whoever wrote for all was stopped"))
            raise
        else:
            _tell(batches, None)

    async def _write_alone(self, rows: list[Row], written: asyncio.Future[None]) -> None:
        try:
            await self._write(rows)
        except REFUSED as error:
            _tell([(rows, written)], error)

    async def _write(self, rows: list[Row]) -> None:
        if not self._ready:
            await migrate(self._url)
            self._ready = True
        try:
            with unavailable():
                if rows:
                    async with self._engine.begin() as connection:
                        await connection.exec_driver_sql(self._insert, rows)
        except (ArchiveUnavailable, *REFUSED):
            # Perhaps it is another database by now, or a newer one: look again.
            self._ready = False
            raise


def _tell(batches: Sequence[tuple[list[Row], asyncio.Future[None]]], error: Exception | None) -> None:
    for _, written in batches:
        if written.done():
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
            written.exception()  # Whoever waited may have been cancelled: nobody is to be told that it was not read.
