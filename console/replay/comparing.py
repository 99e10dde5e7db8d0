"""`headgate replay --target sandbox`: what the code decides now, compared with what was recorded."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

import redis.asyncio as aioredis
import typer
from rich.console import Console

from console.files import open_private
from console.printable import printable
from console.replay.beginning import Beginning
from console.replay.differences import Difference, Tally
from console.replay.options import Options
from console.replay.progress import Progress
from console.replay.running import sandboxed
from runtime.recording import Record, Selection
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.errors import ConfigurationError
from schemas.keys import Keys
from schemas.readable import to_json

#: Exit status: outputs differ, or too much could not be compared (Tally.good).
EXIT_DIFFERENCES: Final = 1
#: Differences that are shown.
SHOWN: Final = 100


async def compare(
    options: Options,
    settings: Settings,
    client: aioredis.Redis,
    keys: Keys,
    batches: Callable[[Selection], AsyncIterator[Sequence[Record]]],
    wanted: Selection,
    begins: Beginning,
    total: int | None,
) -> int:
    """Let a sandbox decide what is `wanted` of `batches`; gives the exit status. `client`: of the log, with `keys`.

    `begins`: from where on what is there is whole. `total`: entries that there are, if that is known. Raises
    ConfigurationError, LogUnavailable, ArchiveUnavailable.
    """
    async with AsyncExitStack() as stack:
        told = _Told(options.output, options.json)
        stack.callback(told.close)
        decided, saved = await stack.enter_async_context(
            sandboxed(
                settings,
                keys,
                told,
                log=client if options.on_log else None,
                application=options.application,
                # Of some sessions alone it cannot be told who else had their topics.
                router=not options.chosen,
                keep=options.keep,
                checkpoint=(options.checkpoint, options.what(settings)) if options.checkpoint else None,
            )
        )
        interrupted = stack.enter_context(_interrupted()) if saved is not None else asyncio.Event()
        told.go_on(decided.tally.differences)
        began, before = time.monotonic(), decided.tally.read
        progress = stack.enter_context(Progress(total, read=before, lines=options.json))
        if decided.positions:
            wanted = replace(wanted, after=decided.positions)
        else:
            wanted = begins.of(wanted)
            decided.tally.notes[begins.why] += begins.parts
        left: Any = batches(wanted)
        await stack.enter_async_context(aclosing(left))
        async for batch in _until(interrupted, left):
            await decided.take(batch)
            progress.advance(len(batch))
            if saved is not None and saved.due:
                await saved.save(decided)
        if saved is not None and interrupted.is_set():
            await saved.save(decided)
            raise KeyboardInterrupt
        await decided.finish()
        progress.stop()
        status = _report(options, decided.tally, decided.tally.read - before, time.monotonic() - began, decided.prefix)
        if saved is not None:
            saved.complete()
        return status


@contextmanager
def _interrupted() -> Iterator[asyncio.Event]:
    """Set by SIGINT and SIGTERM, which end nothing by themselves until the block ends."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, event.set)
    try:
        yield event
    finally:
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(one)


async def _until(event: asyncio.Event, batches: AsyncIterator[Sequence[Record]]) -> AsyncIterator[Sequence[Record]]:
    """`batches`, up to the one that is waited for when `event` is set."""
    stopped = asyncio.create_task(event.wait())
    following = asyncio.create_task(_next(batches))
    try:
        while not event.is_set():
            await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done() or (batch := following.result()) is None:
                return
            # It is read while this one is decided.
            following = asyncio.create_task(_next(batches))
            yield batch
    finally:
        await cancel(stopped, following)


async def _next(batches: AsyncIterator[Sequence[Record]]) -> Sequence[Record] | None:
    return await anext(batches, None)


class _Told:
    """Writes differences as they are found: all to the file, some to the terminal."""

    def __init__(self, path: Path | None, json: bool) -> None:
        self._path = path
        self._output: IO[bytes] | None = None
        self._json = json
        self._shown = 0
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def go_on(self, before: int) -> None:
        """Open the file, behind the differences that were found `before`; raises ConfigurationError without them."""
        if self._path is None:
            return
        if not before:
            self._output = open_private(self._path, buffering=0)
            return
        if not self._path.exists():
            raise ConfigurationError(f"{self._path} is gone, which has what was found before: remove the checkpoint")
        with self._path.open("rb") as lines:
            end = sum(len(line) for line, _ in zip(lines, range(before), strict=False))
        os.truncate(self._path, end)
        self._output = open_private(self._path, append=True, buffering=0)

    def close(self) -> None:
        """Nothing follows."""
        if self._output is not None:
            self._output.close()

    def __call__(self, difference: Difference) -> None:
        line = to_json(difference.plain())
        if self._output is not None:
            self._output.write(line + b"\n")
        if self._json:
            sys.stdout.buffer.write(line + b"\n")
            return
        self._shown += 1
        if self._shown > SHOWN:
            return
        who = f" by {difference.processor}" if difference.processor else ""
        self._console.print(f"{difference.kind:8} {difference.type}{who}  {difference.id}  of {difference.cause}")
        for path, (was, now) in difference.changes.items():
            self._console.print(f"         {path}: {_short(was)} -> {_short(now)}")


def _short(value: Any) -> str:
    return printable(to_json(value).decode(), 200)


def _report(options: Options, tally: Tally, read: int, seconds: float, prefix: str) -> int:
    """`read`: entries in these `seconds`."""
    outputs = {kind: tally.outputs[kind] for kind in ("identical", "changed", "missing", "new")}
    rate = round(read / seconds) if seconds else 0
    notes = {why: count for why, count in tally.notes.items() if count}
    if options.json:
        figures = {"read": tally.read, **outputs, "not_judged": notes, "seconds": seconds, "per_second": rate}
        sys.stdout.buffer.write(to_json(figures) + b"\n")
    else:
        typer.echo(f"{tally.read} entries in {seconds:.1f} s, {rate} a second")
        judged = ", ".join(f"{count} {kind}" for kind, count in outputs.items())
        typer.echo(f"{tally.outputs.total()} outputs judged: {judged}")
        if notes:
            typer.echo(f"{sum(notes.values())} entries and outputs not judged:")
        for why, count in notes.items():
            typer.echo(f"  {count} {why}")
        if options.keep:
            typer.echo(f"kept: {prefix}*")
    if not tally.outputs.total():
        raise ConfigurationError("nothing could be compared: is there a trail (HEADGATE_TRAIL) of what is replayed?")
    return 0 if tally.good else EXIT_DIFFERENCES
