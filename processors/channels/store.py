"""What channels remembers of a session: the channels it was granted, so that it leaves them when it ends."""

from __future__ import annotations

import redis.asyncio as aioredis

from processors.memory import SessionNames
from schemas.keys import Keys


class ChannelsStore(SessionNames):
    """Channel names by session."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        super().__init__(client, keys, "channels")
