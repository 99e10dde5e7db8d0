"""What a processor remembers of an open session: names, kept in Redis so that any process can go on."""

from __future__ import annotations

from typing import Final

import redis.asyncio as aioredis

from schemas.keys import Keys

#: How long names outlive their session, in seconds: its end may be handled again after a crash.
KEPT_S: Final = 3600


class SessionNames:
    """Names by session, in the slot of the session's inbound log. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys, group: str) -> None:
        self._client = client
        self._keys = keys
        self._group = group

    async def add(self, session: str, name: str) -> None:
        """Remember `name`."""
        await self._client.sadd(self._key(session), name)

    async def discard(self, session: str, name: str) -> None:
        """Forget `name`."""
        await self._client.srem(self._key(session), name)

    async def close(self, session: str) -> list[str]:
        """The session's names, sorted, to be forgotten after a while: the session has ended."""
        key = self._key(session)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.smembers(key)
        pipeline.expire(key, KEPT_S)
        names, _ = await pipeline.execute()
        return sorted(name.decode() for name in names)

    def _key(self, session: str) -> str:
        return self._keys.session_state(self._keys.inbound_of(session), self._group, session)
