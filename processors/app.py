"""The processors service, put together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import redis.asyncio as aioredis
import structlog

from processors.application import Application
from processors.channels.datagrams import DatagramsHandler
from processors.handlers import DECIDING, processor
from processors.persistence.handler import PersistenceHandler
from processors.persistence.reader import ArchiveReader
from processors.persistence.redaction import Redaction
from processors.persistence.retention import Retention, RetentionRules
from processors.persistence.store import Archive
from runtime import service
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import LogConnection
from runtime.bus.group import ConsumerGroup, by_partition
from runtime.bus.quarantine import Quarantine
from runtime.bus.servers import connect
from runtime.http import HttpServer, operator_app
from runtime.service import Component, Health
from runtime.settings import Settings
from runtime.stream_app import StreamApplication
from runtime.telemetry import Telemetry
from schemas import events
from schemas.channel_auth import ChannelVerifier
from schemas.errors import ConfigurationError
from schemas.groups import FORWARDER
from schemas.keys import Keys
from schemas.sealing import Sealer

log = structlog.get_logger()

PROCESSORS: Final = (*DECIDING, "persistence")
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
        self._quarantine = Quarantine()
        self._inbound = [settings.keys.inbound(p) for p in range(settings.partitions)]
        self.needs: list[Component] = []
        self.checks: list[Callable[[], str | None]] = []
        """What each of them says is wrong, or None."""
        self.groups: list[ConsumerGroup] = []

    def add(self, name: str) -> None:
        """Add one of PROCESSORS; raises ConfigurationError."""
        if name in DECIDING:
            self._add_deciding(name)
        elif name == "persistence":
            self._add_persistence()
        else:
            raise ConfigurationError(f"no processor {name!r}: choose from {', '.join(PROCESSORS)}")
        if name == "channels":
            self._add_datagrams()

    def _bus(self) -> tuple[Settings, aioredis.Redis, Appender, Telemetry]:
        return self._settings, self._client, self._appender, self._telemetry

    def _add_deciding(self, name: str) -> None:
        settings = self._settings
        repeatable = name != FORWARDER or settings.laravel_idempotent
        application = Application(settings, self._telemetry, name, repeatable=repeatable)
        self.needs.append(application)
        sealer, verifier = Sealer(settings.secret_bytes()), ChannelVerifier(settings.verifier().secrets)
        made = processor(name, settings, self._client, application, sealer, verifier)
        self.groups.append(
            ConsumerGroup(
                *self._bus(),
                logs=self._inbound,
                group=name,
                handler=made.handler,
                types=made.types,
                trailed=True,
                quarantine=self._quarantine,
            )
        )

    def _add_datagrams(self) -> None:
        datagrams = DatagramsHandler(self._appender, self._settings.keys, self._settings.datagram_log_size)
        self.groups.append(
            ConsumerGroup(
                *self._bus(),
                logs=[Keys.datagrams(key) for key in self._inbound],
                group="channels-datagrams",
                handler=datagrams.handle,
                key=by_partition,
                max_batch=DATAGRAM_BATCH,
                quarantine=self._quarantine,
            )
        )

    def _add_persistence(self) -> None:
        archive = Archive(self._settings.archive_url)
        redaction = Redaction(self._settings.archive_redact, self._settings.secret_bytes)
        retention = Retention(
            RetentionRules(self._settings.archive_retention),
            archive,
            ArchiveReader(self._settings.archive_url),
            self._client,
            self._settings,
        )
        self.needs += [archive, retention]
        self.checks.append(retention.problem)
        outbound = [self._settings.keys.outbound(p) for p in range(self._settings.partitions)]
        logs = [*self._inbound, *(Keys.datagrams(key) for key in self._inbound), *outbound]
        logs += [Keys.trail(log) for log in (*self._inbound, *outbound)]
        self.groups.append(
            ConsumerGroup(
                *self._bus(),
                logs=logs,
                group="persistence",
                handler=PersistenceHandler(archive, logs, redaction).handle,
                key=by_partition,
                max_batch=ARCHIVE_BATCH,
                linger=ARCHIVE_LINGER_S,
                # The archive keeps entries as they were written, with the traceparent they had.
                traced=False,
                quarantine=self._quarantine,
            )
        )


def build(settings: Settings, only: Collection[str] | None = None) -> tuple[list[Component], Health]:
    """The components of the service in start order, with the processors that `only` names (default: all that
    HEADGATE_LARAVEL_VIA asks for).

    Raises ConfigurationError.
    """
    if only is None:
        only = [name for name in PROCESSORS if name != FORWARDER or settings.laravel_via == "http"]
    chosen = tuple(dict.fromkeys(only))
    if not chosen:
        raise ConfigurationError(f"no processor was chosen: name some of {', '.join(PROCESSORS)}")
    if FORWARDER in chosen and settings.laravel_via == "log":
        raise ConfigurationError(
            "HEADGATE_LARAVEL_VIA is log: the application reads the log itself, and nothing is kept for the processor "
            f"{FORWARDER}; choose others, or set HEADGATE_LARAVEL_VIA to http"
        )
    client = connect(settings)
    appender = Appender(client, assurance=Assurance.of(settings.ack))
    telemetry = Telemetry.from_settings(settings, "processors")
    plan = Plan(settings, client, appender, telemetry)
    for name in chosen:
        plan.add(name)
    application = StreamApplication(
        settings, "processors", plan.groups, reads=_reads(settings), writes=_writes(settings)
    )
    health = Health()
    connection = LogConnection(client, settings)
    health.add(connection.problem)
    health.add(application.problem)
    for check in plan.checks:
        health.add(check)
    http = HttpServer(
        operator_app(health, application.asyncapi), settings.processors_http_host, settings.processors_http_port
    )
    return [connection, appender, telemetry, *plan.needs, application, http], health


async def run(settings: Settings, only: Collection[str] | None = None) -> None:
    """Run the processors until SIGTERM; raises ConfigurationError, LogUnavailable."""
    components, health = build(settings, only)
    await service.serve("processors", components, health)


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
            events.UnsubscribeRequested,
            events.ChannelSubscribed,
            events.ChannelUnsubscribed,
            events.MessageReceived,
            events.WhisperReceived,
        ],
        Keys.datagrams(inbound): [events.DatagramReceived],
    }


def _writes(settings: Settings) -> dict[str, list[type[events.Event]]]:
    inbound, outbound = f"{settings.prefix}{{in:p}}", f"{settings.prefix}{{out:q}}"
    return {
        inbound: [
            events.SessionOpened,
            events.SessionClosed,
            events.ChannelSubscribed,
            events.ChannelUnsubscribed,
            events.UnsubscribeRequested,
        ],
        Keys.trail(inbound): [events.EntryHandled],
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
