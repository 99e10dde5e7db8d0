"""Bringing the archive's schema up to date, by the migrations beside this file (https://alembic.sqlalchemy.org).

They run in a thread with an event loop of its own: alembic keeps what it works on in globals of the process, and a
large table takes its time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL

from processors.persistence.database import BUSY_S, ArchiveNotMade, ArchiveTooNew, engine_of, make_private, unavailable

log = structlog.get_logger()

#: Where the database says which migration it has seen. Not alembic's own name: an application may share the database.
VERSION_TABLE: Final = "headgate_archive_version"
#: PostgreSQL's advisory lock that whoever migrates holds: "headgate" as a number.
_LOCK: Final = 0x6865_6164_6761_7465
_FOLDER: Final = Path(__file__).parent / "migrations"
_one_at_a_time: Final = threading.Lock()


async def migrate(url: URL) -> None:
    """Make the schema, or bring it up to date, whoever else tries at the same time.

    Raises ArchiveTooNew, and ArchiveUnavailable when the database is away or another process takes long.
    """
    await asyncio.to_thread(_run, url, _upgrade)


async def check(url: URL) -> None:
    """For those who only read: whether the schema is the one that this code knows.

    Raises ArchiveNotMade, ArchiveTooNew, and ArchiveUnavailable when the database is away.
    """
    await asyncio.to_thread(_run, url, _verify)


def _config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


def _run(url: URL, task: Callable[[Connection], None]) -> None:
    with unavailable(), _one_at_a_time:
        if url.get_backend_name() != "sqlite":
            asyncio.run(_in_its_loop(url, task))
            return
        if task is _verify and not Path(url.database or "").exists():
            raise ArchiveNotMade(f"there is no archive {url.database}: has `headgate processors` run, and where?")
        if task is _upgrade:
            make_private(url)
        engine = create_engine(url.set(drivername="sqlite"), connect_args={"timeout": BUSY_S})
        try:
            with engine.begin() as connection:
                task(connection)
        finally:
            engine.dispose()


async def _in_its_loop(url: URL, task: Callable[[Connection], None]) -> None:
    # A migration takes its time; a look at the version does not.
    engine = engine_of(url, hurried=task is _verify)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(task)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = _config()
    current, newest = _revisions(connection, config)
    if current != newest:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        log.info("archive.migrated", was=current, now=newest)


def _verify(connection: Connection) -> None:
    current, newest = _revisions(connection, _config())
    if current != newest:
        raise ArchiveNotMade(
            f"the archive's schema is {current or 'missing'}, and {newest} is needed: "
            "`headgate processors` makes it when it starts"
        )


def _revisions(connection: Connection, config: Config) -> tuple[str | None, str | None]:
    """The migration that the database has seen last, and the newest there is; raises ArchiveTooNew."""
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if current is not None and current not in {one.revision for one in script.walk_revisions()}:
        raise ArchiveTooNew(
            f"the archive's schema is {current}, which this Headgate does not know: a newer one has been here. "
            "Upgrade this one, or name another database in HEADGATE_ARCHIVE_URL"
        )
    return current, script.get_current_head()
