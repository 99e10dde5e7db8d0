"""Channels as those who ask over HTTP see them: which have subscribers, who is in them, what was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
import redis.asyncio as aioredis

from egress.directory import Directory
from egress.routing.deliveries import stored
from egress.routing.history import HistoryRules, Kept
from runtime.settings import Settings
from schemas.readable import to_json
from schemas.topics import ChannelKind, channel_kind, channel_topic

#: KEYS: state, history. ARGV: 1 offset after which, 2 how many. Gives {epoch, last offset, offset before the first
#: payload, payloads, now (Unix ms)}, or {} for a topic that is not kept.
_READ: Final = """
local state = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if not state[1] then
  return {}
end
local last, kept = tonumber(state[2]), redis.call('LLEN', KEYS[2])
local from = math.max(tonumber(ARGV[1]), last - kept)
local first = from - (last - kept)
local time = redis.call('TIME')
return {
  state[1], last, from, redis.call('LRANGE', KEYS[2], first, first + tonumber(ARGV[2]) - 1),
  time[1] * 1000 + math.floor(time[2] / 1000)
}
"""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many are in a channel. Sessions that wait to be resumed count."""

    name: str
    sessions: int
    users: int | None
    """Members of a presence channel; None: it is none."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published at `at` (Unix ms) to all sessions but `exclude`."""

    offset: int
    at: int
    frame: dict[str, Any]
    exclude: str | None


@dataclass(frozen=True, slots=True)
class History:
    """A part of a channel's history, oldest first; `epoch` is None when nothing is kept of the channel."""

    epoch: str | None
    offset: int
    """Of the latest publication."""
    publications: tuple[Publication, ...]
    next: int | None
    """The offset after which the following ones are, None when there are none."""


class Channels:
    """Reads what is kept of channels; all methods raise RedisError."""

    def __init__(self, client: aioredis.Redis, directory: Directory, settings: Settings) -> None:
        self._client = client
        self._directory = directory
        self._keys = settings.keys
        self.partitions = settings.partitions
        """How many there are for a page to begin in."""
        self._rules = HistoryRules(settings.channel_history, Kept(settings.history_size, settings.history_seconds))

    async def count(self, names: Sequence[str]) -> list[Occupancy]:
        """How many are in each of `names`, in their order."""
        if not names:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            topic = channel_topic(name)
            pipeline.hlen(self._keys.topic(topic, "subscribers"))
            pipeline.hlen(self._keys.topic(topic, "members"))
        answers: list[int] = await pipeline.execute()
        return [
            Occupancy(name, sessions, users if channel_kind(name) is ChannelKind.PRESENCE else None)
            for name, sessions, users in zip(names, answers[::2], answers[1::2], strict=True)
        ]

    async def page(
        self, limit: int, partition: int = 0, after: str = "", prefix: str = ""
    ) -> tuple[list[Occupancy], tuple[int, str] | None]:
        """At most `limit` occupied channels behind the name `after` in `partition`, and where the next page begins.

        The order is that of partition and name. None: there is no next page.
        """
        found: list[Occupancy] = []
        while partition < self._keys.partitions:
            listed = await self._directory.channels(partition)
            names = sorted(name for name in listed if name > after and name.startswith(prefix))
            room = limit - len(found)
            counted = await self.count(names[:room])
            await self._directory.unlist({one.name: listed[one.name] for one in counted if not one.sessions})
            found += [one for one in counted if one.sessions]
            if len(names) > room:
                return found, (partition, names[room - 1] if room else after)
            partition, after = partition + 1, ""
        return found, None

    async def members(self, name: str) -> dict[str, Any]:
        """The members of a presence channel by user id (of the session where it has no user), sorted."""
        key = self._keys.topic(channel_topic(name), "members")
        raw = cast("dict[bytes, bytes]", await self._client.hgetall(key))
        # A member is kept as `sessions:description`.
        return {user.decode(): _readable(stored(kept.partition(b":")[2])) for user, kept in sorted(raw.items())}

    async def history(self, name: str, after: int, limit: int) -> History:
        """At most `limit` of what is kept of the publications after offset `after`."""
        topic = channel_topic(name)
        keys = self._keys.topic(topic, "state"), self._keys.topic(topic, "history")
        answer = cast("list[Any]", await self._client.eval(_READ, 2, *keys, str(after), str(limit)))
        if not answer:
            return History(None, 0, (), None)
        epoch, last, before, payloads, now = answer
        oldest = now - self._rules.of(topic).seconds * 1000
        publications = []
        for offset, kept in enumerate(payloads, before + 1):
            at, _, payload = kept.partition(b":")
            if int(at) > oldest:
                one = stored(payload)
                publications.append(Publication(offset, int(at), _readable(one["frame"]), one["exclude"]))
        reached = before + len(payloads)
        return History(epoch.decode(), last, tuple(publications), reached if payloads and reached < last else None)


def _readable(payload: dict[str, Any]) -> dict[str, Any]:
    """What JSON can carry of `payload`."""
    plain: dict[str, Any] = orjson.loads(to_json(payload))
    return plain
