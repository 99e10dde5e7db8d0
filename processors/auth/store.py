"""What auth remembers: whom a session was authenticated as, and which sessions each gateway has open.

The latter is for the day on which the gateway is lost. It follows the log, in its order and beside it, so that every
session with a `session.opened` and no `session.closed` is in it once both are handled, authenticated or not.
"""

from __future__ import annotations

from typing import Final

import redis.asyncio as aioredis

from processors.memory import ENDED, SessionNames
from schemas.keys import Keys

#: KEYS: 1 names of the session, 2 the gateway's open sessions, 3 gateways with open sessions.
#: ARGV: 1 session, 2 gateway. A repeat after the session's end opens nothing.
_OPEN: Final = f"""
if redis.call('SISMEMBER', KEYS[1], '{ENDED}') == 1 then return 0 end
redis.call('HSETNX', KEYS[2], ARGV[1], '')
redis.call('SADD', KEYS[3], ARGV[2])
return 1
"""
#: KEYS: 1 the gateway's open sessions. ARGV: 1 session, 2 user.
_NAME: Final = "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"
#: KEYS: 1 the gateway's open sessions, 2 gateways with open sessions. ARGV: 1 session, 2 gateway.
_END: Final = """
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[2], ARGV[2]) end
"""


class AuthStore(SessionNames):
    """User ids by session, and open sessions by gateway."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        super().__init__(client, keys, "auth")
        self._open = client.register_script(_OPEN)
        self._name = client.register_script(_NAME)
        self._end = client.register_script(_END)

    async def opened(self, session: str, gateway: str) -> None:
        """The gateway has opened the session."""
        sessions, gateways = self._index(session, gateway)
        await self._open(keys=[self._key(session), sessions, gateways], args=[session, gateway])

    async def authenticated(self, session: str, gateway: str, user: str | None) -> bool:
        """The session is the user's, or nobody's; False when it had ended before."""
        if user is None:
            return not await self.has_ended(session)
        if not await self.add(session, user):
            return False
        sessions, _ = self._index(session, gateway)
        await self._name(keys=[sessions], args=[session, user])
        return True

    async def ended(self, session: str, gateway: str) -> list[str]:
        """The session is over; gives whom it was authenticated as (in practice one user, or none)."""
        users = await self.close(session)
        sessions, gateways = self._index(session, gateway)
        await self._end(keys=[sessions, gateways], args=[session, gateway])
        return users

    def _index(self, session: str, gateway: str) -> tuple[str, str]:
        log = self._keys.inbound_of(session)
        return self._keys.open_sessions(log, gateway), self._keys.open_gateways(log)
