"""`headgate replay`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import IO, Any

import redis.asyncio as aioredis
import typer

from console.files import open_private
from console.log import opened_log
from console.operators import OperatorsLog, Who
from console.output import JsonLines, Lines, Write
from console.recordings import opened
from console.records import record as plain
from console.replay.beginning import beginning
from console.replay.checkpoint import Checkpoint
from console.replay.choices import Target
from console.replay.comparing import compare
from console.replay.live import TYPES, Live
from console.replay.options import Options
from console.replay.pace import paced
from console.replay.progress import Progress
from console.replay.related import related
from console.sources import Source
from runtime.recording import Record, Recording, Selection, recorded
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.keys import Keys
from schemas.readable import to_json


async def replay(options: Options) -> int:
    """Replay what is recorded; gives the exit status. Raises ConfigurationError, LogUnavailable, ArchiveUnavailable."""
    _check(options)
    settings = Settings()
    if options.target is Target.LIVE and options.source is not Source.LOG:
        _check_whole(settings)
    async with opened_log(settings) as (client, keys), opened(options.source, settings, client) as source:
        wanted = await _selection(options, source, keys)
        whole = options.source is Source.LOG and not (options.chosen or options.since or options.until)
        total = await _length(client, recorded(keys)) if whole else None
        if options.target is Target.SANDBOX:
            begins = await beginning(source, settings, client, keys)
            batches = partial(_read, options, source, keys)
            total = None if begins.parts else total
            return await compare(options, settings, client, keys, batches, replace(wanted, erased=True), begins, total)
        checkpoint = Checkpoint(options.checkpoint, options.what(settings))
        return await _copy(
            options, client, keys, source, replace(wanted, after=checkpoint.positions), total, checkpoint
        )


def _check(options: Options) -> None:
    options.selection()
    sandbox = options.target is Target.SANDBOX
    if not sandbox and (options.application or options.keep or options.on_log):
        raise ConfigurationError("--application, --keep and --on-log are about --target sandbox")
    if options.keep and not options.on_log:
        raise ConfigurationError("--keep is for a sandbox --on-log: any other ends with its server")
    if options.checkpoint and options.on_log:
        raise ConfigurationError("--checkpoint keeps a sandbox with a server of its own, not one --on-log")
    if (options.target is Target.FILE) != bool(options.output) and not sandbox:
        raise ConfigurationError("--target file and --output FILE go together")
    if (options.target is Target.LIVE) != options.live:
        raise ConfigurationError("writing into the log takes both --target live and --live")


def _check_whole(settings: Settings) -> None:
    """Raises ConfigurationError where the archive has messages without some of their fields."""
    for rule in settings.archive_redact:
        if any(fnmatchcase(name, rule.partition(":")[0]) for name in TYPES):
            raise ConfigurationError(
                f"the archive has messages without a field (HEADGATE_ARCHIVE_REDACT: {rule}): "
                "the application would handle something else than it did; replay the log, with --source log"
            )


async def _selection(options: Options, source: Recording, keys: Keys) -> Selection:
    """What is wanted; for a sandbox, all of the sessions that are meant, with the connections that resumed them."""
    wanted = options.selection()
    if options.target is not Target.SANDBOX or not options.chosen:
        return wanted
    sessions = await related(source, keys, wanted)
    if not sessions:
        raise ConfigurationError("no session of that kind is in what is replayed")
    return replace(wanted, user="", channel="", types=frozenset(), sessions=sessions)


async def _length(client: aioredis.Redis, streams: Sequence[str]) -> int:
    pipeline = client.pipeline(transaction=False)
    for stream in streams:
        pipeline.xlen(stream)
    return sum(await pipeline.execute())


def _read(options: Options, source: Recording, keys: Keys, wanted: Selection) -> AsyncIterator[Sequence[Record]]:
    return paced(source.read(recorded(keys), wanted), options.speed.factor)


# To a terminal, to a file, into the log


async def _copy(
    options: Options,
    client: aioredis.Redis,
    keys: Keys,
    source: Recording,
    wanted: Selection,
    total: int | None,
    checkpoint: Checkpoint,
) -> int:
    async with AsyncExitStack() as stack:
        live: Live | None = None
        file: IO[bytes] | None = None
        write: Write
        if options.target is Target.LIVE:
            live = Live(client, keys, checkpoint.run)
            typer.prompt(
                f"Type {live.sentence!r} to append to the log, for the application to handle", value_proc=live.confirmed
            )
            record = OperatorsLog(client, keys)
            await stack.enter_async_context(record.doing(Who.at_command_line(), "replay into log", options.words))
            write = live.queue
            checkpoint.write()  # Its name: whoever goes on with it appends under the same ids.
        elif options.output:
            file = stack.enter_context(open_private(options.output, append=bool(checkpoint.positions)))
            write = _Lines(file)
        else:
            write = JsonLines() if options.json else Lines()
        stack.callback(checkpoint.write)
        progress = stack.enter_context(Progress(total, lines=options.json))
        batches: Any = await stack.enter_async_context(aclosing(_read(options, source, keys, wanted)))
        async for batch in batches:
            for one in batch:
                write(*one)
            if file is not None:
                file.flush()
            if live is not None:
                await live.flush()
            checkpoint.reached(batch)
            if live is not None:
                checkpoint.write()  # At once: what is appended again is handled again.
            progress.advance(len(batch))
        progress.stop()
        if live is not None:
            typer.echo(live.said())
        checkpoint.complete()
    return 0


class _Lines:
    """JSON lines into a file, as `headgate tail --json` prints them."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output

    def __call__(self, stream: str, stream_id: str, entry: Any) -> None:
        self._output.write(to_json(plain(stream, stream_id, entry)) + b"\n")
