"""The egress service, put together."""

from __future__ import annotations

import time
from typing import Final

import redis.asyncio as aioredis
import structlog

from egress.api.app import Services, create
from egress.api.listing import Listing
from egress.api.publisher import Publisher
from egress.api.signed import SignedRequests
from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.reaper import Reaper
from egress.router import DatagramRouter, Router
from egress.topics.store import TopicStore
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import LogConnection
from runtime.bus.group import ConsumerGroup, by_partition
from runtime.bus.servers import connect
from runtime.bus.trim import Trimmer
from runtime.http import HttpServer
from runtime.logs import configure_logs
from runtime.service import Component, Health, serve
from runtime.settings import Settings
from runtime.stream_app import StreamApplication
from runtime.telemetry import Telemetry
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailed,
    AuthFailedDelivery,
    DatagramDelivery,
    DatagramPublished,
    DisconnectDelivery,
    DisconnectRequested,
    Event,
    MessagePublished,
    PresenceDelivery,
    PublicationDelivery,
    SessionAuthenticated,
    SessionClosed,
    SessionDisconnected,
    SessionEnded,
    SessionRestored,
    SessionRestoredDelivery,
    SubscribedDelivery,
    SubscriptionEnded,
    SubscriptionGranted,
    SubscriptionSuspended,
    SupersededDelivery,
    UnsubscribedDelivery,
)

log = structlog.get_logger()

#: Entries routed in one round trip to Redis, and the most that one failure repeats.
MAX_BATCH: Final = 256
#: What the router reads, and what it writes for gateways.
OUTBOUND: Final[tuple[type[Event], ...]] = (
    SessionAuthenticated,
    SessionRestored,
    AuthFailed,
    SessionEnded,
    DisconnectRequested,
    SubscriptionGranted,
    SubscriptionSuspended,
    SubscriptionEnded,
    MessagePublished,
)
DELIVERIES: Final[tuple[type[Event], ...]] = (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    SessionRestoredDelivery,
    SupersededDelivery,
    SubscribedDelivery,
    UnsubscribedDelivery,
    PublicationDelivery,
    PresenceDelivery,
    DisconnectDelivery,
)


def now_ms() -> int:
    """The wall clock, in Unix ms."""
    return time.time_ns() // 1_000_000


def build(settings: Settings) -> tuple[list[Component], Health]:
    """The components in the order of their start; raises ConfigurationError."""
    verifier = settings.verifier()
    keys, health = settings.keys, Health()
    telemetry = Telemetry.from_settings(settings, "egress")
    client = connect(settings)
    appender = Appender(client, assurance=Assurance.of(settings.ack))
    store, directory = TopicStore(client, settings), Directory(client, keys)
    deliveries = DeliveryStreams(client, appender, settings)
    streams = _streams(settings, client, appender, telemetry, store, directory, deliveries)
    reaper = Reaper(settings, client, directory, deliveries, now_ms)
    connection = LogConnection(client, settings)
    health.add(connection.problem)
    health.add(streams.problem)
    health.add(reaper.problem)
    trimmer = Trimmer(client, settings, streams.groups["router"].owned)
    health.warn(trimmer.warning)
    services = Services(
        Publisher(appender, keys, telemetry, now_ms),
        directory,
        Listing(directory, store, settings.partitions),
        health,
    )
    api = SignedRequests(create(services), client=client, keys=keys, verifier=verifier)
    server = HttpServer(api, settings.api_host, settings.api_port, drain=settings.drain_seconds)
    return [connection, telemetry, appender, streams, reaper, trimmer, server], health


def _streams(
    settings: Settings,
    client: aioredis.Redis,
    appender: Appender,
    telemetry: Telemetry,
    store: TopicStore,
    directory: Directory,
    deliveries: DeliveryStreams,
) -> StreamApplication:
    keys = settings.keys
    outbound = [keys.outbound(partition) for partition in range(settings.partitions)]
    router = ConsumerGroup(
        settings,
        client,
        appender,
        telemetry,
        logs=outbound,
        group="router",
        handler=Router(store, directory, deliveries).handle,
        key=by_partition,
        max_batch=MAX_BATCH,
    )
    datagrams = ConsumerGroup(
        settings,
        client,
        appender,
        telemetry,
        logs=[keys.datagrams(key) for key in outbound],
        group="router-datagrams",
        handler=DatagramRouter(store, deliveries, now_ms).handle,
        key=by_partition,
        max_batch=MAX_BATCH,
    )
    gateway = keys.delivery("gateway")
    return StreamApplication(
        settings,
        "egress",
        [router, datagrams],
        reads={keys.outbound(0): OUTBOUND, keys.datagrams(keys.outbound(0)): [DatagramPublished]},
        writes={
            keys.inbound(0): [SessionDisconnected, SessionClosed],
            gateway: DELIVERIES,
            keys.datagrams(gateway): [DatagramDelivery],
        },
    )


async def run(settings: Settings) -> None:
    """Run the service until SIGTERM."""
    configure_logs(settings, "egress")
    components, health = build(settings)
    await serve("egress", components, health)
