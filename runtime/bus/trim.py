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

from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.groups import INBOUND, OUTBOUND
from schemas.keys import Keys

log = structlog.get_logger()

TRIMMED = Counter("headgate_trimmed", "Entries trimmed from logs after every group had handled them.")
DROPPED = Counter("headgate_dropped", "Entries dropped from logs at HEADGATE_LOG_MAX_ENTRIES, not handled by a group.")
EXPIRED = Counter("headgate_dead_letters_expired", "Dead letters dropped after HEADGATE_DEAD_SECONDS.")
BACKLOG = Gauge("headgate_group_backlog", "Entries that a group has not handled, on this process's share.", ["group"])
AGE = Gauge("headgate_group_age_seconds", "Age of the oldest entry that a group has not handled.", ["group"])

TICK_S: Final = 1.0

#: KEYS: the log, its dead letters. ARGV: 1 now (Unix ms; empty: as Redis has it), 2 how long entries and 3 dead letters
#: are kept (ms; 0: dead letters stay), 4 most entries, 0 for any number, 5… the groups that must exist.
#: Gives {trimmed, dropped, expired, {group, backlog, age of the oldest entry not handled (ms) or -1, …}}.
_TRIM: Final = """
local now=tonumber(ARGV[1])
if not now then local time=redis.call('TIME') now=time[1]*1000+math.floor(time[2]/1000) end
local function before(ms) return string.format('%.0f-0',math.max(0,now-ms)) end
local function parts(id) local ms,seq=string.match(id,'^(%d+)-(%d+)$') return ms,seq end
local function less(a,b)
  local am,as=parts(a) local bm,bs=parts(b)
  if am~=bm then return #am<#bm or (#am==#bm and am<bm) end
  return #as<#bs or (#as==#bs and as<bs)
end
local expired=ARGV[3]=='0' and 0 or redis.call('XTRIM',KEYS[2],'MINID',before(ARGV[3]))
local missing={} local count=0
for i=5,#ARGV do missing[ARGV[i]]=true count=count+1 end
if redis.call('EXISTS',KEYS[1])==0 then return {0,0,expired,{}} end
local low=nil local groups={}
for _,raw in ipairs(redis.call('XINFO','GROUPS',KEYS[1])) do
  local g={} for i=1,#raw,2 do g[raw[i]]=raw[i+1] end
  if missing[g['name']] then missing[g['name']]=nil count=count-1 end
  local last=g['last-delivered-id']
  local unread=redis.call('XRANGE',KEYS[1],'('..last,'+','COUNT',1)[1]
  local needs=nil local backlog=g['pending']
  if unread then needs=unread[1] backlog=backlog+math.max(1,g['lag'] or redis.call('XLEN',KEYS[1])) end
  if g['pending']>0 then needs=redis.call('XPENDING',KEYS[1],g['name'])[2] end
  groups[#groups+1]=g['name'] groups[#groups+1]=backlog groups[#groups+1]=needs and math.max(0,now-parts(needs)) or -1
  if not needs then local ms,seq=parts(last) needs=ms..'-'..string.format('%.0f',tonumber(seq)+1) end
  if low==nil or less(needs,low) then low=needs end
end
if count>0 or low==nil then low='0-0' end
local old=before(ARGV[2])
local trimmed=redis.call('XTRIM',KEYS[1],'MINID','~',less(old,low) and old or low)
local dropped=0 local most=tonumber(ARGV[4])
if most>0 and redis.call('XLEN',KEYS[1])>most then
  trimmed=trimmed+redis.call('XTRIM',KEYS[1],'MINID',low)
  if redis.call('XLEN',KEYS[1])>most then dropped=redis.call('XTRIM',KEYS[1],'MAXLEN','~',most) end
end
return {trimmed,dropped,expired,groups}
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

    async def trim(self) -> dict[str, Lag]:
        """Trim what may go now; gives how far each group is behind. Raises RedisError."""
        keys, limits = self._settings.keys, self._limits()
        removed = await removed_groups(self._client, keys)
        # As a context: a pipeline that fails while it looks for its scripts keeps its connection otherwise.
        async with self._client.pipeline(transaction=False) as pipeline:
            for partition in self._owned():
                for stream, groups in ((keys.inbound(partition), INBOUND), (keys.outbound(partition), OUTBOUND)):
                    required = [group for group in groups if group not in removed]
                    await self._script(keys=[stream, Keys.dead(stream)], args=limits + required, client=pipeline)
            answers = await pipeline.execute()
        behind: dict[str, list[Lag]] = defaultdict(list)
        for trimmed, dropped, expired, groups in answers:
            _count(trimmed, dropped, expired)
            for name, backlog, oldest in zip(groups[::3], groups[1::3], groups[2::3], strict=True):
                behind[name.decode()].append(Lag(backlog, max(0, oldest) / 1000))
        return {group: _together(lags) for group, lags in behind.items()}

    def _limits(self) -> list[str]:
        settings = self._settings
        now = str(self._clock()) if self._clock is not None else ""
        return [now, str(settings.log_seconds * 1000), str(settings.dead_seconds * 1000), str(settings.log_max_entries)]

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
        log.error("log.dropped", entries=dropped, hint="HEADGATE_LOG_MAX_ENTRIES was reached: a group does not keep up")
