"""What channels remembers of a session: the channels it was granted, so that it gets them back and leaves them.

What comes after a session's end must bring nothing back. It can come: a gateway that was declared lost and wakes up
writes what its clients sent before it learns that its sessions are over. So an end is remembered too.
"""

from __future__ import annotations

from typing import Any, Final

import redis.asyncio as aioredis

from schemas.keys import Keys

#: How long names outlive their session, in seconds: its end may be handled again after a crash.
KEPT_S: Final = 3600
#: How long the end of a session without names is remembered, in seconds: what may still come is on its way already.
END_KEPT_S: Final = 600
#: Stands among the names of a session that has ended. No channel is called that.
ENDED: Final = ""

#: KEYS: 1 the names. ARGV: 1 a name. When the session has ended, adds nothing, and gives 1 for a name that it had: what
#: is handled again leads to the same as before.
_ADD: Final = f"""
if redis.call('SISMEMBER', KEYS[1], '{ENDED}') == 1 then return redis.call('SISMEMBER', KEYS[1], ARGV[1]) end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
"""
#: KEYS: 1 the names. Gives the names.
_CLOSE: Final = f"""
redis.call('SREM', KEYS[1], '{ENDED}')
local names = redis.call('SMEMBERS', KEYS[1])
redis.call('SADD', KEYS[1], '{ENDED}')
redis.call('EXPIRE', KEYS[1], #names > 0 and {KEPT_S} or {END_KEPT_S})
return names
"""


class ChannelsStore:
    """Channel names by session, in the slot of the session's inbound log. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._add = client.register_script(_ADD)
        self._close = client.register_script(_CLOSE)

    async def add(self, session: str, name: str) -> bool:
        """Remember `name`; False when the session has ended without it, so that nothing may come of it any more."""
        return bool(await self._add(keys=[self._key(session)], args=[name]))

    async def discard(self, session: str, name: str) -> None:
        """Forget `name`."""
        await self._client.srem(self._key(session), name)

    async def names(self, session: str) -> list[str]:
        """The session's names, sorted; none when it has ended."""
        names: Any = await self._client.smembers(self._key(session))
        found = sorted(name.decode() for name in names)
        return [] if ENDED in found else found

    async def close(self, session: str) -> list[str]:
        """The session's names, sorted, to be forgotten after a while: the session has ended."""
        names: list[bytes] = await self._close(keys=[self._key(session)])
        return sorted(name.decode() for name in names)

    def _key(self, session: str) -> str:
        return self._keys.session_state(self._keys.inbound_of(session), "channels", session)
