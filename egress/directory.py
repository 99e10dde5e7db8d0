"""The directory: which sessions are live and in which channels, for those who ask over HTTP.

It follows the topics (an entry's operation comes first, its note after): a note may be made twice, never of
what did not happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
import redis.asyncio as aioredis

from egress.routing.notes import ChannelJoined, ChannelLeft, Note, SessionListed, SessionUnlisted
from schemas.keys import Keys, partition_of
from schemas.topics import channel_topic, session_topic

#: Records that are read in one round trip when all are gone through.
_SCAN: Final = 1000


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

    async def has(self, session: str) -> bool:
        """Whether `session` is live."""
        return bool(await self._client.hexists(self._keys.sessions_of(session_topic(session)), session))

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
                pipeline.sadd(self._listed_with(note.channel), note.channel)
            case ChannelLeft():
                pipeline.srem(self._channels_of(note.session), note.channel)
                if note.empty:
                    pipeline.srem(self._listed_with(note.channel), note.channel)

    def _channels_of(self, session: str) -> str:
        return self._keys.topic(session_topic(session), "channels")

    def _listed_with(self, channel: str) -> str:
        return self._keys.channels(partition_of(channel_topic(channel), self._keys.partitions))
