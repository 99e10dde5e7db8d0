"""Reading this gateway's delivery stream, and saying that the gateway lives."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from ingress import metrics
from ingress.hub import Hub
from runtime.backoff import backoff
from runtime.bus.cursor import follow
from runtime.gateways import Gateways
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import HeadgateError, LogUnavailable

log = structlog.get_logger()

#: Signs of life in a lease: one may come late, and one not at all.
BEATS_PER_LEASE: Final = 3
#: Delivery streams outlive their gateway's last sign of life by so many leases.
STREAM_LEASES: Final = 6
#: Whoever gets so many entries at once is behind. A stream that is cut short keeps more than that.
_BEHIND: Final = 100


class Deliveries:
    """Hands what arrives to the hub; a Component."""

    def __init__(
        self,
        settings: Settings,
        client: aioredis.Redis,
        hub: Hub,
        telemetry: Telemetry,
        renamed: Callable[[str], None],
    ) -> None:
        """`renamed` is told of another name than the configured one: the sessions there are now are over."""
        self._client = client
        self._hub = hub
        self._telemetry = telemetry
        self._renamed = renamed
        self._keys = settings.keys
        self._gateways = Gateways(client, settings.keys)
        self._lease = settings.gateway_lease_seconds
        self._first_id = settings.gateway_id
        self._id = settings.gateway_id
        self._delivered = "0"
        self._cut = False
        """The stream lost what was not read yet."""
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why deliveries do not arrive, or None."""
        ended = [task.get_name() for task in (self._reader, self._heart) if task is not None and task.done()]
        return f"{ended[0]} ended" if ended else None

    async def start(self) -> None:
        """Register, then begin to read; raises LogUnavailable."""
        try:
            # Before any session opens: those of a gateway that is not on the list are ended.
            await self._register(self._first_id)
        except RedisError as error:
            raise LogUnavailable(f"the gateway could not register: {type(error).__name__}") from error
        if self._id != self._first_id:
            log.warning("gateway.id_taken", configured=self._first_id, gateway=self._id)
            self._renamed(self._id)
        self._read_on()
        self._heart = asyncio.create_task(self._beat(), name="gateway heartbeat")

    async def stop(self) -> None:
        """Stop reading and leave the list of gateways, unless sessions are left whose ends others have to log."""
        await cancel(self._heart, self._reader)
        if self._heart is None or len(self._hub):
            return
        try:
            await self._gateways.remove(self._id)
            await self._client.unlink(*self._streams())
        except RedisError as error:
            log.warning("gateway.sign_off_failed", error=type(error).__name__)

    async def _register(self, name: str) -> None:
        """Take `name`, or one like it if it is on the list: a gateway that died without signing off had it."""
        while not await self._gateways.register(name):
            name = f"{self._first_id}-{secrets.token_hex(3)}"
        self._id = name

    def _streams(self) -> tuple[str, str]:
        """The delivery stream and its datagrams; this incarnation's own, so they are read from their beginning."""
        messages = self._keys.delivery(self._id)
        return messages, self._keys.datagrams(messages)

    def _read_on(self) -> None:
        self._delivered, self._cut = "0", False
        self._reader = asyncio.create_task(self._read(*self._streams()), name="delivery reader")

    async def _read(self, messages: str, datagrams: str) -> None:
        try:
            async for batch in follow(self._client, {messages: "0", datagrams: "0"}):
                behind = len(batch) >= _BEHIND and sum(key == messages for key, _, _ in batch) >= _BEHIND
                if behind and await self._was_cut(messages):
                    break
                for key, stream_id, entry in batch:
                    self._deliver(entry)
                    if key == messages:
                        self._delivered = stream_id
        # A gateway that reads nothing and shows signs of life is deaf: it begins anew, as after a cut.
        except Exception:
            log.exception("delivery.reader_broken")
        self._cut = True
        self._wake.set()

    async def _was_cut(self, messages: str) -> bool:
        """Whether entries behind the last delivered one are gone: then so is that one, since the oldest go first."""
        last, failures = self._delivered, 0
        while last != "0":
            try:
                return not await self._client.xrange(messages, last, last)
            except RedisError as error:
                log.warning("delivery.not_checked", error=type(error).__name__)
            except Exception:  # A gateway whose reader ends is deaf, and shows signs of life all the same.
                log.exception("delivery.check_broken")
            failures += 1
            await asyncio.sleep(backoff(failures))
        return False

    def _deliver(self, entry: Entry) -> None:
        with self._telemetry.span(f"deliver {entry.type.removeprefix('delivery.')}", entry.traceparent):
            try:
                result = self._hub.deliver(entry)
            except HeadgateError as error:
                result = "invalid"
                log.error("delivery.invalid", id=entry.id, type=entry.type, error=str(error))
            except Exception:
                # One entry that this gateway fails on must not make it deaf to all that follow.
                result = "failed"
                log.exception("delivery.failed", id=entry.id, type=entry.type)
        metrics.DELIVERIES.labels(result).inc()

    async def _beat(self) -> None:
        """Tell the others that this gateway lives, and learn from them when they think that it does not."""
        while True:
            wait = self._lease / BEATS_PER_LEASE
            try:
                if self._cut:
                    await self._begin_anew("gateway.fell_behind", metrics.FELL_BEHIND)
                elif await self._gateways.beat(self._id):
                    await self._tend_streams()
                else:
                    await self._begin_anew("gateway.declared_lost", metrics.DECLARED_LOST)
            except RedisError as error:
                log.warning("gateway.heartbeat_failed", error=type(error).__name__)
                wait = min(wait, 1.0)
            except Exception:  # A gateway that shows no more signs of life is declared lost, with all of its sessions.
                log.exception("gateway.heartbeat_broken")
                wait = min(wait, 1.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)
            self._wake.clear()

    async def _tend_streams(self) -> None:
        """Keep the streams, trim what was delivered."""
        messages, datagrams = self._streams()
        pipeline = self._client.pipeline(transaction=False)
        for key in (messages, datagrams):
            pipeline.expire(key, int(self._lease * STREAM_LEASES))
        if self._delivered != "0":
            pipeline.xtrim(messages, minid=self._delivered, approximate=True)
        await pipeline.execute()

    async def _begin_anew(self, why: str, counter: Counter) -> None:
        """End all sessions here, go on as another gateway.

        Everybody else has ended them or forgotten them, or what was for them is lost, which can be the beginning of
        sessions that nobody here knows of: they end with the old name, which shows no more signs of life.
        """
        lost = self._id
        await self._register(f"{self._first_id}-{secrets.token_hex(3)}")
        await cancel(self._reader)
        log.error(why, gateway=lost, now=self._id, sessions=len(self._hub))
        counter.inc()
        self._read_on()
        self._renamed(self._id)
