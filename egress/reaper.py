"""The reaper: ends the sessions of gateways that are lost.

It writes the `session.closed` that the gateway no longer can, to each session's inbound log, and so after all that the
gateway had written: processors handle it as any other. Every egress process watches for itself. That is safe without
a lease, since one script takes a session from the index and writes its end, and it costs one look a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from egress.delivery import DeliveryStreams
from egress.directory import Directory
from egress.routing.liveness import Liveness
from runtime.gateways import LOST, Gateways
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.events import SessionClosed
from schemas.ids import of_session_end

log = structlog.get_logger()

GATEWAYS_LOST: Final = Counter("headgate_reaper_gateways_lost", "Gateways that this process declared lost.")
SESSIONS_ENDED: Final = Counter("headgate_reaper_sessions_ended", "Sessions that were ended in place of their gateway.")

#: The reason in the end of a session whose gateway is lost.
REASON: Final = "gateway_lost"
#: Seconds between looks. Shorter where the lease is short, so that a look never counts as slept through.
LOOK_S: Final = 1.0
#: Sessions that are ended in one round trip.
BATCH: Final = 200

#: KEYS: 1 inbound log, 2 the gateway's open sessions in it, 3 gateways with open sessions in it.
#: ARGV: 1 session, 2 gateway, then the fields of its end. Gives 0 when the session has ended already.
_END: Final = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[3], ARGV[2]) end
return 1
"""


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
            try:
                await self.look()
                await self._streams.tend()
            except RedisError as error:
                log.warning("reaper.failed", error=type(error).__name__)
            await asyncio.sleep(min(LOOK_S, self._lease / 5))

    async def look(self) -> None:
        """Look once, and end what is to be ended. Raises RedisError; what was begun is finished by the next look."""
        try:
            await self._look()
        except RedisError:
            self._liveness.blind()
            raise

    async def _look(self) -> None:
        beats: dict[str, float | None] = {**await self._gateways.beats()}
        self._streams.living(gateway for gateway, beat in beats.items() if beat != LOST)
        open_in = await self._open_in()
        lost = self._liveness.look(dict.fromkeys(open_in) | beats, self._now())
        for gateway in beats.keys() | open_in.keys():
            beat = beats.get(gateway)
            if beat != LOST and gateway not in lost:
                continue
            if beat is not None and beat != LOST:
                if not await self._gateways.declare_lost(gateway, beat):
                    continue
                GATEWAYS_LOST.inc()
                log.error("gateway.lost", gateway=gateway)
            if partitions := open_in.get(gateway):
                await self._end_sessions(gateway, partitions)
            elif not await self._is_listed(gateway):
                await self._forget(gateway)

    async def _open_in(self) -> dict[str, list[int]]:
        """The gateways with open sessions, and the partitions that have these."""
        pipeline = self._client.pipeline(transaction=False)
        for partition in range(self._keys.partitions):
            pipeline.smembers(self._keys.open_gateways(self._keys.inbound(partition)))
        found: dict[str, list[int]] = {}
        for partition, names in enumerate(await pipeline.execute()):
            for name in names:
                found.setdefault(name.decode(), []).append(partition)
        return found

    async def _end_sessions(self, gateway: str, partitions: list[int]) -> None:
        ended = 0
        for partition in partitions:
            inbound = self._keys.inbound(partition)
            keys = [inbound, self._keys.open_sessions(inbound, gateway), self._keys.open_gateways(inbound)]
            async for batch in self._batches(keys[1]):
                pipeline = self._client.pipeline(transaction=False)
                for session, user in batch:
                    fields = self._closed(session, user, gateway).fields()
                    pipeline.eval(_END, len(keys), *keys, session, gateway, *fields)
                ended += sum(await pipeline.execute())
        SESSIONS_ENDED.inc(ended)
        log.warning("gateway.sessions_ended", gateway=gateway, sessions=ended)

    async def _batches(self, key: str) -> AsyncIterator[list[tuple[str, str]]]:
        """(session, user) of a gateway's open sessions; each at least once, though they are taken away meanwhile."""
        cursor = 0
        while True:
            found: Any
            cursor, found = await self._client.hscan(key, cursor, count=BATCH)
            if found:
                yield [(session.decode(), user.decode()) for session, user in found.items()]
            if cursor == 0:
                return

    def _closed(self, session: str, user: str, gateway: str) -> Entry:
        event = SessionClosed(code=0, reason=REASON, by="gateway")
        return Entry.of(
            event, id=of_session_end(session), ts=self._clock(), session=session, user=user, gateway=gateway
        )

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
