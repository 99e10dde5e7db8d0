"""`headgate archive`: entries out of the archive into a file, and back."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Final

import typer

from console.archive_files import BATCH, SUFFIX, NotAnExport, rows_of, writer
from console.output import forget_stdout
from processors.persistence.reader import ArchiveReader, Query
from processors.persistence.store import REFUSED, Archive
from runtime.logs import configure_logs
from runtime.settings import Settings
from schemas.errors import ConfigurationError

#: Stands for standard input or output, which carry JSON lines.
STANDARD: Final = "-"


def milliseconds(moment: str) -> int | None:
    """Unix ms of an ISO 8601 time, in UTC unless it says otherwise; None for an empty one. Raises BadParameter."""
    if not moment:
        return None
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError as error:
        raise typer.BadParameter(f"{moment!r} is no time: write it as 2026-01-31T12:00:00Z") from error
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return int(parsed.timestamp() * 1000)


async def export(settings: Settings, file: str, query: Query) -> None:
    """Write what `query` wants to `file`, in the order of the log. Raises what ArchiveReader does, and OSError."""
    configure_logs(settings, "console")
    reader, count = ArchiveReader(settings.archive_url), 0
    try:
        with _written(file) as output, writer(output, parquet=file.endswith(SUFFIX)) as out:
            async for page in reader.pages(query, size=BATCH):
                out.write(page)
                count += len(page)
    finally:
        await reader.close()
    typer.echo(f"{count} entries", err=True)


async def import_(settings: Settings, file: str) -> None:
    """Keep every entry of `file`, passing over those that the archive has. Raises NotAnExport, ArchiveUnavailable."""
    configure_logs(settings, "console")
    archive, count = Archive(settings.archive_url), 0
    await archive.start()
    try:
        with _read(file) as source:
            for rows in rows_of(source, parquet=file.endswith(SUFFIX)):
                try:
                    await archive.insert(rows)
                except REFUSED as error:
                    place = f"entries {count + 1} to {count + len(rows)}"
                    raise NotAnExport(f"the database does not take {place} ({type(error).__name__})") from error
                count += len(rows)
    finally:
        await archive.stop()
    typer.echo(f"{count} entries; those that were there stay as they were", err=True)


@contextmanager
def _written(file: str) -> Iterator[IO[bytes]]:
    """A file that has its name once it is whole, and that nobody else may read: it holds what clients sent."""
    if file == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part: str | None = None
    try:
        # A name that nobody can have made before, with the mode 0600.
        number, part = tempfile.mkstemp(".part", f"{os.path.basename(file)}.", os.path.dirname(file) or ".")
        with open(number, "wb") as output:
            yield output
        os.replace(part, file)
        part = None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        if part is not None:
            os.unlink(part)


@contextmanager
def _read(file: str) -> Iterator[IO[bytes]]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        source = open(file, "rb")  # noqa: SIM115  # closed below; only its opening may be blamed on the file
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    with source:
        yield source


def run_export(file: str, query: Query) -> None:
    """`headgate archive export`; a pipe that nobody reads any more ends it."""
    try:
        asyncio.run(export(Settings(), file, query))
    except BrokenPipeError:
        forget_stdout()


def run_import(file: str) -> None:
    """`headgate archive import`."""
    asyncio.run(import_(Settings(), file))
