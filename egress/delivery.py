"""Writing to the gateways' delivery streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from egress.routing.deliveries import Delivery
from runtime.bus.appender import Appender
from runtime.settings import Settings

log = structlog.get_logger()

DELIVERIES: Final = Counter("headgate_router_deliveries", "Entries appended to delivery streams.", ["stream"])

#: A delivery stream that nobody writes to any more is gone after this long, in ms.
LIFE_MS: Final = 600_000
#: A stream's end is put off at most this often, in seconds.
_REFRESH_S: Final = 60.0


class DeliveryStreams:
    """The streams that gateways read, bounded in length and in age."""

    def __init__(
        self,
        client: aioredis.Redis,
        appender: Appender,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._appender = appender
        self._keys = settings.keys
        self._messages, self._datagrams = settings.delivery_log_size, settings.datagram_log_size
        self._now = monotonic
        self._refreshed: dict[str, float] = {}
        self._appended: set[str] = set()
        """Streams that were appended to since their end was put off: they may have been made anew, without an end."""

    async def append(self, deliveries: Iterable[Delivery], *, datagrams: bool = False) -> None:
        """Append `deliveries` in order; raises LogUnavailable unless every one was confirmed."""
        maxlen = self._datagrams if datagrams else self._messages
        streams = set()
        futures = []
        for gateway, entry in deliveries:
            key = self._keys.delivery(gateway)
            if datagrams:
                key = self._keys.datagrams(key)
            streams.add(key)
            futures.append(self._appender.append(key, entry, maxlen=maxlen))
        if not futures:
            return
        # Noted first: what was not confirmed may be there all the same.
        self._appended |= streams
        await asyncio.gather(*futures)
        DELIVERIES.labels("datagrams" if datagrams else "messages").inc(len(futures))
        await self.tend()

    def living(self, gateways: Iterable[str]) -> None:
        """Say which gateways there are.

        The stream of any other is removed some time. What comes late for it makes it anew, without an end, which then
        cannot wait: if this process ended before, the stream would stay for ever.
        """
        kept = {name for key in map(self._keys.delivery, gateways) for name in (key, self._keys.datagrams(key))}
        self._refreshed = {key: at for key, at in self._refreshed.items() if key in kept}

    async def tend(self) -> None:
        """Put off the end of the streams that were appended to, where that is due."""
        now = self._now()
        due = [key for key in self._appended if now - self._refreshed.get(key, -_REFRESH_S) >= _REFRESH_S]
        if not due:
            return
        pipeline = self._client.pipeline(transaction=False)
        for key in due:
            pipeline.pexpire(key, LIFE_MS)
        try:
            await pipeline.execute()
        except RedisError as error:  # What was appended is appended; the next batch tries again.
            log.warning("delivery.expiry_not_set", error=type(error).__name__)
            return
        self._refreshed = {key: at for key, at in self._refreshed.items() if now - at < _REFRESH_S}
        self._refreshed |= dict.fromkeys(due, now)
        self._appended.difference_update(due)
