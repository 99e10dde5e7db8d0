"""The processors service, put together."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import redis.asyncio as aioredis
import structlog
from fastapi import FastAPI, Response

from processors.application import Application
from processors.auth.client import AuthClient
from processors.auth.handler import AuthHandler
from processors.channels.client import ChannelsClient
from processors.channels.datagrams import DatagramsHandler
from processors.channels.handler import ChannelsHandler
from processors.channels.store import ChannelsStore
from processors.handling import entries
from processors.laravel.client import LaravelClient
from processors.laravel.handler import LaravelHandler
from processors.persistence.handler import PersistenceHandler
from processors.persistence.store import Archive
from runtime import service
from runtime.bus.appender import Appender
from runtime.bus.connection import LogConnection
from runtime.bus.group import ConsumerGroup, by_partition
from runtime.bus.servers import connect
from runtime.http import HttpServer, operator_app
from runtime.service import Component, Health
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from runtime.stream_app import StreamApplication
from runtime.telemetry import Telemetry
from schemas import events
from schemas.errors import ConfigurationError
from schemas.keys import Keys
from schemas.sealing import Sealer

log = structlog.get_logger()

PROCESSORS: Final = ("auth", "channels", "laravel", "persistence")
DATAGRAM_BATCH: Final = 200
ARCHIVE_BATCH: Final = 500
#: Nobody waits for the archive: it reads this seldom, and takes more at a time.
ARCHIVE_LINGER_S: Final = 0.2


class Plan:
    """The parts of the chosen processors: what they need, and their consumer groups."""

    def __init__(self, settings: Settings, client: aioredis.Redis, appender: Appender, telemetry: Telemetry) -> None:
        self._settings = settings
        self._client = client
        self._appender = appender
        self._telemetry = telemetry
        self._inbound = [settings.keys.inbound(p) for p in range(settings.partitions)]
        self.needs: list[Component] = []
        self.groups: list[ConsumerGroup] = []

    def add(self, processor: str) -> None:
        """Add one of PROCESSORS; raises ConfigurationError."""
        match processor:
            case "auth":
                self._add_auth()
            case "channels":
                self._add_channels()
            case "laravel":
                self._add_laravel()
            case "persistence":
                self._add_persistence()
            case _:
                raise ConfigurationError(f"no processor {processor!r}: choose from {', '.join(PROCESSORS)}")

    def _application(self, processor: str) -> Application:
        application = Application(self._settings, self._telemetry, processor)
        self.needs.append(application)
        return application

    def _bus(self) -> tuple[Settings, aioredis.Redis, Appender, Telemetry]:
        return self._settings, self._client, self._appender, self._telemetry

    def _add_auth(self) -> None:
        client = AuthClient(self._application("auth"), self._settings.laravel_verify_path)
        sessions = SessionRecord(self._client, self._settings.keys, self._settings.resume_seconds)
        handler = AuthHandler(client, sessions, Sealer(self._settings.secret_bytes()))
        self.groups.append(
            ConsumerGroup(
                *self._bus(), logs=self._inbound, group="auth", handler=entries(handler.handle), types=handler.TYPES
            )
        )

    def _add_channels(self) -> None:
        client = ChannelsClient(self._application("channels"), self._settings.laravel_authorize_path)
        handler = ChannelsHandler(client, ChannelsStore(self._client, self._settings.keys))
        datagrams = DatagramsHandler(self._appender, self._settings.keys, self._settings.datagram_log_size)
        self.groups += (
            ConsumerGroup(
                *self._bus(), logs=self._inbound, group="channels", handler=entries(handler.handle), types=handler.TYPES
            ),
            ConsumerGroup(
                *self._bus(),
                logs=[Keys.datagrams(key) for key in self._inbound],
                group="channels-datagrams",
                handler=datagrams.handle,
                key=by_partition,
                max_batch=DATAGRAM_BATCH,
            ),
        )

    def _add_laravel(self) -> None:
        client = LaravelClient(
            self._application("laravel"),
            handle_path=self._settings.laravel_handle_path,
            event_path=self._settings.laravel_event_path,
        )
        handler = LaravelHandler(client)
        self.groups.append(
            ConsumerGroup(
                *self._bus(), logs=self._inbound, group="laravel", handler=entries(handler.handle), types=handler.TYPES
            )
        )

    def _add_persistence(self) -> None:
        archive = Archive(self._settings.archive_url)
        self.needs.append(archive)
        outbound = [self._settings.keys.outbound(p) for p in range(self._settings.partitions)]
        logs = [*self._inbound, *(Keys.datagrams(key) for key in self._inbound), *outbound]
        self.groups.append(
            ConsumerGroup(
                *self._bus(),
                logs=logs,
                group="persistence",
                handler=PersistenceHandler(archive, logs).handle,
                key=by_partition,
                max_batch=ARCHIVE_BATCH,
                linger=ARCHIVE_LINGER_S,
                # The archive keeps entries as they were written, with the traceparent they had.
                traced=False,
            )
        )


def build(settings: Settings, only: Collection[str] | None = None) -> tuple[list[Component], Health]:
    """The components of the service in start order, with the processors that `only` names (default: all).

    Raises ConfigurationError.
    """
    chosen = PROCESSORS if only is None else tuple(dict.fromkeys(only))
    if not chosen:
        raise ConfigurationError(f"no processor was chosen: name some of {', '.join(PROCESSORS)}")
    client = connect(settings)
    appender = Appender(client)
    telemetry = Telemetry.from_settings(settings, "processors")
    plan = Plan(settings, client, appender, telemetry)
    for processor in chosen:
        plan.add(processor)
    application = StreamApplication(
        settings, "processors", plan.groups, reads=_reads(settings), writes=_writes(settings)
    )
    health = Health()
    connection = LogConnection(client, settings)
    health.add(connection.problem)
    health.add(application.problem)
    http = HttpServer(_operator_app(health, application), settings.processors_http_host, settings.processors_http_port)
    return [connection, appender, telemetry, *plan.needs, application, http], health


async def run(settings: Settings, only: Collection[str] | None = None) -> None:
    """Run the processors until SIGTERM; raises ConfigurationError, LogUnavailable."""
    components, health = build(settings, only)
    await service.serve("processors", components, health)


def _operator_app(health: Health, application: StreamApplication) -> FastAPI:
    app = operator_app(health)

    @app.get("/asyncapi.json")
    async def asyncapi() -> Response:
        """The AsyncAPI 3 document of the streams."""
        return Response(application.asyncapi(), media_type="application/json")

    return app


def _reads(settings: Settings) -> dict[str, list[type[events.Event]]]:
    inbound = f"{settings.prefix}{{in:p}}"
    return {
        inbound: [
            events.AuthRequested,
            events.SessionOpened,
            events.SessionResumed,
            events.SessionDisconnected,
            events.SessionClosed,
            events.SubscribeRequested,
            events.Unsubscribed,
            events.MessageReceived,
            events.WhisperReceived,
        ],
        Keys.datagrams(inbound): [events.DatagramReceived],
    }


def _writes(settings: Settings) -> dict[str, list[type[events.Event]]]:
    inbound, outbound = f"{settings.prefix}{{in:p}}", f"{settings.prefix}{{out:q}}"
    return {
        inbound: [events.SessionOpened, events.SessionClosed],
        outbound: [
            events.SessionAuthenticated,
            events.AuthFailed,
            events.SessionRestored,
            events.SessionEnded,
            events.SubscriptionGranted,
            events.SubscriptionSuspended,
            events.SubscriptionEnded,
            events.MessagePublished,
        ],
        Keys.datagrams(outbound): [events.DatagramPublished],
    }
