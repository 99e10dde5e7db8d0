"""The directory: which sessions are live and in which channels, for those who ask over HTTP.

It follows the topics (an entry's operation comes first, its note after): a note may be made twice, never of
what did not happen. It may also come late, from a router that was asleep while another took its place. So a channel is
listed with the stream id of the entry that it was last joined by, and no earlier entry changes that: what is listed is
every channel with subscribers, and now and then one that has none any more. Who looks asks the topics.
"""

from __future__ import annotations

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
#: KEYS: channels of a partition. ARGV: 1 channel, 2 stream id of the entry, 3 whether that leaves it with subscribers.
_MARK: Final = """
local function order(id)
  local milliseconds, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(milliseconds), tonumber(sequence)
end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local known_ms, known_sequence = order(known)
  local ms, sequence = order(ARGV[2])
  if ms < known_ms or ms == known_ms and sequence < known_sequence then
    return
  end
end
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
        for note in notes:
            self._write(pipeline, note)
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
            pipeline.smembers(self._keys.topic(topic, "channels"))
        answers: list[Any] = await pipeline.execute() if sessions else []
        out = []
        for session, record, channels in zip(sessions, answers[::2], answers[1::2], strict=True):
            if record is not None:
                found = orjson.loads(record)
                names = tuple(sorted(name.decode() for name in channels))
                out.append(Session(session, found["user"], found["gateway"], found["connectedAt"], names))
        return out

    def _write(self, pipeline: Any, note: Note) -> None:
        match note:
            case SessionListed():
                record = {
                    "user": note.user,
                    "gateway": note.gateway,
                    "connectedAt": note.connected_at,
                    "generation": note.generation,
                }
                pipeline.hset(self._keys.sessions_of(session_topic(note.session)), note.session, orjson.dumps(record))
            case SessionUnlisted():
                pipeline.hdel(self._keys.sessions_of(session_topic(note.session)), note.session)
            case ChannelJoined():
                pipeline.sadd(self._channels_of(note.session), note.channel)
                self._mark(pipeline, note.channel, note.at, True)
            case ChannelLeft():
                pipeline.srem(self._channels_of(note.session), note.channel)
                if note.empty:
                    self._mark(pipeline, note.channel, note.at, False)

    def _channels_of(self, session: str) -> str:
        return self._keys.topic(session_topic(session), "channels")

    def _mark(self, pipeline: Any, channel: str, at: str, occupied: bool) -> None:
        key = self._keys.channels(partition_of(channel_topic(channel), self._keys.partitions))
        pipeline.eval(_MARK, 1, key, channel, at, int(occupied))
