"""The web console, put together."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from console import theme
from console.operators import OperatorsLog
from console.web.access import Access
from console.web.archive_source import ArchiveSource
from console.web.channels import Channels
from console.web.door import Door
from console.web.joined import Joined
from console.web.live import Live
from console.web.log_source import LogSource
from console.web.operations import Operations
from console.web.pages import FOLDER, Pages
from console.web.replays.jobs import Jobs, NoSuchJob
from console.web.room import Room
from console.web.routes.activity import add_activity
from console.web.routes.channels import add_channels
from console.web.routes.dead import add_dead
from console.web.routes.overview import add_overview
from console.web.routes.replays import add_replays
from console.web.routes.sessions import add_sessions
from console.web.routes.sign_in import add_sign_in
from console.web.services import Services
from console.web.sessions import Sessions
from console.web.timeline import NoSuchEntry
from egress.api.listing import CursorError, Listing
from egress.directory import Directory
from egress.topics.store import TopicStore
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import LogConnection
from runtime.bus.dead import DeadLetters, NoSuchLetter
from runtime.bus.handled import idle
from runtime.bus.servers import connect
from runtime.http import HttpServer, operator_routes
from runtime.logs import configure_logs
from runtime.service import Component, Health, serve
from runtime.settings import Settings
from schemas.errors import InvalidTopic, LogUnavailable

log = structlog.get_logger()


def build(settings: Settings, *, links: Callable[[str], None] | None = None) -> tuple[list[Component], Health]:
    """The components in the order of their start; raises ConfigurationError.

    `links` is told one-time links, the only way in without a configured one: the first, and others that are asked for.
    """
    access = Access(settings, time.monotonic, links=links)
    keys, health, client = settings.keys, Health(), connect(settings)
    appender = Appender(client, assurance=Assurance.of(settings.ack))
    directory, store = Directory(client, keys), TopicStore(client, settings)
    live, services = Live(client, keys), Services(settings.console_services)
    letters, record = DeadLetters(client, keys), OperatorsLog(client, keys)
    jobs, archive = Jobs(settings, client), ArchiveSource(settings.archive_url, keys)
    connection = LogConnection(client, settings)
    health.add(connection.problem)
    health.add(live.problem)
    room = Room(
        access=access,
        pages=Pages(access, live),
        live=live,
        services=services,
        listing=Listing(directory, store, settings.partitions),
        sessions=Sessions(client, keys, directory),
        channels=Channels(client, keys),
        letters=letters,
        jobs=jobs,
        timelines=Joined(LogSource(client, keys), archive),
        operations=Operations(appender, keys, letters, jobs, record),
        record=record,
        never=frozenset({idle(settings)}),
    )
    access.print_link()
    server = HttpServer(create(room, health), settings.console_host, settings.console_port, drain=1)
    return [connection, appender, archive, live, services, jobs, server], health


def create(room: Room, health: Health) -> ASGIApp:
    """The console as an ASGI application."""
    app = FastAPI(title="Headgate console", docs_url=None, redoc_url=None, openapi_url=None)
    for add in (add_sign_in, add_overview, add_sessions, add_channels, add_dead, add_replays, add_activity):
        add(app, room)
    app.include_router(operator_routes(health))
    app.mount("/static/theme", StaticFiles(directory=theme.FILES))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    _failures(app, room.pages)
    return Door(app, room.access, room.pages.explain)


def _failures(app: FastAPI, pages: Pages) -> None:
    """Every refusal is a page that says what to do."""

    async def missing(request: Request, error: Exception) -> Response:
        return pages.explain(request, 404, str(error))

    for gone in (NoSuchEntry, NoSuchLetter, NoSuchJob, InvalidTopic):
        app.add_exception_handler(gone, missing)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        words = "There is no such page." if error.status_code == 404 else str(error.detail)
        return pages.explain(request, error.status_code, words)

    async def invalid(request: Request, _: Exception) -> Response:
        return pages.explain(request, 422, "The address of this page has something in it that it cannot have.")

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(CursorError, invalid)

    async def unavailable(request: Request, error: Exception) -> Response:
        log.warning("console.page_without_log", error=type(error).__name__)
        return pages.explain(request, 503, "The log does not answer: is Redis running? Try again in a moment.")

    app.add_exception_handler(LogUnavailable, unavailable)
    app.add_exception_handler(RedisError, unavailable)


async def run(settings: Settings) -> None:
    """Run the console until SIGTERM."""
    configure_logs(settings, "console")
    components, health = build(settings)
    await serve("console", components, health)
