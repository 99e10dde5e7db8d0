"""The record of sessions: which there are, whose, and where each is connected.

It lies beside the inbound log, in each session's slot, and is changed by scripts that append what they decide to that
log: `session.opened` and `session.closed` are written in the step that makes them so, once. Gateways only tell of
connections. A session whose connection is gone keeps its place for a while; a client that proves to have had it
resumes it, under the next generation, and what an earlier generation's gateway has to say counts no more.

Times are those of Redis, so that a clock that steps ends no session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import redis.asyncio as aioredis
import structlog
from redis.asyncio.client import Pipeline

from runtime.memberships import LEAVE_ALL, names_key
from schemas.entry import Entry
from schemas.events import DisconnectRequested, SessionClosed, SessionDisconnected
from schemas.ids import of_disconnection, of_session_end
from schemas.keys import Keys

log = structlog.get_logger()

#: How long a session's end is remembered, in seconds: what may still come of it is on its way already.
END_KEPT_S: Final = 600
#: How often a session can be resumed with one secret, each time because the answer that had the next one was lost.
RETRIES: Final = 8
#: Sessions that are gone through in one round trip.
BATCH: Final = 200

#: KEYS: 1 record, 2 sessions of the gateway, 3 gateways with sessions, 4 inbound log.
#: ARGV: 1 session, 2 gateway, 3 user, 4 when it began, as clients are told, 5 when it was asked for (Unix ms),
#: 6 whether its client can resume it, then the fields of its beginning. Gives 0 when the session was here before and
#: has ended.
_OPEN: Final = """
local r = redis.call('HMGET', KEYS[1], 'generation', 'ended')
if r[2] then return 0 end
if r[1] then return 1 end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, 7))
redis.call('HSET', KEYS[1], 'gateway', ARGV[2], 'user', ARGV[3], 'since', ARGV[4], 'began', ARGV[5],
  'resumable', ARGV[6], 'generation', 1, 'presented', 1)
redis.call('HSET', KEYS[2], ARGV[1], 1)
redis.call('SADD', KEYS[3], ARGV[2])
return 1
"""
#: KEYS: 1 record, 2 sessions of the former gateway, 3 of the new one, 4 gateways with sessions, 5 disconnected.
#: ARGV: 1 session, 2 former gateway, 3 new gateway, 4 user, 5 generation of the secret, 6 id of the request,
#: 7 when that was appended (Unix ms).
#: Gives {what became of it, generation, when the session began}.
#: A secret is void once a later one was presented: only then is it known that the client has that. A client that asks
#: again has let go of the connection over which it asked before: requests are in logs of their own, and one that is
#: handled after a later one is of a connection that nobody uses.
_CLAIM: Final = f"""
local r = redis.call('HMGET', KEYS[1], 'gateway', 'user', 'generation', 'presented', 'since', 'claims', 'ended',
  'resumable', 'forced', 'asked')
if not r[1] or r[7] or r[8] ~= '1' or r[9] then return {{'unknown'}} end
local generation, presented, secret = tonumber(r[3]), tonumber(r[4]), tonumber(ARGV[5])
local claims = r[6] and cjson.decode(r[6]) or {{}}
local mine = claims[ARGV[6]]
if mine then
  return {{mine == generation and 'resumed' or 'superseded', mine, r[5]}}
end
if r[2] ~= ARGV[4] then return {{'foreign'}} end
if r[10] and tonumber(ARGV[7]) < tonumber(r[10]) then return {{'superseded'}} end
if secret < presented or secret > generation or generation - secret >= {RETRIES} then return {{'void'}} end
if r[1] ~= ARGV[2] then return {{'moved'}} end
if secret > presented then claims = {{}} end
generation = generation + 1
claims[ARGV[6]] = generation
redis.call('HSET', KEYS[1], 'gateway', ARGV[3], 'generation', generation, 'presented', secret,
  'claims', cjson.encode(claims), 'asked', ARGV[7])
redis.call('HDEL', KEYS[1], 'left')
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[4], ARGV[2]) end
redis.call('HSET', KEYS[3], ARGV[1], generation)
redis.call('SADD', KEYS[4], ARGV[3])
return {{'resumed', generation, r[5]}}
"""
#: What the scripts that end a session have in common.
_ENDING: Final = f"""{LEAVE_ALL}
local function close(record, names, log, events, first)
  local fields = {{unpack(ARGV, first)}}
  leave_all(names, log, fields, events == '1')
  redis.call('XADD', log, '*', unpack(fields))
  redis.call('DEL', record)
  redis.call('HSET', record, 'ended', 1)
  redis.call('EXPIRE', record, {END_KEPT_S})
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
#: KEYS: 1 record, 2 sessions of the gateway, 3 gateways with sessions, 4 disconnected, 5 inbound log, 6 its channels.
#: ARGV: 1 session, 2 gateway, 3 generation, 4 whether it is final, 5 window (ms), 6 code, reason and by (JSON),
#: 7 whether the log hears of channels, then the fields of the session's end. What is said of another generation than
#: the last says nothing. A session that is not known was lost with its log, and ends: nobody could resume it. Gives
#: whether the session waits to be resumed.
_DISCONNECT: Final = f"""{_ENDING}
local r = redis.call('HMGET', KEYS[1], 'generation', 'resumable', 'ended', 'forced')
if r[3] or r[1] and r[1] ~= ARGV[3] then return 0 end
local final = not r[1] or ARGV[4] == '1' or ARGV[5] == '0' or r[2] ~= '1' or r[4]
if final then
  close(KEYS[1], KEYS[6], KEYS[5], ARGV[7], 8)
  redis.call('ZREM', KEYS[4], ARGV[1])
else
  redis.call('HSETNX', KEYS[1], 'left', ARGV[6])
  redis.call('ZADD', KEYS[4], 'NX', now + ARGV[5], ARGV[1])
end
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[3], ARGV[2]) end
return final and 0 or 1
"""
#: KEYS: 1 record, 2 disconnected, 3 inbound log, 4 its channels. ARGV: 1 session, 2 whether the log hears of channels,
#: then the fields of its end.
#: Gives whether its time was over.
_EXPIRE: Final = f"""{_ENDING}
local due = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not due or tonumber(due) > now then return 0 end
if redis.call('HEXISTS', KEYS[1], 'generation') == 1 then close(KEYS[1], KEYS[4], KEYS[3], ARGV[2], 3) end
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""
#: KEYS: 1 record, 2 disconnected, 3 inbound log, 4 its channels. ARGV: 1 session, 2 whether the log hears of channels,
#: 3 when the end was ordered (Unix ms), then the fields of the session's end. One that is connected ends with its
#: connection, which its gateway is told to end; one that was asked for later is left alone. Gives whether it ended now.
_FORCE: Final = f"""{_ENDING}
local r = redis.call('HMGET', KEYS[1], 'generation', 'began')
if not r[1] or tonumber(r[2] or 0) > tonumber(ARGV[3]) then return 0 end
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  close(KEYS[1], KEYS[4], KEYS[3], ARGV[2], 4)
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[1], 'forced', 1)
return 0
"""
#: KEYS: 1 inbound log, 2 sessions of the gateway, 3 gateways with sessions.
#: ARGV: 1 session, 2 gateway, 3 generation, then the fields of the connection's end.
#: Gives 0 when the session has that connection no more.
_LOSE: Final = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[3], ARGV[2]) end
return 1
"""


class ClaimResult(StrEnum):
    """What became of an attempt to resume a session."""

    RESUMED = "resumed"
    SUPERSEDED = "superseded"
    """Another request has resumed it, which was made after this one: nobody waits for an answer to this one."""
    UNKNOWN = "unknown"
    """There is no such session (any more)."""
    FOREIGN = "foreign"
    """It is somebody else's."""
    VOID = "void"
    """A later secret was used since, or this one too often."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to an attempt to resume a session. `since` is Unix ms."""

    result: ClaimResult
    generation: int = 0
    since: int = 0


class SessionRecord:
    """The record. Every method raises RedisError, and may be repeated."""

    def __init__(
        self, client: aioredis.Redis, keys: Keys, resume_seconds: float, *, channel_events: bool = True
    ) -> None:
        """`resume_seconds`: how long a session waits for its client to come back; 0: not at all.

        `channel_events`: whether the log hears of the channels that a session leaves as it ends.
        """
        self._client = client
        self._channel_events = int(channel_events)
        self._keys = keys
        self._window_ms = int(resume_seconds * 1000)
        self._open = client.register_script(_OPEN)
        self._claim = client.register_script(_CLAIM)
        self._disconnect = client.register_script(_DISCONNECT)
        self._expire = client.register_script(_EXPIRE)
        self._force = client.register_script(_FORCE)

    async def open(self, opened: Entry, *, asked_at: int, resumable: bool) -> bool:
        """Begin a session: append `opened`, its `session.opened`. False when it was here before and has ended.

        `asked_at` is when the entry that asks for it was appended (Unix ms, the clock of Redis).
        """
        log = self._keys.inbound_of(opened.session)
        keys = [self._record(opened.session), *self._connected(log, opened.gateway), log]
        head: list[Any] = [opened.session, opened.gateway, opened.user, opened.ts, asked_at, int(resumable)]
        return bool(await self._open(keys=keys, args=[*head, *opened.fields()]))

    async def claim(
        self, session: str, generation: int, *, user: str, gateway: str, request: str, asked_at: int
    ) -> Claim:
        """Connect `session` to `gateway` as the next generation, for the `user` who has the secret of `generation`.

        `request` is the id of the entry that asks: when it asks again it gets the same answer. `asked_at` is when that
        was appended (Unix ms, the clock of Redis).
        """
        log = self._keys.inbound_of(session)
        while True:
            (former,) = await self._fields(session, "gateway")
            sessions, gateways = self._connected(log, former)
            to, _ = self._connected(log, gateway)
            keys = [self._record(session), sessions, to, gateways, self._keys.disconnected(log)]
            args: list[Any] = [session, former, gateway, user, generation, request, asked_at]
            answer: list[Any] = await self._claim(keys=keys, args=args)
            if answer[0] == b"moved":
                continue  # Resumed by somebody else between the two looks.
            result = ClaimResult(answer[0].decode())
            return Claim(result, int(answer[1]), int(answer[2])) if len(answer) > 1 else Claim(result)

    async def disconnect(self, entry: Entry, event: SessionDisconnected) -> str:
        """Take note of `entry`, a `session.disconnected`: the session ends, now or when nobody resumes it in time.

        Gives the user of a session that waits for that; empty for one of nobody, and for one that waits for nothing.
        """
        session, log = entry.session, self._keys.inbound_of(entry.session)
        (user,) = await self._fields(session, "user")
        end = SessionClosed(code=event.code, reason=event.reason, by=event.by)
        closed = Entry.of(
            end,
            id=of_session_end(session),
            ts=entry.ts,
            session=session,
            user=user or entry.user,
            gateway=entry.gateway,
            traceparent=entry.traceparent,
            cause=entry.id,
        )
        names = names_key(self._keys, session)
        keys = [self._record(session), *self._connected(log, entry.gateway), self._keys.disconnected(log), log, names]
        head: list[Any] = [
            session,
            entry.gateway,
            event.generation,
            int(event.final),
            self._window_ms,
            end.model_dump_json(),
            self._channel_events,
        ]
        waits = await self._disconnect(keys=keys, args=[*head, *closed.fields()])
        return user if waits else ""

    async def force(self, session: str, order: Entry, event: DisconnectRequested, *, ordered_at: int) -> bool:
        """End `session` as the application ordered: now if it waits to be resumed, else with its connection.

        `order` is the entry of `event`, `ordered_at` when that was appended (Unix ms, the clock of Redis). Gives
        whether it ended now.
        """
        user, gateway = await self._fields(session, "user", "gateway")
        end = SessionClosed(code=event.code, reason=event.reason, by="application")
        context = {"session": session, "user": user, "gateway": gateway, "traceparent": order.traceparent}
        closed = Entry.of(end, id=of_session_end(session), ts=order.ts, cause=order.id, **context)
        log = self._keys.inbound_of(session)
        keys = [self._record(session), self._keys.disconnected(log), log, names_key(self._keys, session)]
        return bool(await self._force(keys=keys, args=[session, self._channel_events, ordered_at, *closed.fields()]))

    async def end_overdue(self, now_ms: int) -> int:
        """End sessions that nobody resumed in time, some of each inbound partition, and give their number.

        `now_ms` (Unix ms) is what their ends say when they were.
        """
        seconds, micros = await self._client.time()
        until = seconds * 1000 + micros // 1000
        logs = [self._keys.inbound(partition) for partition in range(self._keys.partitions)]
        async with self._client.pipeline(transaction=False) as pipeline:
            for log in logs:
                pipeline.zrangebyscore(self._keys.disconnected(log), "-inf", until, start=0, num=BATCH)
            due = [name.decode() for names in await pipeline.execute() for name in names]
        if not due:
            return 0
        async with self._client.pipeline(transaction=False) as pipeline:
            for session in due:
                pipeline.hmget(self._record(session), ["user", "gateway", "left"])
            records = await pipeline.execute()
        async with self._client.pipeline(transaction=False) as pipeline:
            for session, fields in zip(due, records, strict=True):
                await self._end(pipeline, session, [value or b"" for value in fields], now_ms)
            return sum(await pipeline.execute())

    async def _end(self, pipeline: Pipeline, session: str, fields: list[bytes], now_ms: int) -> None:
        """Queue the end of a session whose time is over, if it still is when Redis comes to it."""
        user, gateway, left = fields[0].decode(), fields[1].decode(), fields[2]
        end = _ending(session, left)
        closed = Entry.of(end, id=of_session_end(session), ts=now_ms, session=session, user=user, gateway=gateway)
        log = self._keys.inbound_of(session)
        keys = [self._record(session), self._keys.disconnected(log), log, names_key(self._keys, session)]
        await self._expire(keys=keys, args=[session, self._channel_events, *closed.fields()], client=pipeline)

    async def connected_in(self) -> dict[str, list[int]]:
        """The gateways that sessions are connected to, each with the inbound partitions of these."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for partition in range(self._keys.partitions):
                pipeline.smembers(self._keys.connected_gateways(self._keys.inbound(partition)))
            answers = await pipeline.execute()
        found: dict[str, list[int]] = {}
        for partition, names in enumerate(answers):
            for name in names:
                found.setdefault(name.decode(), []).append(partition)
        return found

    async def lose(self, gateway: str, partition: int, now_ms: int, reason: str) -> int:
        """Write the ends of the connections that a lost gateway had, in its place; gives their number.

        They come behind all that the gateway wrote. What becomes of the sessions is decided when they are read.
        """
        log = self._keys.inbound(partition)
        sessions, gateways = self._connected(log, gateway)
        lost = 0
        async for batch in self._batches(sessions):
            pipeline = self._client.pipeline(transaction=False)
            for session, generation in batch:
                event = SessionDisconnected(
                    generation=int(generation), code=0, reason=reason, by="gateway", final=False
                )
                entry = Entry.of(
                    event, id=of_disconnection(session, int(generation)), ts=now_ms, session=session, gateway=gateway
                )
                fields = entry.fields()
                pipeline.eval(_LOSE, 3, log, sessions, gateways, session, gateway, generation, *fields)
            lost += sum(await pipeline.execute())
        return lost

    async def _batches(self, key: str) -> AsyncIterator[list[tuple[str, str]]]:
        """(session, generation) of a gateway's sessions; each at least once, though they are taken away meanwhile."""
        cursor = 0
        while True:
            found: Any
            cursor, found = await self._client.hscan(key, cursor, count=BATCH)
            if found:
                yield [(session.decode(), generation.decode()) for session, generation in found.items()]
            if cursor == 0:
                return

    async def _fields(self, session: str, *names: str) -> list[str]:
        """Fields of a session's record, empty where there are none."""
        found: Any = await self._client.hmget(self._record(session), names)
        return [(value or b"").decode() for value in found]

    def _record(self, session: str) -> str:
        return self._keys.session_state(self._keys.inbound_of(session), "auth", session)

    def _connected(self, log: str, gateway: str) -> tuple[str, str]:
        return self._keys.connected(log, gateway), self._keys.connected_gateways(log)


def _ending(session: str, left: bytes) -> SessionClosed:
    """How the last connection of a session ended, if the record has that in a form that this version can read."""
    if left:
        try:
            return SessionClosed.model_validate_json(left)
        except ValueError as error:  # Another version wrote it, or an operator: no reason to keep the session.
            log.warning("session.end_unreadable", session=session, error=type(error).__name__)
    return SessionClosed(code=0, reason="", by="gateway")
