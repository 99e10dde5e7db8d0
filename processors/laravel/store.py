"""Which of a session's entries were handed over, for an application that must not be handed one twice.

A processor that ends in the middle of a request leaves its entry to the next one, which cannot know what became of
it. So the place of an entry in the log is noted before it is handed over. A client whose acknowledgement was lost sends
its message again, which is the same event at another place. So the ids of events are noted, too.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import redis.asyncio as aioredis

from runtime.bus.outcomes import Received
from schemas.events import SessionClosed
from schemas.keys import Keys

#: How long it is remembered of a session of which nothing more comes, in seconds.
KEPT_S: Final = 604_800
#: The same once the session has ended: its last entry may be read again after a crash.
END_KEPT_S: Final = 3600
#: The latest events of a session that are known by their ids: a client sends again what was not acknowledged.
EVENTS: Final = 1000

#: KEYS: 1 the place, 2 ids of events (sorted set, by when they were appended). ARGV: 1 place of this entry, 2 how long
#: to remember (s), 3 id of its event, 4 when it was appended (Unix ms), 5 whether it is handed over although its event
#: was. Gives {what it is, the place before}.
_BEGIN: Final = f"""
local before = redis.call('GET', KEYS[1]) or '0-0'
local function parts(id) local ms, seq = string.match(id, '^(%d+)-(%d+)$') return tonumber(ms), tonumber(seq) end
local am, as = parts(ARGV[1])
local bm, bs = parts(before)
if am < bm or am == bm and as <= bs then return {{'begun', before}} end
if ARGV[5] == '0' and redis.call('ZSCORE', KEYS[2], ARGV[3]) then return {{'repeat', before}} end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, {-EVENTS - 1})
redis.call('EXPIRE', KEYS[2], ARGV[2])
return {{'first', before}}
"""


class Beginning(StrEnum):
    """What an entry is that is about to be handed over."""

    FIRST = "first"
    BEGUN = "begun"
    """Somebody began with it, and nobody knows what became of that."""
    REPEAT = "repeat"
    """Somebody began with its event before: its client sent that again."""


class Begun:
    """What was begun with. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._begin = client.register_script(_BEGIN)

    async def begin(self, received: Received) -> tuple[Beginning, str]:
        """Note that `received` is being handed over, if it is the first time; gives the place before it, too.

        What an operator retries is handed over although its event was.
        """
        entry = received.entry
        kept = END_KEPT_S if entry.type == SessionClosed.TYPE else KEPT_S
        args: list[Any] = [received.stream_id, kept, entry.id, received.at, int(received.retried)]
        answer: list[bytes] = await self._begin(keys=self._of(received), args=args)
        return Beginning(answer[0].decode()), answer[1].decode()

    async def undo(self, received: Received, before: str) -> None:
        """It was not handed over after all."""
        place, events = self._of(received)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(place, before, ex=KEPT_S)
        pipeline.zrem(events, received.entry.id)
        await pipeline.execute()

    def _of(self, received: Received) -> list[str]:
        """The keys of a session: its place and its events."""
        session = received.entry.session
        log = self._keys.inbound_of(session)
        return [self._keys.session_state(log, group, session) for group in ("laravel", "laravel_events")]
