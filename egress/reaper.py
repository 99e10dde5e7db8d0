"""The reaper: ends what nobody else can end any more.

For a gateway that is lost it writes the `session.disconnected` that the gateway no longer can, to each session's
inbound log, and so after all that the gateway had written. And it ends the sessions that were not resumed in time.
Every egress process does so for itself. That is safe without a lease, since one script changes the record of sessions
and writes what follows, and it costs one look a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.routing.liveness import Liveness
from runtime.gateways import LOST, Gateways
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from runtime.tasks import cancel

log = structlog.get_logger()

GATEWAYS_LOST: Final = Counter("headgate_reaper_gateways_lost", "Gateways that this process declared lost.")
CONNECTIONS_LOST: Final = Counter(
    "headgate_reaper_connections_lost", "Connections whose ends were written in place of their gateway."
)
SESSIONS_ENDED: Final = Counter("headgate_reaper_sessions_ended", "Sessions that were not resumed in time.")

#: The reason in the end of a connection whose gateway is lost.
REASON: Final = "gateway_lost"
#: Seconds between looks. Shorter where the lease is short, so that a look never counts as slept through.
LOOK_S: Final = 1.0


class Reaper:
    """Watches the gateways; a Component."""

    def __init__(
        self,
        settings: Settings,
        client: aioredis.Redis,
        directory: Directory,
        streams: DeliveryStreams,
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives Unix ms, `monotonic` seconds."""
        self._client = client
        self._keys = settings.keys
        self._directory = directory
        self._streams = streams
        self._gateways = Gateways(client, settings.keys)
        self._sessions = SessionRecord(
            client, settings.keys, settings.resume_seconds, channel_events=settings.channel_events
        )
        self._clock, self._now = clock, monotonic
        self._lease = settings.gateway_lease_seconds
        self._liveness = Liveness(self._lease)
        self._looked_up: dict[str, float] = {}
        """When the directory was last searched for the sessions of a lost gateway."""
        self._task: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why lost gateways are not noticed, or None."""
        return "the reaper ended" if self._task is not None and self._task.done() else None

    async def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run(), name="reaper")

    async def stop(self) -> None:
        """Watch no more."""
        await cancel(self._task)

    async def _run(self) -> None:
        while True:
            for duty in (self.look, self.end_overdue, self._streams.tend):
                try:
                    await duty()
                except RedisError as error:
                    log.warning("reaper.failed", error=type(error).__name__)
                    break
                except Exception:  # A defect in one must not keep the others from being done, nor any of them for good.
                    log.exception("reaper.broken")
            await asyncio.sleep(min(LOOK_S, self._lease / 5))

    async def look(self) -> None:
        """Look once, and end what is to be ended. Raises RedisError; what was begun is finished by the next look."""
        try:
            await self._look()
        except Exception:  # Whatever it was: a gateway that was not looked at was not silent.
            self._liveness.blind()
            raise

    async def end_overdue(self) -> None:
        """End the sessions that nobody resumed in time. Raises RedisError."""
        SESSIONS_ENDED.inc(await self._sessions.end_overdue(self._clock()))

    async def _look(self) -> None:
        beats: dict[str, float | None] = {**await self._gateways.beats()}
        self._streams.living(gateway for gateway, beat in beats.items() if beat != LOST)
        connected_in = await self._sessions.connected_in()
        lost = self._liveness.look(dict.fromkeys(connected_in) | beats, self._now())
        for gateway in beats.keys() | connected_in.keys():
            beat = beats.get(gateway)
            if beat != LOST and gateway not in lost:
                continue
            if beat is not None and beat != LOST:
                if not await self._gateways.declare_lost(gateway, beat):
                    continue
                GATEWAYS_LOST.inc()
                log.error("gateway.lost", gateway=gateway)
            if partitions := connected_in.get(gateway):
                await self._end_connections(gateway, partitions)
            elif not await self._is_listed(gateway):
                await self._forget(gateway)

    async def _end_connections(self, gateway: str, partitions: list[int]) -> None:
        lost = 0
        for partition in partitions:
            lost += await self._sessions.lose(gateway, partition, self._clock(), REASON)
        CONNECTIONS_LOST.inc(lost)
        log.warning("gateway.connections_ended", gateway=gateway, connections=lost)

    async def _is_listed(self, gateway: str) -> bool:
        """Whether sessions of `gateway` are in the directory: their ends are still on their way through the log."""
        now, looked = self._now(), self._looked_up.get(gateway)
        if looked is not None and now - looked < self._lease:
            return True  # A search goes through the whole directory: as seldom as nobody waits for it.
        self._looked_up[gateway] = now
        return await self._directory.lists_any(gateway)

    async def _forget(self, gateway: str) -> None:
        """Nothing is left of `gateway`."""
        messages = self._keys.delivery(gateway)
        await self._client.unlink(messages, self._keys.datagrams(messages))
        await self._gateways.remove(gateway)
        self._looked_up.pop(gateway, None)
        log.info("gateway.forgotten", gateway=gateway)
