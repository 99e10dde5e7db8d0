"""Leases: which process may work on a partition.

A lease is a Redis key with a time to live (https://redis.io/docs/latest/commands/set/, `SET NX PX`). It saves work;
correctness rests on derived ids, not on it (docs/architecture.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import redis.asyncio as aioredis
from redis.exceptions import RedisError

_RENEW = "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end"
_RELEASE = "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) else return 0 end"


class Leases:
    """The leases that this process holds, by key."""

    def __init__(self, client: aioredis.Redis, ttl: float, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._ttl = ttl
        self._now = monotonic
        self._owner = secrets.token_hex(8)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._renewed: dict[str, float] = {}

    def holds(self, key: str) -> bool:
        """Whether `key` is surely still ours: renewed within 0.8 of its time to live."""
        renewed = self._renewed.get(key)
        return renewed is not None and self._now() - renewed < self._ttl * 0.8

    def held(self) -> list[str]:
        """The keys that are surely still ours."""
        return [key for key in self._renewed if self.holds(key)]

    async def acquire(self, key: str) -> bool:
        """Take `key` if nobody holds it."""
        asked = self._now()
        if await self._client.set(key, self._owner, nx=True, px=int(self._ttl * 1000)):
            self._renewed[key] = asked
            return True
        return False

    async def renew(self) -> None:
        """Renew all that are held; those that another process took meanwhile are dropped."""
        for key in list(self._renewed):
            asked = self._now()
            try:
                kept = await self._renew(keys=[key], args=[self._owner, int(self._ttl * 1000)])
            except RedisError:
                if not self.holds(key):
                    self._renewed.pop(key, None)
                continue
            if kept:
                self._renewed[key] = asked
            else:
                self._renewed.pop(key, None)

    async def release(self, key: str) -> None:
        """Give `key` back, so that another process need not wait for its end."""
        if self._renewed.pop(key, None) is None:
            return
        try:
            await self._release(keys=[key], args=[self._owner])
        except RedisError:
            return  # It ends by itself.
