"""Which entries of the log wait for whom. A trail says only what was done, and not every entry has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from console.records import order
from runtime.bus.trim import removed_groups
from schemas.groups import FORWARDER
from schemas.keys import Keys

#: Entries of one log that are read and not acknowledged, of which this is known.
_MOST: Final = 10_000
_Id = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Group:
    read: _Id
    """The last entry that was handed out."""
    pending: frozenset[_Id]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What every group had to settle yet, at one moment."""

    never: frozenset[str] = frozenset()
    """Groups that nothing waits for: they were removed, or the application reads the log itself."""
    oldest: dict[str, _Id] = field(default_factory=dict)
    """By log: the first entry that it has."""
    groups: dict[tuple[str, str], _Group] = field(default_factory=dict)
    """By log and name."""

    @classmethod
    async def look(cls, client: aioredis.Redis, keys: Keys, *, forwarded: bool) -> Self:
        """At the logs as they are; `forwarded`: whether `laravel` hands over by HTTP. Raises RedisError."""
        never = await removed_groups(client, keys) | (set() if forwarded else {FORWARDER})
        logs = [log(partition) for log in (keys.inbound, keys.outbound) for partition in range(keys.partitions)]
        async with client.pipeline(transaction=False) as pipeline:
            for log in logs:
                pipeline.xrange(log, count=1)
                pipeline.xinfo_groups(log)
            # A log that is not there yet is an error in its place.
            answers = await pipeline.execute(raise_on_error=False)
        first = {log: _id(found[0][0]) for log, found in zip(logs, answers[::2], strict=True) if found}
        infos: list[tuple[str, Any]] = [
            (log, info)
            for log, found in zip(logs, answers[1::2], strict=True)
            for info in (() if isinstance(found, RedisError) else found)
        ]
        async with client.pipeline(transaction=False) as pipeline:
            for log, info in infos:
                pipeline.xpending_range(log, info["name"].decode(), "-", "+", _MOST)
            pending = await pipeline.execute(raise_on_error=False) if infos else []
        groups = {
            (log, info["name"].decode()): _Group(
                _id(info["last-delivered-id"]),
                frozenset() if isinstance(found, RedisError) else frozenset(_id(one["message_id"]) for one in found),
            )
            for (log, info), found in zip(infos, pending, strict=True)
        }
        return cls(frozenset(never), first, groups)

    def has(self, log: str, stream_id: str, name: str) -> bool:
        """Whether the group `name` has not settled this entry of `log`. What the log has no more was settled by all."""
        entry, oldest = order(stream_id), self.oldest.get(log)
        if name in self.never or oldest is None or entry < oldest:
            return False
        group = self.groups.get((log, name))
        return group is None or entry > group.read or entry in group.pending


def _id(raw: bytes) -> _Id:
    return order(raw.decode())
