"""The channels of each session: which it was granted, until when, and which were taken away from it.

They lie beside the inbound log, in each session's slot, and are changed by scripts that append what they decide to that
log: `channel.subscribed` and `channel.unsubscribed` are written in the step that makes them so, once. A session's end
(runtime.sessions) leaves all of its channels in the same step, so that it comes after them in the log.

What comes after a session's end must bring nothing back. It can come: a gateway that was declared lost and wakes up
writes what its clients sent before it learns that its sessions are over. So an end is remembered too.
"""

from __future__ import annotations

from typing import Any, Final

import redis.asyncio as aioredis

from schemas.entry import Entry
from schemas.events import ChannelUnsubscribed
from schemas.groups import CHANNELS
from schemas.ids import NAMESPACE
from schemas.keys import Keys

#: How long names outlive their session, in seconds: its end may be handled again after a crash.
KEPT_S: Final = 3600
#: How long the end of a session without names is remembered, in seconds: what may still come is on its way already.
END_KEPT_S: Final = 600
#: Stands among the names of a session that has ended. No channel is called that.
ENDED: Final = ""
#: Stands in the place of a name's expiry (Unix ms, 0: never) when the application took the channel away.
REVOKED: Final = "revoked"

_NAMESPACE: Final = "".join(f"\\{byte:03d}" for byte in NAMESPACE.bytes)
#: `leave_all(names, log, closed, events)` for scripts that end a session: it leaves its channels, and its names stay
#: for those who end its subscriptions. `closed`: the fields of its end. Ids are as `schemas.ids.derived` makes them.
LEAVE_ALL: Final = f"""
local function derived(cause, position)
  local hex = redis.sha1hex('{_NAMESPACE}' .. cause .. '/' .. position)
  local variant = string.format('%02x', tonumber(string.sub(hex, 17, 18), 16) % 64 + 128)
  return string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-5' .. string.sub(hex, 14, 16) .. '-' .. variant ..
    string.sub(hex, 19, 20) .. '-' .. string.sub(hex, 21, 32)
end
local function leave_all(key, log, closed, events)
  if redis.call('HSETNX', key, '{ENDED}', 1) == 0 then return end
  if redis.call('HLEN', key) == 1 then redis.call('EXPIRE', key, {END_KEPT_S}) end
  if not events then return end
  local names = {{}}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] ~= '{ENDED}' and all[i + 1] ~= '{REVOKED}' then names[#names + 1] = all[i] end
  end
  table.sort(names)
  local id
  for i = 1, #closed, 2 do if closed[i] == 'id' then id = closed[i + 1] end end
  for _, name in ipairs(names) do
    local changed = {{
      id = derived(id, 'unsubscribed/' .. name), type = '{ChannelUnsubscribed.TYPE}', v = {ChannelUnsubscribed.VERSION},
      data = cjson.encode({{ channel = name, reason = 'closed' }}), cause = id,
    }}
    local fields = {{}}
    for i = 1, #closed, 2 do
      fields[i], fields[i + 1] = closed[i], changed[closed[i]] or closed[i + 1]
    end
    redis.call('XADD', log, '*', unpack(fields))
  end
end
"""
#: For scripts whose KEYS[2] is the inbound log and whose ARGV[1] is the entry that asks: one that is settled asks for
#: nothing any more. A process that waited for the application past its lease would else bring back what its next owner
#: has ended since. Where the log has no such group nobody can say, and nobody else does anything either.
_IF_PENDING: Final = f"""
local pending = redis.pcall('XPENDING', KEYS[2], '{CHANNELS}', ARGV[1], ARGV[1], 1)
if not pending.err and #pending == 0 then return 0 end
"""
#: KEYS: 1 names, 2 inbound log. ARGV: 1 who asks, 2 a name, 3 when its grant expires, then the fields of
#: `channel.subscribed`, if that is to be written. When the session has ended, adds nothing, and gives 1 for a name that
#: it had: what is handled again leads to the same as before.
_JOIN: Final = f"""
{_IF_PENDING}
local had = redis.call('HGET', KEYS[1], ARGV[2])
local member = had and had ~= '{REVOKED}'
if redis.call('HEXISTS', KEYS[1], '{ENDED}') == 1 then return member and 1 or 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if #ARGV > 3 and not member then redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4)) end
return 1
"""
#: KEYS: 1 names, 2 inbound log, 3 record of the session. ARGV: 1 who asks, 2 a name, 3 which grant (when it expires;
#: empty: any), 4 whether the application takes the name away, then the fields of `channel.unsubscribed`, if that is to
#: be written. Gives 0 when there is a later grant than that.
_LEAVE: Final = f"""
{_IF_PENDING}
local had = redis.call('HGET', KEYS[1], ARGV[2])
local member = had and had ~= '{REVOKED}'
if member and ARGV[3] ~= '' and ARGV[3] ~= had then return 0 end
if ARGV[4] == '1' then
  if had or redis.call('HEXISTS', KEYS[3], 'generation') == 1 then redis.call('HSET', KEYS[1], ARGV[2], '{REVOKED}') end
elseif member then
  redis.call('HDEL', KEYS[1], ARGV[2])
end
if #ARGV > 4 and member and redis.call('HEXISTS', KEYS[1], '{ENDED}') == 0 then
  redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
end
return 1
"""
#: KEYS: 1 names. Gives all, with what stands beside them.
_CLOSE: Final = f"""
redis.call('HSET', KEYS[1], '{ENDED}', 1)
redis.call('EXPIRE', KEYS[1], redis.call('HLEN', KEYS[1]) > 1 and {KEPT_S} or {END_KEPT_S})
return redis.call('HGETALL', KEYS[1])
"""


def names_key(keys: Keys, session: str) -> str:
    """Where the channels of `session` are, in the slot of its inbound log."""
    return keys.session_state(keys.inbound_of(session), "channels", session)


class Memberships:
    """The channels of sessions. Every method raises RedisError, and may be repeated."""

    def __init__(self, client: aioredis.Redis, keys: Keys, *, events: bool = True) -> None:
        """`events`: whether the log hears of what changes."""
        self._client = client
        self._keys = keys
        self._events = events
        self._join = client.register_script(_JOIN)
        self._leave = client.register_script(_LEAVE)
        self._close = client.register_script(_CLOSE)

    async def join(self, asked: str, told: Entry, name: str, expires_at: int | None) -> bool:
        """Remember `name`, and append `told`, a `channel.subscribed`, if the session was not in it.

        `asked`: the stream id of the entry that asks. False when that is settled, or the session has ended without it,
        so that nothing may come of it any more.
        """
        log = self._keys.inbound_of(told.session)
        fields = told.fields() if self._events else []
        keys = [names_key(self._keys, told.session), log]
        return bool(await self._join(keys=keys, args=[asked, name, expires_at or 0, *fields]))

    async def leave(
        self, asked: str, told: Entry, name: str, *, expired: int | None = None, revoked: bool = False
    ) -> bool:
        """Forget `name`, and append `told`, a `channel.unsubscribed`, if the session was in it.

        `asked`: the stream id of the entry that asks; False when that is settled. `expired`: only the grant that
        expires then; False when there is a later one. `revoked`: remember that.
        """
        log = self._keys.inbound_of(told.session)
        fields = told.fields() if self._events else []
        record = self._keys.session_state(log, "auth", told.session)
        head: list[Any] = [asked, name, "" if expired is None else expired, int(revoked)]
        keys = [names_key(self._keys, told.session), log, record]
        return bool(await self._leave(keys=keys, args=[*head, *fields]))

    async def ask(self, asked: Entry) -> None:
        """Append `asked`, a `channel.unsubscribe_requested`, behind all that is known of the session by now."""
        fields: Any = dict(zip(asked.names(), asked.values(), strict=True))
        await self._client.xadd(self._keys.inbound_of(asked.session), fields)

    async def was_revoked(self, session: str, name: str) -> bool:
        """Whether the application took `name` away since the session was let in last, or before it ever was."""
        found: Any = await self._client.hget(names_key(self._keys, session), name)
        return bool(found == REVOKED.encode())

    async def granted(self, session: str) -> dict[str, int | None]:
        """The session's channels, each with when its grant expires (Unix ms, None: never); none when it has ended."""
        found: Any = await self._client.hgetall(names_key(self._keys, session))
        stored = {name.decode(): value.decode() for name, value in found.items()}
        return {} if ENDED in stored else _granted(stored)

    async def close(self, session: str) -> list[str]:
        """The session's channels, to be forgotten after a while: the session has ended."""
        flat: list[bytes] = await self._close(keys=[names_key(self._keys, session)])
        stored = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return list(_granted(stored))


def _granted(stored: dict[str, str]) -> dict[str, int | None]:
    return {name: int(value) or None for name, value in sorted(stored.items()) if name != ENDED and value != REVOKED}
