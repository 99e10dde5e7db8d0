"""How often somebody was erased: whoever keeps what was said before an erasure can tell that it is to be forgotten."""

from __future__ import annotations

from typing import Any, Final, cast

import redis.asyncio as aioredis

from schemas.keys import Keys

_FIELD: Final = "erasures"


async def erasures_of(client: aioredis.Redis, keys: Keys) -> bytes | None:
    """What changes with every erasure; raises RedisError."""
    found: bytes | None = await cast("Any", client.hget(keys.meta(), _FIELD))
    return found


async def note_erasure(client: aioredis.Redis, keys: Keys) -> None:
    """Somebody was erased now; raises RedisError."""
    await cast("Any", client.hincrby(keys.meta(), _FIELD, 1))
