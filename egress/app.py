"""The egress service, put together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import redis.asyncio as aioredis
import structlog

from egress.api.admission import Admission
from egress.api.app import Services, create
from egress.api.headers import with_headers
from egress.api.listing import Listing
from egress.api.publisher import Publisher
from egress.api.revocation import Revoker
from egress.api.signed import SignedRequests
from egress.bridge import Bridge
from egress.channels import Channels
from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.pusher.app import PusherApi
from egress.pusher.door import PusherRequests
from egress.reaper import Reaper
from egress.router import DatagramRouter, Router
from egress.topics.store import TopicStore
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import LogConnection
from runtime.bus.group import ConsumerGroup, by_partition
from runtime.bus.quarantine import Quarantine
from runtime.bus.servers import connect
from runtime.bus.trim import Trimmer
from runtime.http import HttpServer
from runtime.logs import configure_logs
from runtime.service import Component, Health, serve
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from runtime.stream_app import StreamApplication
from runtime.telemetry import Telemetry
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailed,
    AuthFailedDelivery,
    ChannelUnsubscribed,
    DatagramDelivery,
    DatagramPublished,
    DisconnectDelivery,
    DisconnectRequested,
    EntryHandled,
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
    UnsubscribeRequested,
)
from schemas.keys import Keys

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
    assurance = Assurance.of(settings.ack)
    appender = Appender(client, assurance=assurance)
    store, directory = TopicStore(client, settings, assurance=assurance), Directory(client, keys)
    channels = Channels(client, directory, settings)
    deliveries = DeliveryStreams(client, appender, settings)
    streams = _streams(settings, client, appender, telemetry, store, directory, deliveries)
    reaper = Reaper(settings, client, directory, deliveries, now_ms)
    connection = LogConnection(client, settings)
    health.add(connection.problem)
    health.add(streams.problem)
    health.add(reaper.problem)
    trimmer = Trimmer(client, settings, streams.groups["router"].held)
    health.add(trimmer.problem)
    health.warn(trimmer.warning)
    publisher = Publisher(appender, directory, keys, telemetry, now_ms)
    services = Services(
        publisher,
        Revoker(appender, directory, store, keys, now_ms),
        directory,
        Listing(directory, store, settings.partitions),
        channels,
        health,
        streams.asyncapi,
    )
    admission = Admission(client, keys, settings.api_requests_per_minute)
    api = PusherRequests(
        PusherApi(client, publisher, channels, keys).app(),
        SignedRequests(create(services), admission=admission, verifier=verifier),
        admission=admission,
        app_id=settings.app_id,
        secrets=verifier.secrets,
    )
    server = HttpServer(
        with_headers(api, settings.api_origins), settings.api_host, settings.api_port, drain=settings.drain_seconds
    )
    components: list[Component] = [connection, telemetry, appender, streams, reaper, trimmer]
    if settings.pubsub_bridge:
        bridge = Bridge(settings, client, publisher)
        health.add(bridge.problem)
        health.warn(bridge.warning)
        components.append(bridge)
    return [*components, server], health


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
    sessions = SessionRecord(client, keys, settings.resume_seconds, channel_events=settings.channel_events)
    outbound = [keys.outbound(partition) for partition in range(settings.partitions)]
    quarantine = Quarantine()
    router = ConsumerGroup(
        settings,
        client,
        appender,
        telemetry,
        logs=outbound,
        group="router",
        handler=Router(store, directory, deliveries, sessions).handle,
        key=by_partition,
        max_batch=MAX_BATCH,
        trailed=True,
        quarantine=quarantine,
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
        quarantine=quarantine,
    )
    return StreamApplication(settings, "egress", [router, datagrams], reads=_reads(settings), writes=_writes(settings))


def _reads(settings: Settings) -> dict[str, Sequence[type[Event]]]:
    outbound = f"{settings.prefix}{{out:q}}"
    return {outbound: OUTBOUND, Keys.datagrams(outbound): [DatagramPublished]}


def _writes(settings: Settings) -> dict[str, Sequence[type[Event]]]:
    inbound, outbound = f"{settings.prefix}{{in:p}}", f"{settings.prefix}{{out:q}}"
    gateway = settings.keys.delivery("gateway")
    return {
        inbound: [SessionDisconnected, SessionClosed, ChannelUnsubscribed, UnsubscribeRequested],
        gateway: DELIVERIES,
        Keys.datagrams(gateway): [DatagramDelivery],
        Keys.trail(outbound): [EntryHandled],
    }


async def run(settings: Settings) -> None:
    """Run the service until SIGTERM."""
    configure_logs(settings, "egress")
    components, health = build(settings)
    await serve("egress", components, health)
