"""The `headgate` command. What a command needs is imported when it runs: none waits for the others'."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from console import archive_commands, log_commands, replay_commands
from console.config import as_env, as_json, explain, fail, print_table, settings_in_force
from console.version import headgate_version
from runtime.settings import Settings
from schemas.errors import HeadgateError

#: Exit status when the operator has something to put right: settings, ports, the log's server.
EXIT_CONFIGURATION: Final = 2

app = typer.Typer(
    name="headgate",
    help="Browsers' WebTransport traffic into durable streams, and the application's answers back out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(log_commands.dead, name="dead")
app.add_typer(log_commands.groups, name="groups")
app.add_typer(archive_commands.archive, name="archive")
app.add_typer(archive_commands.erase, name="erase")
app.command()(replay_commands.replay)
app.command()(replay_commands.inspect)


def main() -> None:
    """Run the command line. What the operator must put right ends with status 2 and words, no traceback."""
    try:
        app()
    except ValidationError as error:
        fail(explain(error))
        sys.exit(EXIT_CONFIGURATION)
    except (HeadgateError, SettingsError) as error:
        fail(str(error))
        sys.exit(EXIT_CONFIGURATION)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headgate {headgate_version()}")
        raise typer.Exit


@app.callback()
def headgate(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of `headgate` itself."""


def _serve(settings: Settings, service: str, running: Coroutine[Any, Any, None]) -> None:
    import uvloop

    from runtime.logs import configure_logs

    configure_logs(settings, service)
    uvloop.run(running)


@app.command()
def ingress(
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes on the UDP port, in place of HEADGATE_INGRESS_WORKERS.")
    ] = None,
) -> None:
    """Run a gateway: sessions of browsers into the log, deliveries back to them."""
    from ingress.app import run
    from ingress.server.workers import Place

    settings = Settings() if workers is None else Settings(ingress_workers=workers)
    place = Place.inherited()
    if place is None and settings.ingress_workers > 1:
        from console.workers import Workers
        from runtime.logs import configure_logs

        configure_logs(settings, "ingress")
        asyncio.run(Workers(settings).run())
    else:
        _serve(settings, "ingress", run(settings, place))


@app.command()
def processors(
    only: Annotated[str, typer.Option(help="Only these, comma separated: auth, channels, laravel, persistence.")] = "",
) -> None:
    """Run the processors: consumer groups over the log that authenticate, authorise, forward and archive."""
    from processors.app import run

    settings = Settings()
    chosen = {name.strip() for name in only.split(",") if name.strip()}
    _serve(settings, "processors", run(settings, chosen or None))


@app.command()
def egress() -> None:
    """Run the router of publications and the HTTP API that the application calls."""
    from egress.app import run

    settings = Settings()
    _serve(settings, "egress", run(settings))


@app.command()
def console() -> None:
    """Run the web console for operators."""
    from console.web.app import run

    settings = Settings()
    _serve(settings, "console", run(settings))


@app.command()
def dev(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the demo page; 0 takes a free one.")] = 8080,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the log, the archive and the certificate are kept.")
    ] = None,
) -> None:
    """Run everything on this machine for development, with a demo page."""
    from console.dev import run
    from console.plan import make_plan
    from runtime.logs import configure_logs

    plan = make_plan(Settings(), port=port, data_dir=data_dir)
    configure_logs(plan.settings, "dev")
    asyncio.run(run(plan))


@app.command()
def tail(
    datagrams: Annotated[bool, typer.Option("--datagrams", help="The datagram logs too.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="From the oldest entry kept.")] = False,
    session: Annotated[str, typer.Option(help="Only of this session: its id or the end of it.")] = "",
    type_: Annotated[str, typer.Option("--type", help="Only of this event type; * and ? match.")] = "",
    topic: Annotated[str, typer.Option(help="Only of this topic, as channel:lobby; * and ? match.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[int | None, typer.Option("--max", min=1, help="End after so many entries.")] = None,
) -> None:
    """Follow the log: every entry as it is appended, until Ctrl-C."""
    from console.embedded import log_of_dev
    from console.output import JsonLines, Lines, forget_stdout
    from console.tail import Filter, Options
    from console.tail import tail as follow_log
    from runtime.logs import configure_logs

    settings = log_of_dev(Settings())
    configure_logs(settings, "tail")
    options = Options(Filter(session, type_, topic), datagrams=datagrams, from_start=from_start, limit=limit)
    try:
        asyncio.run(follow_log(settings, JsonLines() if json else Lines(), options))
    except BrokenPipeError:
        forget_stdout()


@app.command()
def config(
    json: Annotated[bool, typer.Option("--json", help="As a JSON array.")] = False,
    env: Annotated[bool, typer.Option("--env", help="As lines of a .env file.")] = False,
) -> None:
    """Show every setting: its variable, the value in force (secrets hidden) and what it is."""
    settings = settings_in_force(Settings())
    if json:
        typer.echo(as_json(settings))
    elif env:
        typer.echo(as_env(settings))
    else:
        print_table(settings)


@app.command()
def certs(
    renew: Annotated[bool, typer.Option("--renew", help="Make a new development certificate.")] = False,
) -> None:
    """Show the certificate of the WebTransport listener."""
    from console import certs as certificates

    settings, now = Settings(), datetime.now(UTC)
    found = certificates.renew(settings, now) if renew else certificates.in_force(settings, now)
    certificates.print_certificate(found, now, renewed=renew)


if __name__ == "__main__":
    main()
