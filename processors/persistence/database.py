"""Opening the archive's database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schemas.errors import ConfigurationError, HeadgateError

#: Seconds that SQLite waits for another process to finish its write.
BUSY_S: Final = 5.0
#: What SQLite may keep of the database in memory, in KiB: the ids of effects come in no order, and so do their places.
CACHE_KIB: Final = 65_536
#: Pages (of 4 KiB) that gather in SQLite's write-ahead log before they are written to their places.
CHECKPOINT_PAGES: Final = 4000

#: Seconds that a statement of who is hurried may take in PostgreSQL: a server that hangs is one that is away.
STATEMENT_S: Final = 30.0
#: Classes of SQLSTATE that say nothing of the statement: connection, authorisation, no such database, rolled back,
#: resources, locks, shutdown, disk. https://www.postgresql.org/docs/current/errcodes-appendix.html
_PASSING: Final = ("08", "28", "3D", "40", "53", "55", "57", "58")


class ArchiveUnavailable(HeadgateError):
    """The database's: it is away or locked. The same write can succeed later."""


class ArchiveNotMade(ConfigurationError):
    """The operator's: there is no archive where one is to be read, or an older Headgate has made it."""


class ArchiveTooNew(ConfigurationError):
    """The operator's: a newer Headgate has changed the archive's schema. Upgrade this one, or restore a backup."""


def url_of(text: str) -> URL:
    """HEADGATE_ARCHIVE_URL, understood; raises ConfigurationError for what is neither SQLite nor PostgreSQL."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError(f"HEADGATE_ARCHIVE_URL cannot be used: {error}") from error
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"HEADGATE_ARCHIVE_URL is of SQLite or PostgreSQL, not {kind}")
    if kind == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigurationError("HEADGATE_ARCHIVE_URL names no file: an archive in memory is none")
    return url


def engine_of(url: URL, *, hurried: bool = False) -> AsyncEngine:
    """An engine for `url`; raises ConfigurationError when its driver is missing.

    `hurried`: for one who tries again later rather than wait for a lock or a server that hangs.
    """
    options: dict[str, Any] = {}
    if hurried and url.get_backend_name() == "postgresql":
        locks = {"lock_timeout": str(int(BUSY_S * 1000))}
        options = {"timeout": STATEMENT_S, "command_timeout": STATEMENT_S, "server_settings": locks}
    try:
        # What clients sent must not get into the log with an error.
        engine = create_async_engine(url, hide_parameters=True, connect_args=options)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        hint = ": install headgate[postgresql]" if url.get_backend_name() == "postgresql" else ""
        raise ConfigurationError(f"HEADGATE_ARCHIVE_URL cannot be used: {error}{hint}") from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
    return engine


def make_folder(url: URL) -> None:
    """Make the directory of an SQLite database; raises ConfigurationError."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"no directory for the archive {path}: {error.strerror}") from error


def make_private(url: URL) -> None:
    """Make the file of an SQLite database that there is not, readable to its owner alone; raises OSError.

    The files that SQLite makes beside it get its mode (findCreateFileMode in https://sqlite.org/src/file/src/os_unix.c).
    """
    with suppress(FileExistsError):
        os.close(os.open(url.database or "", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def unavailable() -> Iterator[None]:
    """Raises ArchiveUnavailable for what says that the database is away or locked; other errors as they are."""
    try:
        yield
    # While it connects asyncpg raises errors of its own, which SQLAlchemy does not wrap and which have no class here.
    except Exception as error:
        if not _is_away(error):
            raise
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise ArchiveUnavailable(f"the archive does not answer, or is locked ({type(cause).__name__})") from error


def _is_away(error: Exception) -> bool:
    if isinstance(error, OperationalError | InterfaceError | OSError):
        return True
    state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_PASSING)


def _configure_sqlite(connection: Any, _record: object) -> None:
    """WAL lets readers read while we write; FULL, as what is committed here is acknowledged in the log."""
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {int(BUSY_S * 1000)}",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
