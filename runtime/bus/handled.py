"""How far every group of a log has handled it: what is before that nobody needs any more."""

from __future__ import annotations

from typing import Any, Final

import redis.asyncio as aioredis

from runtime.settings import Settings
from schemas.groups import FORWARDER, INBOUND, OUTBOUND, TRAIL
from schemas.keys import Keys

#: Lua. `less(a,b)` compares stream ids, `parts(id)` gives their two numbers. `look(key,idle,required)` gives the id
#: before which every group but `idle` has handled everything ('0-0' while a required group is missing, nil when there
#: is no group), and of each of these its name, backlog, and `needs`: the oldest entry that it has not handled, or nil.
LOOK: Final = """
local function parts(id) local ms,seq=string.match(id,'^(%d+)-(%d+)$') return ms,seq end
local function less(a,b)
  local am,as=parts(a) local bm,bs=parts(b)
  if am~=bm then return #am<#bm or (#am==#bm and am<bm) end
  return #as<#bs or (#as==#bs and as<bs)
end
local function look(key,idle,required)
  local missing={} local count=0
  for _,name in ipairs(required) do missing[name]=true count=count+1 end
  local low=nil local groups={}
  for _,raw in ipairs(redis.call('XINFO','GROUPS',key)) do
    local g={} for i=1,#raw,2 do g[raw[i]]=raw[i+1] end
    if g['name']~=idle then
      if missing[g['name']] then missing[g['name']]=nil count=count-1 end
      local last=g['last-delivered-id']
      local unread=redis.call('XRANGE',key,'('..last,'+','COUNT',1)[1]
      local needs=nil local backlog=g['pending']
      if unread then needs=unread[1] backlog=backlog+math.max(1,g['lag'] or redis.call('XLEN',key)) end
      if g['pending']>0 then needs=redis.call('XPENDING',key,g['name'])[2] end
      groups[#groups+1]={name=g['name'],backlog=backlog,needs=needs}
      if not needs then local ms,seq=parts(last) needs=ms..'-'..string.format('%.0f',tonumber(seq)+1) end
      if low==nil or less(needs,low) then low=needs end
    end
  end
  if count>0 then low='0-0' end
  return low,groups
end
"""
#: KEYS: the log. ARGV: 1 a group that does not count, 2… the groups that must exist. Gives the oldest entry that a
#: group needs, '0-0' while one of them is missing, or nothing.
_NEEDED: Final = f"""{LOOK}
if redis.call('EXISTS',KEYS[1])==0 then return #ARGV>1 and '0-0' end
local low,groups=look(KEYS[1],ARGV[1],{{unpack(ARGV,2)}})
if low=='0-0' then return low end
local oldest=nil
for _,g in ipairs(groups) do if g.needs and (not oldest or less(g.needs,oldest)) then oldest=g.needs end end
return oldest
"""


def idle(settings: Settings) -> str:
    """The group that nothing waits for though it may exist; empty: none."""
    return FORWARDER if settings.laravel_via == "log" else ""


def required(keys: Keys, log: str, removed: set[str]) -> list[str]:
    """The groups that must exist on `log`, without `removed` ones."""
    if log.endswith(Keys.datagrams("")):
        groups: tuple[str, ...] = ()
    elif log.endswith(Keys.trail("")):
        groups = TRAIL
    else:
        groups = INBOUND if log.startswith(f"{keys.prefix}{{in:") else OUTBOUND
    return [group for group in groups if group not in removed]


async def oldest_needed(client: aioredis.Redis, settings: Settings, removed: set[str]) -> int | None:
    """When the oldest entry was appended (Unix ms) that a group of any log has not handled; None: all is handled.

    0 while a group is missing that the log is kept for. Raises RedisError.
    """
    script = client.register_script(_NEEDED)
    keys, ignored = settings.keys, idle(settings)
    logs = [log(partition) for log in (keys.inbound, keys.outbound) for partition in range(keys.partitions)]
    # As a context: a pipeline that fails while it looks for its scripts keeps its connection otherwise.
    async with client.pipeline(transaction=False) as pipeline:
        for log in logs:
            await script(keys=[log], args=[ignored, *required(keys, log, removed | {ignored})], client=pipeline)
        found: list[Any] = await pipeline.execute()
    needed = [int(one.decode().partition("-")[0]) for one in found if one]
    return min(needed, default=None)
