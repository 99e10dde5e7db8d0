"""`headgate replay` and `headgate inspect`: what happened, once more, and to whom."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from console.inspection.kinds import Kind
from console.replay.choices import Speed, Target
from console.sources import Source

#: Exit status of what SIGTERM ended, as shells give it.
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
#: Seconds until it is asked to end once more: Python 3.11 can lose a cancellation in asyncio.wait_for
#: (https://github.com/python/cpython/issues/86296), and what it does last may take a while.
_AGAIN_S: Final = 5.0


async def _until_told(running: Coroutine[Any, Any, int]) -> int:
    """Gives the exit status. SIGTERM ends it in order: a sandbox goes with its server, or its keys."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    task, waiting = asyncio.ensure_future(running), asyncio.ensure_future(told.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_S)
    return EXIT_TERMINATED if task.cancelled() else task.result()


def replay(
    target: Annotated[Target, typer.Option(help="Where to: sandbox compares what the code makes of it now.")] = (
        Target.PRINT
    ),
    source: Annotated[Source, typer.Option(help="What is replayed.")] = Source.LOG,
    since: Annotated[str, typer.Option("--from", help="From this time (ISO 8601, UTC) or stream id on.")] = "",
    until: Annotated[str, typer.Option("--to", help="Before this time or stream id.")] = "",
    session: Annotated[str, typer.Option(help="Only of this session.")] = "",
    user: Annotated[str, typer.Option(help="Only of this user.")] = "",
    channel: Annotated[str, typer.Option(help="Only of this channel.")] = "",
    type_: Annotated[
        str,
        typer.Option("--type", help="Only of this event type."),
    ] = "",
    speed: Annotated[Speed, typer.Option(help="As it happened, ten times that, or as fast as it goes.")] = Speed.MAX,
    output: Annotated[Path | None, typer.Option(help="The file; of a sandbox, for every difference.")] = None,
    application: Annotated[str, typer.Option(help="URL of a test application to ask, not the recording.")] = "",
    on_log: Annotated[bool, typer.Option("--on-log", help="The sandbox on the log's own server.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sandbox's keys (with --on-log).")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="File or, of a sandbox, directory to go on from.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    live: Annotated[bool, typer.Option("--live", help="With --target live: append to the log in use.")] = False,
) -> None:
    """Replay what is recorded: print it, file it, or let the code that is checked out decide it again.

    A sandbox replays whole sessions: those that have an entry of what is chosen.

    Status 0: all outputs are identical. 1: some differ, or could not be answered. 2: something is to be put right.
    """
    from console.output import forget_stdout
    from console.replay.command import replay as run
    from console.replay.options import Options

    options = Options(
        target=target,
        source=source,
        speed=speed,
        session=session,
        user=user,
        channel=channel,
        type=type_,
        since=since,
        until=until,
        output=output,
        application=application,
        on_log=on_log,
        keep=keep,
        checkpoint=checkpoint,
        json=json,
        live=live,
    )
    status = 0
    try:
        status = asyncio.run(_until_told(run(options)))
    except BrokenPipeError:
        forget_stdout()
    raise typer.Exit(status)


def inspect(
    kind: Annotated[Kind, typer.Argument(help="What to look into.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Which one: a session, a user, a channel or an event id.")],
    source: Annotated[Source, typer.Option(help="Where to look.")] = Source.ALL,
    since: Annotated[str, typer.Option("--from", help="From this time (ISO 8601, UTC) or stream id on.")] = "",
    until: Annotated[str, typer.Option("--to", help="Before this time or stream id.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what happened, and why no more did: entries, what was done with each, and who was delivered what."""
    from console.inspection.command import inspect as run
    from console.output import forget_stdout
    from console.replay.options import between

    wanted = between(since, until)
    try:
        asyncio.run(run(kind, name, wanted, source, json=json))
    except BrokenPipeError:
        forget_stdout()
