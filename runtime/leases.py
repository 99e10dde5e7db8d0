"""Leases: which process may work on which partition of a group, shared out evenly.

A lease is a Redis key with a time to live (https://redis.io/docs/latest/commands/set/, `SET NX PX`). It saves work
and keeps order; that nothing is lost rests on derived ids, not on it (docs/architecture.md). Each process says that it
lives in a sorted set, and from their number follows how many partitions each may have.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

_ANNOUNCE: Final = """
local time=redis.call('TIME') local now=time[1]*1000+math.floor(time[2]/1000)
redis.call('ZADD',KEYS[1],now,ARGV[1])
redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',now-ARGV[2])
redis.call('PEXPIRE',KEYS[1],ARGV[2]*10)
return redis.call('ZRANGE',KEYS[1],0,-1)
"""
_ACQUIRE: Final = """
if redis.call('SET',KEYS[1],ARGV[1],'NX','PX',ARGV[2]) then return redis.call('GET',KEYS[2]) or '' end
return false
"""
_RENEW: Final = (
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end"
)
_READ_BY: Final = """
if redis.call('GET',KEYS[1])~=ARGV[1] then return 0 end
redis.call('SET',KEYS[2],ARGV[2]) return 1
"""
_RELEASE: Final = (
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1],KEYS[2]) else return 0 end"
)
#: A lease counts as held for this share of its time after it was renewed: the rest is for clocks and slow answers.
_SURE: Final = 0.8


@dataclass(frozen=True, slots=True)
class LeaseKeys:
    """Where one partition's lease is, both keys in the slot of its log."""

    lease: str
    reader: str
    """Who reads under the lease: the identity of a connection, see `Reader`."""


def share(rank: int, members: int, partitions: int) -> int:
    """How many of `partitions` the process with `rank` (from 0) of `members` may have: all are had, evenly."""
    return partitions // members + (rank < partitions % members)


class Leases:
    """The leases of this process on the partitions of one group. Every coroutine raises RedisError."""

    def __init__(
        self,
        client: aioredis.Redis,
        keys: Sequence[LeaseKeys],
        members: str,
        ttl: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`keys` by partition; `members` is the sorted set of the group's processes; `ttl` in seconds."""
        self._client = client
        self._keys = keys
        self._members = members
        self._ttl = ttl
        self._ttl_ms = int(ttl * 1000)
        self._now = monotonic
        self._owner = secrets.token_hex(8)
        self._announce = client.register_script(_ANNOUNCE)
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._read_by = client.register_script(_READ_BY)
        self._release = client.register_script(_RELEASE)
        self._renewed: dict[int, float] = {}
        self._tokens: dict[int, str] = {}
        """What each lease holds. Each time it is taken another one: a release or renewal that was held up on its way
        must not touch a lease that this process has taken again since."""

    def holds(self, partition: int) -> bool:
        """Whether `partition` is surely still ours."""
        renewed = self._renewed.get(partition)
        return renewed is not None and self._now() - renewed < self._ttl * _SURE

    def held(self) -> list[int]:
        """The partitions that are surely still ours, sorted."""
        return sorted(partition for partition in self._renewed if self.holds(partition))

    async def announce(self) -> int:
        """Say that this process lives; gives how many partitions it may have now."""
        members = await self._announce(keys=[self._members], args=[self._owner, self._ttl_ms])
        names = sorted(name.decode() for name in members)
        return share(names.index(self._owner), len(names), len(self._keys))

    async def free(self) -> list[int]:
        """The partitions that nobody holds, as far as their servers answer."""
        pipeline = self._client.pipeline(transaction=False)
        for keys in self._keys:
            pipeline.exists(keys.lease)
        taken = await pipeline.execute(raise_on_error=False)
        return [partition for partition, exists in enumerate(taken) if exists == 0]

    async def acquire(self, partition: int) -> str | None:
        """Take `partition` if nobody holds it: the identity of the connection that a former owner reads with, which
        must be ended before anything is read; empty if that owner gave the lease back. None: not taken.

        `holds` is true only after `confirm`.
        """
        keys = self._keys[partition]
        token = f"{self._owner}:{secrets.token_hex(4)}"
        last = await self._acquire(keys=[keys.lease, keys.reader], args=[token, self._ttl_ms])
        if last is not None:
            self._tokens[partition] = token
        return None if last is None else last.decode()

    async def confirm(self, partitions: Sequence[int]) -> list[int]:
        """Renew the leases of `partitions`; those that another process took meanwhile are dropped.

        Gives those that are held from now on and were not, or not surely, until now. Raises RedisError when none could
        be renewed; one that could not, because its server is away, lapses by itself.
        """
        asked = self._now()
        answers = await self._run(self._renew, partitions, lambda keys: [keys.lease], self._ttl_ms)
        gained = [p for p, ours in answers.items() if ours and not self.holds(p)]
        for partition, ours in answers.items():
            if ours:
                self._renewed[partition] = asked
            else:
                self._renewed.pop(partition, None)
        return gained

    async def renew(self) -> list[int]:
        """Renew all that are held; gives what `confirm` does."""
        return await self.confirm(list(self._renewed))

    async def read_by(self, partitions: Sequence[int], identity: str) -> list[int]:
        """Note that `partitions` are read by the connection `identity`; gives those whose lease is still ours."""
        before = dict(self._tokens)
        noted = await self._run(self._read_by, partitions, _both, identity)
        return [p for p, ours in noted.items() if ours and self._tokens.get(p) == before.get(p)]

    async def release(self, partitions: Sequence[int]) -> None:
        """Give `partitions` back, so that another process need not wait for their end."""
        for partition in partitions:
            self._renewed.pop(partition, None)
        await self._run(self._release, partitions, _both)

    async def leave(self) -> None:
        """Give everything back and let others share it out."""
        await self.release(list(self._renewed))
        await self._client.zrem(self._members, self._owner)

    async def _run(
        self,
        script: Any,
        partitions: Sequence[int],
        keys_of: Callable[[LeaseKeys], list[str]],
        *args: str | int,
    ) -> dict[int, Any]:
        """The answers of the servers that answered, by partition; raises RedisError when none did."""
        if not partitions:
            return {}
        # As a context: a pipeline that fails while it looks for its scripts keeps its connection otherwise.
        async with self._client.pipeline(transaction=False) as pipeline:
            for partition in partitions:
                token = self._tokens.get(partition, self._owner)
                await script(keys=keys_of(self._keys[partition]), args=[token, *args], client=pipeline)
            answers = await pipeline.execute(raise_on_error=False)
        found = {p: answer for p, answer in zip(partitions, answers, strict=True) if not isinstance(answer, RedisError)}
        if not found:
            raise answers[0]
        return found


def _both(keys: LeaseKeys) -> list[str]:
    return [keys.lease, keys.reader]
