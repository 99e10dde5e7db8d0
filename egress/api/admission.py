"""Who may come in again: each signed request once, and each key so many requests a minute."""

from __future__ import annotations

from typing import Final

import redis.asyncio as aioredis

from schemas.errors import HeadgateError
from schemas.keys import Keys
from schemas.signing import NONCE_TTL_S

#: Nonce and count are one step, so that a request that somebody recorded and sends again costs its key nothing.
#: KEYS: 1 requests of the key, 2 nonce, if there is one. ARGV: 1 requests a minute, 0 for any number, 2 how long a
#: nonce is remembered (s). Gives -1 for a nonce that was used, 0, or ms until the key may come again.
_ADMIT: Final = """
if KEYS[2] and not redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[2]) then return -1 end
local most = tonumber(ARGV[1])
if most == 0 then return 0 end
local made = redis.call('INCR', KEYS[1])
if made == 1 then redis.call('PEXPIRE', KEYS[1], 60000) end
return made > most and math.max(1, redis.call('PTTL', KEYS[1])) or 0
"""


class NonceUsed(HeadgateError):
    """The sender's: a signed request that came before."""


class TooManyRequests(HeadgateError):
    """The sender's: its key has had its requests; it may come again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"this key has had its requests of this minute: try again in {retry_after} s")
        self.retry_after = retry_after


class Admission:
    """Lets requests in whose signature is right; all egress processes share what it remembers."""

    def __init__(self, client: aioredis.Redis, keys: Keys, per_minute: int) -> None:
        """`per_minute`: requests of one key, counted from the first of them on; 0 for any number."""
        self._keys = keys
        self._per_minute = per_minute
        self._admit = client.register_script(_ADMIT)

    async def admit(self, key_id: str, nonce: str | None) -> None:
        """Burn `nonce`, if there is one, and count the request, in one round trip.

        Raises NonceUsed, TooManyRequests and RedisError.
        """
        keys = [self._keys.requests(key_id), *([] if nonce is None else [self._keys.nonce(key_id, nonce)])]
        wait = int(await self._admit(keys=keys, args=[self._per_minute, NONCE_TTL_S]))
        if wait < 0:
            raise NonceUsed("the nonce was used before: every request needs its own")
        if wait:
            raise TooManyRequests(-(-wait // 1000))
