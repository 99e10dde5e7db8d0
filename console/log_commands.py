"""`headgate dead` and `headgate groups`: the commands that decide about entries and about who reads them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

dead: Final = typer.Typer(help="Entries that could not be handled.", no_args_is_help=True)
groups: Final = typer.Typer(help="Consumer groups: what the log is kept for.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Letters, as `headgate dead list` names them.")]
Group = Annotated[str, typer.Option(help="Only of this group.")]
Type = Annotated[str, typer.Option("--type", help="Only of this event type.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
All = Annotated[bool, typer.Option("--all", help="Every letter that the filters let through.")]


@dead.command("list")
def list_letters(group: Group = "", type_: Type = "", json: Json = False) -> None:
    """List dead letters, the oldest of each log first."""
    from console.dead import list_letters

    asyncio.run(list_letters(group, type_, json))


@dead.command()
def show(name: str, json: Json = False) -> None:
    """Show one dead letter whole."""
    from console.dead import show

    asyncio.run(show(name, json))


@dead.command()
def retry(names: Names = None, group: Group = "", type_: Type = "", every: All = False) -> None:
    """Put entries at the end of their log again, for the group alone that could not handle them."""
    from console.dead import decide
    from runtime.bus.dead import DeadLetters

    asyncio.run(decide(names or [], group, type_, every, DeadLetters.retry, "retry letter", "put back"))


@dead.command()
def drop(names: Names = None, group: Group = "", type_: Type = "", every: All = False) -> None:
    """Forget entries. What the archive holds of them stays."""
    from console.dead import decide
    from runtime.bus.dead import DeadLetters

    asyncio.run(decide(names or [], group, type_, every, DeadLetters.drop, "drop letter", "dropped"))


@groups.command("list")
def list_groups(json: Json = False) -> None:
    """Show every group: its processes, and what it has not handled."""
    from console.groups import list_groups

    asyncio.run(list_groups(json))


@groups.command()
def remove(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
) -> None:
    """Remove a group: the log is no longer kept for it, and what it has not handled it never will.

    A service that consumes for the group makes it anew when it starts, at the oldest entry that is kept.
    """
    from console.groups import remove

    if not yes:
        typer.confirm(f"Remove the group {name} and forget what it has not handled?", abort=True)
    asyncio.run(remove(name))
