"""How far a session's entries were handed over, for an application that must not be handed one twice.

A processor that ends in the middle of a request leaves its entry to the next one, which cannot know what became of
it. So the place of an entry in the log is noted before it is handed over.
"""

from __future__ import annotations

from typing import Any, Final

import redis.asyncio as aioredis

from runtime.bus.outcomes import Received
from schemas.events import SessionClosed
from schemas.keys import Keys

#: How long it is remembered of a session of which nothing more comes, in seconds.
KEPT_S: Final = 604_800
#: The same once the session has ended: its last entry may be read again after a crash.
END_KEPT_S: Final = 3600

#: KEYS: 1 the place. ARGV: 1 place of this entry, 2 how long to remember (s). Gives false if this one was begun with,
#: else the place before.
_BEGIN: Final = """
local before = redis.call('GET', KEYS[1]) or '0-0'
local function parts(id) local ms, seq = string.match(id, '^(%d+)-(%d+)$') return tonumber(ms), tonumber(seq) end
local am, as = parts(ARGV[1])
local bm, bs = parts(before)
if am < bm or am == bm and as <= bs then return false end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return before
"""


class Begun:
    """The places. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._begin = client.register_script(_BEGIN)

    async def begin(self, received: Received) -> str | None:
        """Note that `received` is being handed over; gives the place before it, None if it was noted already."""
        kept = END_KEPT_S if received.entry.type == SessionClosed.TYPE else KEPT_S
        before: Any = await self._begin(keys=[self._key(received)], args=[received.stream_id, kept])
        return None if before is None else before.decode()

    async def undo(self, received: Received, before: str) -> None:
        """It was not handed over after all."""
        await self._client.set(self._key(received), before, ex=KEPT_S)

    def _key(self, received: Received) -> str:
        session = received.entry.session
        return self._keys.session_state(self._keys.inbound_of(session), "laravel", session)
