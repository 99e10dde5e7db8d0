"""The archive: one table, written by batches that may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import Insert

from schemas.errors import ConfigurationError, HeadgateError

log = structlog.get_logger()

#: Seconds that SQLite waits for another process to finish its write.
BUSY_S: Final = 5.0

metadata = MetaData()

#: Every entry of the archived logs. One that a log holds twice, because it was written again, is kept once.
ENTRIES: Final = Table(
    "entries",
    metadata,
    Column("stream", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("stream_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("v", Integer, nullable=False),
    Column("topic", String, nullable=False),
    Column("session", String, nullable=False),
    Column("user", String, nullable=False),
    Column("gateway", String, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("ct", String, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("traceparent", String, nullable=False),
    Column("cause", String, nullable=False),
    *(Index(f"entries_by_{name}", name) for name in ("session", "user", "topic", "type", "ts")),
)


class ArchiveUnavailable(HeadgateError):
    """The database's: it is away or locked. The same write can succeed later."""


def insert_for(dialect: str) -> Insert:
    """INSERT that passes over rows that are there; raises ConfigurationError for a database without one."""
    keys = ["stream", "id"]
    if dialect == "sqlite":
        return sqlite.insert(ENTRIES).on_conflict_do_nothing(index_elements=keys)
    if dialect == "postgresql":
        return postgresql.insert(ENTRIES).on_conflict_do_nothing(index_elements=keys)
    raise ConfigurationError(f"HEADGATE_ARCHIVE_URL is of SQLite or PostgreSQL, not {dialect}")


class Archive:
    """Writes rows to the database of `url`, one batch at a time; a Component."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError for a URL that no driver here can open."""
        try:
            self._url: URL = make_url(url)
            self._engine: AsyncEngine = create_async_engine(self._url)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigurationError(f"HEADGATE_ARCHIVE_URL cannot be used: {error}") from error
        self._insert = insert_for(self._url.get_backend_name())
        self._ready = False
        # SQLite takes one writer; for any other, batches of several partitions at once would gain little.
        self._writer = asyncio.Lock()
        if self._url.get_backend_name() == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _configure_sqlite)

    async def start(self) -> None:
        """Make the directory and the table; a database that is away now is waited for by `insert`."""
        path = self._url.database
        if self._url.get_backend_name() == "sqlite" and path and path != ":memory:":
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"no directory for the archive {path}: {error.strerror}") from error
        try:
            await self.insert([])
        except ArchiveUnavailable as error:
            log.warning("archive.unavailable", error=str(error))

    async def stop(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep `rows` in one transaction, passing over those it has; raises ArchiveUnavailable."""
        async with self._writer:
            try:
                async with self._engine.begin() as connection:
                    if not self._ready:
                        await connection.execute(CreateTable(ENTRIES, if_not_exists=True))
                        for index in sorted(ENTRIES.indexes, key=lambda index: str(index.name)):
                            await connection.execute(CreateIndex(index, if_not_exists=True))
                    if rows:
                        await connection.execute(self._insert, rows)
                self._ready = True
            # What asyncpg and sockets raise before SQLAlchemy wraps anything are OSErrors.
            except (OperationalError, InterfaceError, OSError) as error:
                self._ready = False
                raise ArchiveUnavailable(f"the archive cannot be written ({type(error).__name__})") from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    """WAL lets readers read while we write; FULL, as what is committed here is acknowledged in the log."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
