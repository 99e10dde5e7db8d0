"""The last minutes of Headgate: snapshots taken one after another, rates between them, latencies on the way."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from console.records import order
from console.web.snapshot import Snapshot, logs_of, look
from runtime.tasks import cancel
from schemas.keys import Keys

log = structlog.get_logger()

#: Seconds between two snapshots, and how many are kept: two minutes.
TICK_S: Final = 2.0
KEPT: Final = 60
#: Latencies are those of the newest entries of each stream, if they are not older than this.
SAMPLE: Final = 16
SAMPLE_MS: Final = 60_000
#: What rates are given of.
RATES: Final = ("in", "out", "deliveries", "datagrams")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from when the gateway received what led to an entry until that entry was appended."""

    hop: str
    """`inbound`, `outbound` or `delivery`."""
    count: int
    p50: float
    p95: float
    most: float


class Live:
    """Takes snapshots for as long as the console runs; a Component."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._taken: deque[tuple[float, Snapshot]] = deque(maxlen=KEPT + 1)
        self._task: asyncio.Task[None] | None = None
        self._away = False

    async def start(self) -> None:
        """Take the first snapshot, if Redis answers, and go on."""
        await self._take()
        self._task = asyncio.create_task(self._run(), name="live")

    async def stop(self) -> None:
        """End."""
        await cancel(self._task)

    def problem(self) -> str | None:
        """Why no more snapshots come, or None."""
        return "the overview has ended" if self._task is not None and self._task.done() else None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await self._take()

    async def _take(self) -> None:
        try:
            self._taken.append((time.monotonic(), await look(self._client, self._keys)))
            self._away = False
        except RedisError as error:
            if not self._away:
                log.warning("console.log_away", error=type(error).__name__)
            self._away = True
        # Nobody waits for the task that looks: if a defect ended it, what is old would be shown as new.
        except Exception:
            if not self._away:
                log.exception("console.look_broken")
            self._away = True

    @property
    def away(self) -> bool:
        """Whether the last look failed: the snapshot is an old one."""
        return self._away

    @property
    def snapshot(self) -> Snapshot | None:
        """The last one; None: there never was one."""
        return self._taken[-1][1] if self._taken else None

    def rates(self, kind: str) -> list[float]:
        """Entries a second of one of RATES, between each two snapshots, the oldest first."""
        pairs = zip(self._taken, list(self._taken)[1:], strict=False)
        # A stream that was made anew counts from 0 again.
        return [max(0, new.added(kind) - old.added(kind)) / (then - before) for (before, old), (then, new) in pairs]

    async def latencies(self) -> list[Latency]:
        """How long the newest entries took, by hop; a hop without any is left out. Raises RedisError.

        A time is the difference between the gateway's clock and that of Redis.
        """
        snapshot = self.snapshot
        if snapshot is None:
            return []
        logs = logs_of(self._keys)
        hops = [(short.partition(":")[0], key) for short, key in logs.items() if short.count(":") == 1]
        named = {"in": "inbound", "out": "outbound"}
        streams = [(named[direction], key) for direction, key in hops]
        streams += [("delivery", self._keys.delivery(gateway.name)) for gateway in snapshot.gateways]
        async with self._client.pipeline(transaction=False) as pipeline:
            for _, key in streams:
                pipeline.xrevrange(key, count=SAMPLE)
            answers = await pipeline.execute()
        times: dict[str, list[int]] = {"inbound": [], "outbound": [], "delivery": []}
        for (hop, _), entries in zip(streams, answers, strict=True):
            times[hop] += _times(entries, hop, snapshot.now_ms - SAMPLE_MS)
        return [_latency(hop, sorted(found)) for hop, found in times.items() if found]


def _times(entries: Sequence[Any], hop: str, since_ms: int) -> list[int]:
    """Milliseconds from each entry's time to its append; of those that follow from a client's frame."""
    found = []
    for stream_id, fields in entries:
        appended = order(stream_id.decode())[0]
        happened = fields.get(b"ts", b"")
        # What the application publishes by itself has no cause: it has not come this way.
        came = hop != "outbound" or fields.get(b"cause")
        if appended >= since_ms and came and happened.isdigit():
            found.append(max(0, appended - int(happened)))
    return found


def _latency(hop: str, times: list[int]) -> Latency:
    def at(share: float) -> float:
        return float(times[min(len(times) - 1, int(share * len(times)))])

    return Latency(hop, len(times), at(0.5), at(0.95), float(times[-1]))
