"""Taking a user's payloads out of Redis.

A stream cannot be changed, and an entry that is deleted from it stays in its block, and so in every snapshot, until
the whole block is gone. So a log is trimmed behind all of its groups, up to the last entry of the user; streams that no
group reads are written anew. What nobody can be told to forget otherwise is dropped: the histories of topics that
something of the user was published on, from which clients then recover nothing, and are told so; and the sandboxes of
replays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from console.erasures import note_erasure
from console.replay.choices import SANDBOXES
from processors.persistence.erasing import Traces
from runtime.bus.cluster import masters
from runtime.bus.handled import LOOK, idle, required
from runtime.bus.trim import removed_groups
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.keys import Keys
from schemas.topics import user_topic

_PAGE: Final = 500
#: How many entries a block of a stream holds, where the server does not tell.
_BLOCK: Final = 100
_POLL_S: Final = 0.2
_TOPIC: Final = ("state", "history", "seen", "seen_before", "subscribers", "gateways", "members", "channels")

#: KEYS: the log. ARGV: 1 the last entry that must go, 2 how many entries a block holds, 3 a group that does not count,
#: 4… groups that must exist.
#: Trims the log behind its groups once no block with that entry, or one before it, can stay. Gives 1, or why not.
_TRIM: Final = f"""{LOOK}
if redis.call('EXISTS',KEYS[1])==0 then return 1 end
local low,groups=look(KEYS[1],ARGV[3],{{unpack(ARGV,4)}})
low=low or '18446744073709551615-18446744073709551615'
if not less(ARGV[1],low) then
  for _,g in ipairs(groups) do if g.needs and not less(ARGV[1],g.needs) then return 'the group '..g.name end end
  return 'a group that has never run'
end
if redis.call('XRANGE',KEYS[1],low,'+','COUNT',1)[1] then
  local behind=redis.call('XRANGE',KEYS[1],'('..ARGV[1],'('..low,'COUNT',ARGV[2])
  if #behind<tonumber(ARGV[2]) then return 'entries that are being handled in the same block' end
end
redis.call('XTRIM',KEYS[1],'MINID',low)
return 1
"""
#: KEYS: a stream without groups. ARGV: 1 the first id that stays, then entries that go. Gives how many went.
_REWRITE: Final = """
if redis.call('EXISTS',KEYS[1])==0 then return 0 end
local gone={} local count=redis.call('XTRIM',KEYS[1],'MINID',ARGV[1])
for i=2,#ARGV do gone[ARGV[i]]=true end
local items=redis.call('XRANGE',KEYS[1],'-','+')
local info={} local raw=redis.call('XINFO','STREAM',KEYS[1])
for i=1,#raw,2 do info[raw[i]]=raw[i+1] end
local lives=redis.call('PTTL',KEYS[1])
redis.call('DEL',KEYS[1])
local kept=false
for _,item in ipairs(items) do
  if gone[item[1]] then count=count+1 else redis.call('XADD',KEYS[1],item[1],unpack(item[2])) kept=true end
end
if kept then
  redis.call('XSETID',KEYS[1],info['last-generated-id'])
  if lives>0 then redis.call('PEXPIRE',KEYS[1],lives) end
end
return count
"""
#: KEYS: what a topic remembers of ids. ARGV: ids. What the end of a subscription gave holds the member's description.
_FORGET_MEMBER: Final = """
for _,id in ipairs(ARGV) do
  local known=redis.call('HGET',KEYS[1],id)
  local gateway=known and string.match(known,'^([^\\n]*)\\n.')
  if gateway then redis.call('HSET',KEYS[1],id,gateway..'\\n') end
end
"""


@dataclass
class Found:
    """What Redis holds of a user."""

    logs: dict[str, str] = field(default_factory=dict)
    """Logs, each with the id of its last entry of the user."""
    entries: int = 0
    dead: dict[str, list[str]] = field(default_factory=dict)
    """Dead letters by the key of their stream."""
    topics: set[str] = field(default_factory=set)
    """Topics that the router remembers something of: the user's own, and others with a history."""


class RedisEraser:
    """Finds and takes away. Every coroutine raises RedisError."""

    def __init__(self, client: aioredis.Redis, settings: Settings) -> None:
        self._client = client
        self._keys = keys = settings.keys
        self._idle = idle(settings)
        # A gateway that has not read its deliveries for so long is lost.
        self._lease_ms = int(settings.gateway_lease_seconds * 1000)
        self._trim = client.register_script(_TRIM)
        self._rewrite = client.register_script(_REWRITE)
        self._forget_member = client.register_script(_FORGET_MEMBER)
        logs = [log(p) for log in (keys.inbound, keys.outbound) for p in range(keys.partitions)]
        self._logs = [*logs, *map(Keys.datagrams, logs), *map(Keys.trail, logs)]

    async def sessions(self, user: str) -> int:
        """How many sessions the user has now, those included that wait to be resumed."""
        return int(await cast("Any", self._client.hlen(self._keys.topic(user_topic(user), "subscribers"))))

    async def sandboxes(self) -> list[str]:
        """Keys of replays on this server, under way or kept: what they decide by was recorded, and they hold it."""
        return [key async for key in self._scan("*", SANDBOXES)]

    async def find(self, traces: Traces) -> Found:
        """What there is, going through every log; `traces` grow by what they tell."""
        before = -1
        found = Found()
        while traces.size() != before:
            before, found = traces.size(), Found()
            for log in self._logs:
                async for stream_id, fields in self._entries(log):
                    if traces.take(_entry(fields)):
                        found.logs[log] = stream_id
                        found.entries += 1
                async for stream_id, fields in self._entries(Keys.dead(log)):
                    if traces.take(_entry(fields)):
                        found.dead.setdefault(Keys.dead(log), []).append(stream_id)
        for topic in traces.topics | traces.reached:
            parts = _TOPIC if topic in traces.topics else ("history",)
            if await self._client.exists(*(self._keys.topic(topic, part) for part in parts)):
                found.topics.add(topic)
        return found

    async def trim(self, found: Found, deadline: float) -> dict[str, str]:
        """Trim the logs until nothing of the user is in them; what is not handled by `deadline` (of the loop's clock)
        stays. Gives what was waited for in vain, by log."""
        block = await self._block()
        removed = await removed_groups(self._client, self._keys) | {self._idle}
        waiting: dict[str, str] = {}
        for log, last in found.logs.items():
            args: list[str | int] = [last, block, self._idle, *required(self._keys, log, removed)]
            while (answer := await self._trim(keys=[log], args=args)) != 1:
                if asyncio.get_running_loop().time() > deadline:
                    waiting[log] = answer.decode()
                    break
                await asyncio.sleep(_POLL_S)
        return waiting

    async def forget(self, found: Found, traces: Traces) -> None:
        """Drop the dead letters, what topics remember, and the sandboxes of replays."""
        for key, ids in found.dead.items():
            await self._rewrite(keys=[key], args=["0-0", *ids])
        for topic in traces.topics:
            await self._client.unlink(*(self._keys.topic(topic, part) for part in _TOPIC))
        ids = sorted(traces.ids)
        for topic in traces.reached:
            await self._client.unlink(self._keys.topic(topic, "history"))
        for key in await self.sandboxes():
            await self._client.unlink(key)
        async for key in self._scan("{channel:presence-*}:seen*"):
            for i in range(0, len(ids), _PAGE):
                await self._forget_member(keys=[key], args=ids[i : i + _PAGE])

    async def forget_deliveries(self) -> None:
        """Drop all deliveries that there are now, once every gateway that lives has read them."""
        now = await self._now()
        streams = [key async for key in self._scan("gw:*") if await self._client.xlen(key)]
        if streams:
            await asyncio.sleep(self._lease_ms / 1000)
        for key in streams:
            await self._rewrite(keys=[key], args=[f"{now + 1}-0"])

    async def note_erasure(self) -> None:
        """Tell whoever remembers what was said before this."""
        await note_erasure(self._client, self._keys)

    async def rewrite_aof(self, deadline: float) -> list[str]:
        """Let every server write its append-only file anew; gives those that did not by `deadline`, with the reason."""
        late = []
        for server in await masters(self._client):
            info = await server.info("persistence")
            if not info.get("aof_enabled"):
                continue
            try:
                await server.bgrewriteaof()
            except ResponseError as error:
                late.append(str(error))
                continue
            while _rewriting(await server.info("persistence")):
                if asyncio.get_running_loop().time() > deadline:
                    late.append("its rewriting takes long")
                    break
                await asyncio.sleep(_POLL_S)
            else:
                if (await server.info("persistence")).get("aof_last_bgrewrite_status") != "ok":
                    late.append("it could not be written")
        return late

    async def _entries(self, key: str) -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
        start = "-"
        while items := cast("Any", await self._client.xrange(key, start, "+", count=_PAGE)):
            for stream_id, fields in items:
                yield stream_id.decode(), fields
            start = f"({items[-1][0].decode()}"

    async def _scan(self, pattern: str, prefix: str = "") -> AsyncIterator[str]:
        """Keys that begin with `prefix`, else with that of the log."""
        escaped = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix or self._keys.prefix)
        for server in await masters(self._client):
            async for key in server.scan_iter(match=f"{escaped}{pattern}", count=1000):
                yield key.decode()

    async def _block(self) -> int:
        """Entries in one block of a stream, at most."""
        most = 0
        for server in await masters(self._client):
            try:
                told = await server.config_get("stream-node-max-entries")
                most = max(most, int(told.get("stream-node-max-entries") or 0))
            except ResponseError:  # Managed servers hide it.
                continue
        return most or _BLOCK

    async def _now(self) -> int:
        seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def _rewriting(info: dict[str, Any]) -> bool:
    return bool(info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"))


def _entry(fields: dict[bytes, bytes]) -> Entry:
    """What a stream holds; of what is no entry, whose it is."""
    try:
        return Entry.from_fields(fields)
    except InvalidEntry:
        names = ("id", "session", "user", "topic", "cause")
        text = {name: fields.get(name.encode(), b"").decode("utf-8", "replace") for name in names}
        return Entry(type="", v=0, ts=0, data=b"", **text)
