"""The list of gateways: which of them live.

A sorted set of names by the time of their last sign of life (Unix ms, on the clock of Redis). A gateway whose time
stands still for a lease is declared lost: its time is set to LOST, and from then on its name is nobody's. A gateway
that wakes up after that finds it there, and goes on under another name (docs/architecture.md).
"""

from __future__ import annotations

from typing import Any, Final

import redis.asyncio as aioredis

from schemas.keys import Keys

#: The time of a gateway that was declared lost.
LOST: Final = 0.0

#: ARGV: 1 the gateway. Gives 0 when the name is on the list already.
_REGISTER: Final = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
return 1
"""
#: ARGV: 1 the gateway. Gives 0 when it was declared lost, or forgotten.
_BEAT: Final = """
local beat = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not beat or tonumber(beat) == 0 then return 0 end
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
return 1
"""
#: ARGV: 1 the gateway, 2 its last sign of life as it was seen. Gives 0 when there was another one since.
_DECLARE_LOST: Final = """
local beat = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not beat or tonumber(beat) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
return 1
"""


class Gateways:
    """The list, for gateways and for those who watch them. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.gateways()
        self._register = client.register_script(_REGISTER)
        self._beat = client.register_script(_BEAT)
        self._declare_lost = client.register_script(_DECLARE_LOST)

    async def register(self, gateway: str) -> bool:
        """Put `gateway` on the list; False when its name is there already, of a living or a lost one."""
        return bool(await self._register(keys=[self._key], args=[gateway]))

    async def beat(self, gateway: str) -> bool:
        """Show a sign of life; False when `gateway` was declared lost, or the list no longer has it."""
        return bool(await self._beat(keys=[self._key], args=[gateway]))

    async def beats(self) -> dict[str, float]:
        """The last sign of life of every gateway on the list; LOST of those that were declared lost."""
        found: Any = await self._client.zrange(self._key, 0, -1, withscores=True)
        return {name.decode(): beat for name, beat in found}

    async def declare_lost(self, gateway: str, beat: float) -> bool:
        """Declare `gateway` lost if `beat` is its last sign of life; whether it was."""
        return bool(await self._declare_lost(keys=[self._key], args=[gateway, int(beat)]))

    async def remove(self, gateway: str) -> None:
        """Take `gateway` off the list."""
        await self._client.zrem(self._key, gateway)
