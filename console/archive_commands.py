"""`headgate archive` and `headgate erase`: the commands about what is kept."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

archive: Final = typer.Typer(help="What the archive holds: into a file, and back.", no_args_is_help=True)
erase: Final = typer.Typer(help="Taking away what somebody sent.", no_args_is_help=True)


@archive.command("export")
def export(
    file: Annotated[str, typer.Argument(help="Parquet if it ends in .parquet, else JSON lines; - for standard output")],
    session: Annotated[str, typer.Option(help="Only of this session.")] = "",
    user: Annotated[str, typer.Option(help="Only of this user.")] = "",
    topic: Annotated[str, typer.Option(help="Only of this topic, as channel:lobby.")] = "",
    type_: Annotated[str, typer.Option("--type", help="Only of this event type; * and ? match.")] = "",
    since: Annotated[str, typer.Option(help="Only what was appended then or later, as 2026-01-31T12:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="Only what was appended before.")] = "",
) -> None:
    """Write entries to a file, in the order of the log."""
    from console.archive import milliseconds, run_export
    from processors.persistence.reader import Query

    run_export(file, Query(session, user, topic, type_, milliseconds(since), milliseconds(until)))


@archive.command("import")
def import_(file: Annotated[str, typer.Argument(help="What an export wrote; - for standard input.")]) -> None:
    """Keep every entry of a file. Those that the archive has stay as they are, so it may be done again."""
    from console.archive import run_import

    run_import(file)


@erase.command("user")
def user(
    user: Annotated[str, typer.Argument(metavar="ID", help="The user, as the application names them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for what is still being handled.")] = 60.0,
) -> None:
    """Take away every payload of a user from the archive and from Redis."""
    from console.erase import erase_user

    asyncio.run(erase_user(user, yes=yes, wait=wait))
