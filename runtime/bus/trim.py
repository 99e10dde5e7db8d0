"""Trimming logs behind every group, and seeing groups that fall behind.

XTRIM knows nothing of groups: what it removes is lost for those that have not handled it
(https://redis.io/docs/latest/commands/xtrim/). So one script looks at the groups of a log and trims it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter, Gauge
from redis.exceptions import RedisError

from runtime.bus.handled import LOOK, idle, required
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.keys import Keys

log = structlog.get_logger()

TRIMMED = Counter("headgate_trimmed", "Entries trimmed from logs after every group had handled them.")
DROPPED = Counter("headgate_dropped", "Entries dropped from logs and trails at their longest, not handled by a group.")
EXPIRED = Counter("headgate_dead_letters_expired", "Dead letters dropped after HEADGATE_DEAD_SECONDS.")
BACKLOG = Gauge("headgate_group_backlog", "Entries that a group has not handled, on this process's share.", ["group"])
AGE = Gauge("headgate_group_age_seconds", "Age of the oldest entry that a group has not handled.", ["group"])

TICK_S: Final = 1.0
#: In place of the most entries: a log is left alone, and only its dead letters end.
_ALONE: Final = -1

#: KEYS: the log, its dead letters. ARGV: 1 now (Unix ms; empty: as Redis has it), 2 how long entries and 3 dead letters
#: are kept (ms; 0: dead letters stay), 4 most entries, 0 for any number, -1 to leave the log alone, 5 a group that does
#: not count, 6… the groups that must exist.
#: Gives {trimmed, dropped, expired, {group, backlog, age of the oldest entry not handled (ms) or -1, …}}.
_TRIM: Final = f"""{LOOK}
local now=tonumber(ARGV[1])
if not now then local time=redis.call('TIME') now=time[1]*1000+math.floor(time[2]/1000) end
local function before(ms) return string.format('%.0f-0',math.max(0,now-ms)) end
local expired=ARGV[3]=='0' and 0 or redis.call('XTRIM',KEYS[2],'MINID',before(ARGV[3]))
if ARGV[4]=='-1' or redis.call('EXISTS',KEYS[1])==0 then return {{0,0,expired,{{}}}} end
local low,found=look(KEYS[1],ARGV[5],{{unpack(ARGV,6)}})
low=low or before(0)
local groups={{}}
for _,g in ipairs(found) do
  local age=g.needs and math.max(0,now-parts(g.needs)) or -1
  groups[#groups+1]=g.name groups[#groups+1]=g.backlog groups[#groups+1]=age
end
local old=before(ARGV[2])
local trimmed=redis.call('XTRIM',KEYS[1],'MINID','~',less(old,low) and old or low)
local dropped=0 local most=tonumber(ARGV[4])
if most>0 and redis.call('XLEN',KEYS[1])>most then
  trimmed=trimmed+redis.call('XTRIM',KEYS[1],'MINID',low)
  if redis.call('XLEN',KEYS[1])>most then dropped=redis.call('XTRIM',KEYS[1],'MAXLEN','~',most) end
end
return {{trimmed,dropped,expired,groups}}
"""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind."""

    backlog: int
    """Entries that it has not handled."""
    age: float
    """Seconds since the oldest of them was appended; 0 when there is none."""


class Trimmer:
    """Trims the logs of the partitions that `owned` names, once a second; a Component."""

    def __init__(
        self,
        client: aioredis.Redis,
        settings: Settings,
        owned: Callable[[], Sequence[int]],
        clock: Callable[[], int] | None = None,
    ) -> None:
        """`clock` gives Unix ms; without one the time is that of Redis, which made the ids of the entries."""
        self._client = client
        self._settings = settings
        self._owned = owned
        self._idle = idle(settings)
        self._clock = clock
        self._script = client.register_script(_TRIM)
        self._stalled: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="trimmer")

    async def stop(self) -> None:
        """End."""
        await cancel(self._task)

    def problem(self) -> str | None:
        """Why logs are not trimmed, or None."""
        return "the trimmer ended" if self._task is not None and self._task.done() else None

    def warning(self) -> str | None:
        """Which groups do not keep up, or None."""
        return f"groups do not keep up: {', '.join(sorted(self._stalled))}" if self._stalled else None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._observe(await self.trim())
            except RedisError as error:
                log.warning("log.trim_failed", error=type(error).__name__)
            except Exception:  # Without a trimmer logs grow until Redis is full: the next look may go well.
                log.exception("log.trim_broken")

    async def trim(self) -> dict[str, Lag]:
        """Trim what may go now; gives how far each group is behind. Raises RedisError."""
        keys, limits, trails = self._settings.keys, self._limits(), self._limits(self._settings.trail)
        dead_only = self._limits(_ALONE)
        removed = await removed_groups(self._client, keys) | {self._idle}
        # As a context: a pipeline that fails while it looks for its scripts keeps its connection otherwise.
        async with self._client.pipeline(transaction=False) as pipeline:
            for partition in self._owned():
                for log in (keys.inbound(partition), keys.outbound(partition)):
                    for stream, bounds in ((log, limits), (Keys.trail(log), trails)):
                        args = bounds + required(keys, stream, removed)
                        await self._script(keys=[stream, Keys.dead(stream)], args=args, client=pipeline)
                    # Those who write datagrams bound their log.
                    datagrams = Keys.datagrams(log)
                    await self._script(keys=[datagrams, Keys.dead(datagrams)], args=dead_only, client=pipeline)
            answers = await pipeline.execute()
        behind: dict[str, list[Lag]] = defaultdict(list)
        for trimmed, dropped, expired, groups in answers:
            _count(trimmed, dropped, expired)
            for name, backlog, oldest in zip(groups[::3], groups[1::3], groups[2::3], strict=True):
                behind[name.decode()].append(Lag(backlog, max(0, oldest) / 1000))
        return {group: _together(lags) for group, lags in behind.items()}

    def _limits(self, most: int | None = None) -> list[str]:
        """`most`: entries of a stream, in place of HEADGATE_LOG_MAX_ENTRIES."""
        settings = self._settings
        now = str(self._clock()) if self._clock is not None else ""
        most = settings.log_max_entries if most is None else most
        kept = settings.log_seconds * 1000, settings.dead_seconds * 1000, most
        return [now, *map(str, kept), self._idle]

    def _observe(self, behind: Mapping[str, Lag]) -> None:
        BACKLOG.clear()
        AGE.clear()
        for group, lag in behind.items():
            BACKLOG.labels(group).set(lag.backlog)
            AGE.labels(group).set(lag.age)
        stalled = {group for group, lag in behind.items() if lag.age > self._settings.stall_seconds}
        for group in stalled - self._stalled:
            log.error("group.stalled", group=group, seconds=round(behind[group].age), backlog=behind[group].backlog)
        for group in self._stalled - stalled:
            log.info("group.caught_up", group=group)
        self._stalled = stalled


async def removed_groups(client: aioredis.Redis, keys: Keys) -> set[str]:
    """The groups that an operator has removed: nothing waits for them. Raises RedisError."""
    members: Any = await client.smembers(keys.removed_groups())
    return {name.decode() for name in members}


def _together(lags: Sequence[Lag]) -> Lag:
    return Lag(sum(lag.backlog for lag in lags), max(lag.age for lag in lags))


def _count(trimmed: int, dropped: int, expired: int) -> None:
    TRIMMED.inc(trimmed)
    if expired:
        EXPIRED.inc(expired)
        log.warning("dead_letters.expired", entries=expired)
    if dropped:
        DROPPED.inc(dropped)
        log.error(
            "log.dropped",
            entries=dropped,
            hint="HEADGATE_LOG_MAX_ENTRIES or HEADGATE_TRAIL reached: a group is behind",
        )
