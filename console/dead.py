"""`headgate dead`: looking at dead letters, and deciding about them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.config import PIPED_WIDTH
from console.log import opened_log
from console.operators import OperatorsLog, Who
from console.printable import printable
from runtime.bus.dead import DeadLetter, DeadLetters
from runtime.settings import Settings
from schemas.readable import to_json


def described(letter: DeadLetter) -> dict[str, Any]:
    """A letter as plain values."""
    entry = letter.entry
    fields = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in letter.fields.items()
    }
    return {
        "name": letter.name,
        "died": letter.died,
        "group": letter.group,
        "error": letter.error,
        "attempts": letter.attempts,
        "stream_id": letter.of,
        "entry": entry.readable() if entry else fields,
    }


@asynccontextmanager
async def _letters() -> AsyncIterator[tuple[DeadLetters, OperatorsLog]]:
    async with opened_log(Settings()) as (client, keys):
        yield DeadLetters(client, keys), OperatorsLog(client, keys)


def passes(letter: DeadLetter, group: str, type_: str) -> bool:
    """Whether a letter is of `group` and of `type_`; empty ones let all through."""
    return (not group or letter.group == group) and (not type_ or letter.type == type_)


async def _wanted(letters: DeadLetters, group: str, type_: str) -> AsyncIterator[DeadLetter]:
    async for letter in letters.all():
        if passes(letter, group, type_):
            yield letter


async def list_letters(group: str, type_: str, json: bool) -> None:
    """Print the letters of `group` and `type_` (empty: all)."""
    async with _letters() as (letters, _):
        found = [letter async for letter in _wanted(letters, group, type_)]
    if json:
        for letter in found:
            sys.stdout.buffer.write(to_json(described(letter)) + b"\n")
    elif found:
        _print(found)
    else:
        typer.echo("There are no dead letters.")


def _print(found: Sequence[DeadLetter]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("letter", "died (UTC)", "group", "type", "session", "attempts", "error"):
        table.add_column(title, overflow="fold")
    for letter in found:
        died = datetime.fromtimestamp(letter.died / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        raw = [letter.fields.get(name, b"").decode("utf-8", "replace") for name in (b"type", b"session")]
        cells = (letter.name, died, letter.group, *raw, str(letter.attempts), letter.error)
        table.add_row(*(Text(printable(cell, 200)) for cell in cells))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)


async def show(name: str, json: bool) -> None:
    """Print one letter whole; raises NoSuchLetter."""
    async with _letters() as (letters, _):
        letter = await letters.get(name)
    if json:
        sys.stdout.buffer.write(to_json(described(letter)) + b"\n")
        return
    for key, value in described(letter).items():
        text = value if isinstance(value, str) else to_json(value).decode()
        typer.echo(f"{key:10} {printable(text, 100_000)}")


async def decide(
    names: Sequence[str],
    group: str,
    type_: str,
    every: bool,
    act: Callable[[DeadLetters, DeadLetter], Awaitable[None]],
    operation: str,
    done: str,
) -> None:
    """Do `act` to the letters that are named, or to `every` one that passes the filters. Raises NoSuchLetter.

    Each is written down as `operation` in the operators' log.
    """
    if bool(names) == every:
        raise typer.BadParameter("name letters, or give --all (with --group or --type to choose some)")
    async with _letters() as (letters, record):
        if every:
            chosen = [letter async for letter in _wanted(letters, group, type_)]
        else:
            chosen = [await letters.get(name) for name in names]
        who = Who.at_command_line()
        for letter in chosen:
            async with record.doing(who, operation, letter.name):
                await act(letters, letter)
    typer.echo(f"{len(chosen)} {done}")
