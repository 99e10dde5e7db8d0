"""The directory: which sessions are live and in which channels, for those who ask over HTTP.

It follows the topics (an entry's operation comes first, its note after): a note may be made twice, never of
what did not happen. It may also come late, from a router that was asleep while another took its place. All that is said
of a session is in one log, so its partition keeps the stream id of the last entry that it was told of, and is told of
none before that. A channel is listed with the stream id of the entry that it was last joined by, and no earlier entry
changes that: what is listed is every channel with subscribers, and now and then one that has none any more. Who looks
asks the topics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
import redis.asyncio as aioredis

from egress.routing.notes import ChannelJoined, ChannelLeft, Note, SessionListed, SessionUnlisted
from schemas.keys import Keys, partition_of
from schemas.topics import channel_topic, session_topic

#: Records that are read in one round trip when all are gone through.
_SCAN: Final = 1000
_EARLIER: Final = """
local function order(id)
  local milliseconds, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(milliseconds), tonumber(sequence)
end
local function earlier(id, known)
  if not known then return false end
  local known_ms, known_sequence = order(known)
  local ms, sequence = order(id)
  return ms < known_ms or ms == known_ms and sequence < known_sequence
end
"""
#: KEYS: 1 sessions of a partition, 2 the last entry that these were told of. ARGV: for each note, in order, the
#: session, the stream id of the entry, and its record, empty when it is over. A batch is written as one: if a note were
#: refused alone, those behind it would make it an earlier one.
_LIST: Final = f"""{_EARLIER}
local last = redis.call('GET', KEYS[2])
for i = 1, #ARGV, 3 do
  local session, at, record = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if not earlier(at, last) then
    last = at
    redis.call('SET', KEYS[2], at)
    if record == '' then
      redis.call('HDEL', KEYS[1], session)
    else
      redis.call('HSET', KEYS[1], session, record)
    end
  end
end
"""
#: KEYS: 1 channels of a partition, or of a session, 2 then those who are on its own topic. ARGV: 1 channel, 2 stream id
#: of the entry, 3 whether that leaves it with subscribers, 4 the session. A session that is over is on no topic.
_MARK: Final = f"""{_EARLIER}
if KEYS[2] and redis.call('HEXISTS', KEYS[2], ARGV[4]) == 0 then
  redis.call('DEL', KEYS[1])
  return
end
if earlier(ARGV[2], redis.call('HGET', KEYS[1], ARGV[1])) then return end
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A live session. `connected_at` is Unix ms."""

    id: str
    user: str | None
    gateway: str
    connected_at: int
    channels: tuple[str, ...]


class Directory:
    """Live sessions by outbound partition, the channels of each, and the channels that have subscribers."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def take(self, notes: Iterable[Note]) -> None:
        """Write `notes` down, in order; raises RedisError."""
        pipeline = self._client.pipeline(transaction=False)
        lists: dict[int, list[str | bytes]] = defaultdict(list)
        for note in notes:
            self._write(pipeline, lists, note)
        for partition, told in lists.items():
            pipeline.eval(_LIST, 2, self._keys.sessions(partition), self._keys.sessions_at(partition), *told)
        if len(pipeline):
            await pipeline.execute()

    async def live(self, sessions: Iterable[str]) -> set[str]:
        """Those of `sessions` that are live, in one round trip; raises RedisError."""
        asked = list(sessions)
        pipeline = self._client.pipeline(transaction=False)
        for session in asked:
            pipeline.hexists(self._keys.sessions_of(session_topic(session)), session)
        answers: list[bool] = await pipeline.execute() if asked else []
        return {session for session, there in zip(asked, answers, strict=True) if there}

    async def count(self) -> int:
        """How many sessions are live."""
        pipeline = self._client.pipeline(transaction=False)
        for partition in range(self._keys.partitions):
            pipeline.hlen(self._keys.sessions(partition))
        counts: list[int] = await pipeline.execute()
        return sum(counts)

    async def lists_any(self, gateway: str) -> bool:
        """Whether a session of `gateway` is live. Goes through all sessions, a few at a time."""
        for partition in range(self._keys.partitions):
            async for _, record in self._client.hscan_iter(self._keys.sessions(partition), count=_SCAN):
                if orjson.loads(record)["gateway"] == gateway:
                    return True
        return False

    async def ids(self, partition: int) -> list[str]:
        """The sessions that one partition lists, sorted."""
        raw = cast("list[bytes]", await self._client.hkeys(self._keys.sessions(partition)))
        return sorted(name.decode() for name in raw)

    async def channels(self, partition: int) -> dict[str, str]:
        """The channels that one partition lists, each with the stream id of the entry that it was last joined by."""
        raw = cast("dict[bytes, bytes]", await self._client.hgetall(self._keys.channels(partition)))
        return {name.decode(): at.decode() for name, at in raw.items()}

    async def unlist(self, channels: Mapping[str, str]) -> None:
        """Forget `channels` that turned out to be empty, as `channels` gave them; not what was joined since."""
        pipeline = self._client.pipeline(transaction=False)
        for channel, at in channels.items():
            self._mark(pipeline, channel, at, False)
        if len(pipeline):
            await pipeline.execute()

    async def get(self, sessions: Sequence[str]) -> list[Session]:
        """Those of `sessions` that are live."""
        pipeline = self._client.pipeline(transaction=False)
        for session in sessions:
            topic = session_topic(session)
            pipeline.hget(self._keys.sessions_of(topic), session)
            pipeline.hkeys(self._keys.topic(topic, "channels"))
        answers: list[Any] = await pipeline.execute() if sessions else []
        listed = {
            session: sorted(name.decode() for name in channels)
            for session, record, channels in zip(sessions, answers[::2], answers[1::2], strict=True)
            if record is not None
        }
        joined = await self._joined([(session, name) for session, names in listed.items() for name in names])
        out = []
        for session, record in zip(sessions, answers[::2], strict=True):
            if record is not None:
                found = orjson.loads(record)
                names = tuple(name for name in listed[session] if (session, name) in joined)
                out.append(Session(session, found["user"], found["gateway"], found["connectedAt"], names))
        return out

    async def _joined(self, asked: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of (session, channel), those where the channel has the session."""
        pipeline = self._client.pipeline(transaction=False)
        for session, channel in asked:
            pipeline.hexists(self._keys.topic(channel_topic(channel), "subscribers"), session)
        answers: list[bool] = await pipeline.execute() if asked else []
        return {one for one, there in zip(asked, answers, strict=True) if there}

    def _write(self, pipeline: Any, lists: dict[int, list[str | bytes]], note: Note) -> None:
        match note:
            case SessionListed():
                record = {
                    "user": note.user,
                    "gateway": note.gateway,
                    "connectedAt": note.connected_at,
                    "generation": note.generation,
                }
                lists[self._partition(note.session)] += [note.session, note.at, orjson.dumps(record)]
            case SessionUnlisted():
                lists[self._partition(note.session)] += [note.session, note.at, b""]
                pipeline.unlink(self._keys.topic(session_topic(note.session), "channels"))
            case ChannelJoined():
                self._mark_of_session(pipeline, note, True)
                self._mark(pipeline, note.channel, note.at, True)
            case ChannelLeft():
                self._mark_of_session(pipeline, note, False)
                if note.empty:
                    self._mark(pipeline, note.channel, note.at, False)

    def _partition(self, session: str) -> int:
        return partition_of(session_topic(session), self._keys.partitions)

    def _mark_of_session(self, pipeline: Any, note: ChannelJoined | ChannelLeft, there: bool) -> None:
        keys = (self._keys.topic(session_topic(note.session), part) for part in ("channels", "subscribers"))
        pipeline.eval(_MARK, 2, *keys, note.channel, note.at, int(there), note.session)

    def _mark(self, pipeline: Any, channel: str, at: str, occupied: bool) -> None:
        key = self._keys.channels(partition_of(channel_topic(channel), self._keys.partitions))
        pipeline.eval(_MARK, 1, key, channel, at, int(occupied))
