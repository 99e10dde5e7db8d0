"""Reading this gateway's delivery stream, and saying that the gateway lives."""

from __future__ import annotations

import asyncio

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from ingress import metrics
from ingress.hub import Hub
from runtime.bus.cursor import follow
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import HeadgateError

log = structlog.get_logger()

#: A gateway without a heartbeat for this long is gone, and so are its delivery streams (seconds).
LIFETIME_S = 60


class Deliveries:
    """Hands what arrives to the hub; a Component."""

    def __init__(self, settings: Settings, client: aioredis.Redis, hub: Hub, telemetry: Telemetry) -> None:
        self._client = client
        self._hub = hub
        self._telemetry = telemetry
        self._gateways = settings.keys.gateways()
        self._id = settings.gateway_id
        self._stream = settings.keys.delivery(settings.gateway_id)
        self._datagrams = settings.keys.datagrams(self._stream)
        self._delivered = "0"
        self._tasks: list[asyncio.Task[None]] = []

    def problem(self) -> str | None:
        """Why deliveries do not arrive, or None."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        return f"{ended[0]} ended" if ended else None

    async def start(self) -> None:
        """Begin to read; the streams are this incarnation's own, so from their beginning."""
        self._tasks = [
            asyncio.create_task(self._read(), name="delivery reader"),
            asyncio.create_task(self._beat(), name="gateway heartbeat"),
        ]

    async def stop(self) -> None:
        """Stop reading and leave the list of gateways."""
        await cancel(*self._tasks)
        try:
            await self._client.zrem(self._gateways, self._id)
            await self._client.unlink(self._stream, self._datagrams)
        except RedisError as error:
            log.warning("gateway.sign_off_failed", error=type(error).__name__)

    async def _read(self) -> None:
        async for batch in follow(self._client, {self._stream: "0", self._datagrams: "0"}):
            for key, stream_id, entry in batch:
                self._deliver(entry)
                if key == self._stream:
                    self._delivered = stream_id

    def _deliver(self, entry: Entry) -> None:
        with self._telemetry.span(f"deliver {entry.type.removeprefix('delivery.')}", entry.traceparent):
            try:
                result = self._hub.deliver(entry)
            except HeadgateError as error:
                result = "invalid"
                log.error("delivery.invalid", id=entry.id, type=entry.type, error=str(error))
        metrics.DELIVERIES.labels(result).inc()

    async def _beat(self) -> None:
        """Tell the router that this gateway lives, keep its streams, trim what was delivered."""
        while True:
            try:
                pipeline = self._client.pipeline(transaction=False)
                seconds, _ = await self._client.time()
                pipeline.zadd(self._gateways, {self._id: seconds * 1000})
                pipeline.expire(self._stream, LIFETIME_S)
                pipeline.expire(self._datagrams, LIFETIME_S)
                if self._delivered != "0":
                    pipeline.xtrim(self._stream, minid=self._delivered, approximate=True)
                await pipeline.execute()
            except RedisError as error:
                log.warning("gateway.heartbeat_failed", error=type(error).__name__)
            await asyncio.sleep(LIFETIME_S / 6)
