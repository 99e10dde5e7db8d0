"""The end of an entry in a group: acknowledged, or acknowledged and kept as a dead letter.

What the trail says of it is there before the acknowledgement: an entry is not settled without having left it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from runtime.backoff import backoff
from runtime.bus.appender import Appender
from runtime.bus.connection import is_away
from runtime.bus.outcomes import Received
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.keys import Keys

log = structlog.get_logger()

DEAD = Counter("headgate_dead_letters", "Entries that could not be handled.", ["group"])
TRAIL_REFUSED = Counter("headgate_trail_refused", "Entries of trails that Redis refused; their subject was settled.")

#: KEYS: the log, its attempts. ARGV: 1 group, 2 by how many; the rest are entries. A count that was held up on its way
#: until the entry was settled would stay for ever. One that is taken back was perhaps never made.
_COUNT: Final = """
for i=3,#ARGV do
 if #redis.call('XPENDING',KEYS[1],ARGV[1],ARGV[i],ARGV[i],1)>0 then
  if redis.call('HINCRBY',KEYS[2],ARGV[i],ARGV[2])<1 then redis.call('HDEL',KEYS[2],ARGV[i]) end
 end
end
"""
#: KEYS: the log, its dead letters, its trail, its attempts. ARGV: 1 group, 2 entry, 3 how many of the next are the
#: letter's fields; the rest are those of the trail's entry, if any. Gives whether the entry was not settled before:
#: whoever asks again, or too late, finds that it was. Memory is checked at the first write, so that is the letter.
_BURY: Final = """
if #redis.call('XPENDING',KEYS[1],ARGV[1],ARGV[2],ARGV[2],1)==0 then return 0 end
local last=3+ARGV[3]
redis.call('XADD',KEYS[2],'*',unpack(ARGV,4,last))
if #ARGV>last then redis.pcall('XADD',KEYS[3],'*',unpack(ARGV,last+1)) end
redis.call('XACK',KEYS[1],ARGV[1],ARGV[2])
redis.call('HDEL',KEYS[4],ARGV[2])
return 1
"""
#: Names and values of a letter: Lua's `unpack` gives no more than some 8,000. An entry has some thirty.
_MOST_FIELDS: Final = 4000


class Settler:
    """Settles entries of one group; acknowledgements of one loop turn leave in one pipeline."""

    def __init__(
        self, client: aioredis.Redis, logs: Sequence[str], group: str, appender: Appender | None = None
    ) -> None:
        """`appender` writes trails; a group that leaves none needs none."""
        self._client = client
        self._appender = appender
        self._logs = logs
        self._group = group
        self._count = client.register_script(_COUNT)
        self._bury = client.register_script(_BURY)
        self._acks: dict[int, list[str]] = defaultdict(list)
        self._attempted: dict[int, list[str]] = defaultdict(list)
        self._trail: list[tuple[str, Entry]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def acknowledge(
        self, partition: int, stream_id: str, *, attempted: bool = False, trail: Entry | None = None
    ) -> None:
        """Acknowledge an entry with the next write, after `trail`; `attempted`: attempts at it were counted."""
        if trail is not None:
            self._trail.append((Keys.trail(self._logs[partition]), trail))
        self._acks[partition].append(stream_id)
        if attempted:
            self._attempted[partition].append(stream_id)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())

    async def count_attempts(self, batch: Sequence[Received], by: int = 1) -> None:
        """Count an attempt at each of these for whoever owns it next; while Redis is away it is not counted, or nobody
        knows."""
        ids: dict[int, list[str]] = defaultdict(list)
        for received in batch:
            ids[received.partition].append(received.stream_id)
        try:
            for partition, of_log in ids.items():
                log_key = self._logs[partition]
                keys = [log_key, Keys.attempts(log_key, self._group)]
                await self._count(keys=keys, args=[self._group, by, *of_log])
        # What counts is a lane, which nobody waits for: a count less is better than a lane less.
        except Exception as error:
            report = log.warning if isinstance(error, RedisError) else log.exception
            report("log.attempt_not_counted", group=self._group, error=type(error).__name__)

    async def attempts(self, partition: int, stream_ids: Sequence[str]) -> dict[str, int]:
        """The attempts at entries that were counted, by stream id; raises RedisError."""
        key = Keys.attempts(self._logs[partition], self._group)
        counted = await self._client.hmget(key, list(stream_ids))
        return {one: int(count) for one, count in zip(stream_ids, counted, strict=True) if count is not None}

    async def bury(self, received: Received, error: str, trail: Entry | None = None) -> None:
        """Keep an entry as a dead letter and acknowledge it, in one step, however long Redis takes.

        One that has been settled, by this process or another, is left as it is.
        """
        entry = received.entry
        await self.bury_fields(
            received.partition, received.stream_id, entry.fields(), error, received.attempt, entry.type, trail
        )

    async def bury_fields(
        self,
        partition: int,
        stream_id: str,
        fields: Sequence[bytes],
        error: str,
        attempts: int,
        type_: str,
        trail: Entry | None = None,
    ) -> None:
        """The same for fields that are perhaps no entry."""
        key = self._logs[partition]
        extra = {
            "dead_group": self._group,
            "dead_stream_id": stream_id,
            "dead_error": error[:500],
            "dead_attempts": attempts,
        }
        letter = _pairs(fields[:_MOST_FIELDS]) | {name.encode(): str(value).encode() for name, value in extra.items()}
        if not await self._buried(key, stream_id, letter, trail):
            log.warning("entry.settled_before", group=self._group, stream=key, stream_id=stream_id, error=error[:500])
            return
        DEAD.labels(self._group).inc()
        log.error(
            "entry.dead",
            group=self._group,
            stream=key,
            stream_id=stream_id,
            type=type_,
            error=error[:500],
            attempts=attempts,
        )

    async def _buried(self, key: str, stream_id: str, letter: Mapping[bytes, bytes], trail: Entry | None) -> bool:
        """Whether the letter was written, as far as is known: where an answer was lost it may have been another's."""
        keys = [key, Keys.dead(key), Keys.trail(key), Keys.attempts(key, self._group)]
        flat = [part for pair in letter.items() for part in pair]
        args = [self._group, stream_id, len(flat), *flat, *(() if trail is None else trail.fields())]
        failures = 0
        while True:
            try:
                return bool(await self._bury(keys=keys, args=args)) or failures > 0
            except RedisError as failure:
                if isinstance(failure, ResponseError) and "NOGROUP" in str(failure):
                    return False  # The log was lost, and with it the entry.
                failures += 1
                log.warning("log.dead_letter_failed", error=type(failure).__name__, stream=key)
                await asyncio.sleep(backoff(failures))

    async def flushed(self) -> None:
        """Wait until every acknowledgement that was asked for so far is written."""
        if self._flushing is not None:
            written = asyncio.get_running_loop().create_future()
            self._waiting.append(written)
            await written

    async def abandon(self) -> None:
        """Write nothing more: what was not acknowledged is pending, and comes again."""
        await cancel(self._flushing)

    async def _flush(self) -> None:
        await asyncio.sleep(0)  # Let what else became ready in this turn of the loop join.
        failures = 0
        while self._acks or self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                failure = await self._write()
            # Nobody waits for this task: if a defect, be it the client's, ended it, a group would go on and settle
            # nothing, and say nothing of it.
            except Exception as error:
                log.exception("log.ack_broken", group=self._group)
                failure = error
            if failure is None:
                failures = 0
                for written in waiting:
                    if not written.done():
                        written.set_result(None)
                continue
            failures += 1
            log.warning("log.ack_failed", group=self._group, error=type(failure).__name__)
            self._waiting[:0] = waiting
            await asyncio.sleep(backoff(failures))
        self._flushing = None

    async def _write(self) -> Exception | None:
        """Write what is to be acknowledged by now, and its trail; what was not written stays. Gives why, if any."""
        trail = self._trail[:]
        acks = {partition: ids[:] for partition, ids in self._acks.items()}
        attempted = {partition: ids[:] for partition, ids in self._attempted.items()}
        await self._leave(trail)
        del self._trail[: len(trail)]
        pipeline = self._client.pipeline(transaction=False)
        # Counts first: of an acknowledged entry nobody would remove them any more.
        for partition, ids in attempted.items():
            pipeline.hdel(Keys.attempts(self._logs[partition], self._group), *ids)
        for partition, ids in acks.items():
            pipeline.xack(self._logs[partition], self._group, *ids)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except RedisError as error:
            return error
        failure = None
        sent = [(self._attempted, *one) for one in attempted.items()] + [(self._acks, *one) for one in acks.items()]
        for (unwritten, partition, ids), answer in zip(sent, answers, strict=True):
            if isinstance(answer, Exception):
                failure = answer
            elif len(unwritten[partition]) > len(ids):
                del unwritten[partition][: len(ids)]
            else:
                del unwritten[partition]
        return failure

    async def _leave(self, trail: Sequence[tuple[str, Entry]]) -> None:
        """Append to the trails, however long Redis takes; what it refuses is counted and let go.

        Refused for lack of memory, or for good, it must not keep the log from being acknowledged and trimmed.
        """
        failures = 0
        while trail:
            answers = await self._appended(trail)
            unwritten = []
            for one, answer in zip(trail, answers, strict=True):
                if not isinstance(answer, LogUnavailable):
                    continue
                if _refused(answer.__cause__):
                    TRAIL_REFUSED.inc()
                else:
                    unwritten.append(one)
            if not (trail := unwritten):
                return
            failures += 1
            log.warning("log.trail_failed", group=self._group, entries=len(trail))
            await asyncio.sleep(backoff(failures))

    async def _appended(self, trail: Sequence[tuple[str, Entry]]) -> list[str | LogUnavailable]:
        """The answers to appends, in order. One future for all of them: there is one of these for every entry."""
        assert self._appender is not None
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        places: list[str | LogUnavailable | None] = [None] * len(trail)
        left = len(trail)

        def told(place: int, answer: str | LogUnavailable) -> None:
            nonlocal left
            if places[place] is not None:
                return
            places[place] = answer
            left -= 1
            if not left and not answered.done():
                answered.set_result(None)

        for place, (key, entry) in enumerate(trail):
            self._appender.append_then(key, entry, partial(told, place))
        await answered
        return [answer for answer in places if answer is not None]


def _refused(error: BaseException | None) -> bool:
    """Whether a server that answers and can write does not take it; what it will take later is waited for."""
    return isinstance(error, ResponseError) and (isinstance(error, OutOfMemoryError) or not is_away(error))


def _pairs(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))
