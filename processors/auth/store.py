"""What auth remembers of a session: whom it was authenticated as, even if it closed before it was told."""

from __future__ import annotations

import redis.asyncio as aioredis

from processors.memory import SessionNames
from schemas.keys import Keys


class AuthStore(SessionNames):
    """User ids by session."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        super().__init__(client, keys, "auth")
