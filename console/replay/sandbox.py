"""A keyspace in which the checked-out processors and router can do as they like: nobody else reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast

import redis.asyncio as aioredis
from pydantic import SecretStr

from console.replay.choices import SANDBOXES
from egress.operations import Operation
from egress.router import Router
from egress.routing.deliveries import Delivery
from egress.routing.notes import Note
from egress.topics.store import PARTS, TopicStore
from processors.answer import Asks
from processors.handlers import DECIDING, Processor, processor
from runtime.memberships import names_key
from runtime.sessions import SessionRecord
from runtime.settings import Settings
from schemas.channel_auth import ChannelVerifier
from schemas.entry import Entry
from schemas.events import DisconnectRequested, SessionClosed
from schemas.groups import FORWARDER
from schemas.sealing import Unseals
from schemas.topics import session_topic

PREFIX: Final = SANDBOXES
#: How long a session waits to be resumed, in seconds: its end is an entry of the recording, not a matter of time.
_FOR_EVER: Final = 10_000_000
#: When an order was given that ended a session, in Unix ms: whether that began before it was decided then.
_IN_TIME: Final = 1 << 53
#: Keys that are removed in one round trip.
_SCAN: Final = 1000


class Sandbox:
    """The processors and the router on keys of their own. Every method raises RedisError."""

    def __init__(
        self,
        settings: Settings,
        client: aioredis.Redis,
        name: str,
        *,
        asks: Asks,
        sealer: Unseals,
        verifier: ChannelVerifier,
        moment: Callable[[Operation], tuple[int, str]],
    ) -> None:
        """`name`: of the replay. `verifier`: of subscriptions that the application signed. `moment`: as TopicStore
        takes it."""
        window = _FOR_EVER if settings.resume_seconds else 0
        own = {"prefix": f"{PREFIX}{name}:", "resume_seconds": window, "secret": SecretStr("")}
        self.settings = settings.model_copy(update=own)
        self._client = client
        self.keys = self.settings.keys
        self._sessions = SessionRecord(client, self.keys, window, channel_events=settings.channel_events)
        # With HEADGATE_LARAVEL_VIA=log the application decides what the forwarder would.
        deciding = [one for one in DECIDING if one != FORWARDER or settings.laravel_via == "http"]
        self.processors: dict[str, Processor] = {
            one: processor(one, self.settings, client, asks, sealer, verifier) for one in deciding
        }
        store = TopicStore(client, self.settings, moment=moment)
        self.router = Router(store, _NoDirectory(), _NoStreams(), _NoSessions())

    async def written(self, session: str) -> list[Entry]:
        """What was written to the inbound log of a session since the last look."""
        log = self.keys.inbound_of(session)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xrange(log)
        pipeline.delete(log)
        found: Any = (await pipeline.execute())[0]
        return [Entry.from_fields(fields) for _, fields in found]

    async def end(self, closed: Entry, event: SessionClosed) -> list[Entry]:
        """End a session for nobody resumed it in time, or as the application ordered, when `closed` was written.

        Gives what the sandbox writes of that.
        """
        log = self.keys.inbound_of(closed.session)
        if closed.cause:
            order = replace(closed, id=closed.cause)
            told = DisconnectRequested(code=event.code, reason=event.reason)
            await self._sessions.force(closed.session, order, told, ordered_at=_IN_TIME)
            return await self.written(closed.session)
        if not await self._client.zscore(self.keys.disconnected(log), closed.session):
            return []
        await self._client.zadd(self.keys.disconnected(log), {closed.session: 0})
        await self._sessions.end_overdue(closed.ts)
        return await self.written(closed.session)

    async def forget(self, sessions: Iterable[str]) -> None:
        """Remove what is left of sessions that are over: here time goes so fast that nothing expires by itself."""
        pipeline = self._client.pipeline(transaction=False)
        for session in sessions:
            pipeline.unlink(self.keys.session_state(self.keys.inbound_of(session), "auth", session))
            pipeline.unlink(names_key(self.keys, session))
            for part in PARTS:
                pipeline.unlink(self.keys.topic(session_topic(session), part.decode()))
        await pipeline.execute()

    async def epochs(self, topics: Sequence[str]) -> list[str]:
        """The epoch of each topic, empty for one that there is not."""
        pipeline = self._client.pipeline(transaction=False)
        for topic in topics:
            pipeline.hget(self.keys.topic(topic, "state"), "epoch")
        return [(epoch or b"").decode() for epoch in await pipeline.execute()]

    async def begin_topics(self, begun: Iterable[tuple[str, str, int, int]]) -> None:
        """Let topics begin as (topic, epoch, offset, Unix ms) says: forgotten then, or older than what is replayed."""
        pipeline = self._client.pipeline(transaction=False)
        for topic, epoch, offset, at in begun:
            for part in ("state", "history", "seen", "seen_before"):
                pipeline.unlink(self.keys.topic(topic, part))
            # As egress/topics/lua/common.lua begins one.
            state: Any = {"epoch": epoch, "offset": offset, "turned": at}
            pipeline.hset(self.keys.topic(topic, "state"), mapping=state)
        await pipeline.execute()

    async def skip_to(self, offsets: Iterable[tuple[str, int]]) -> None:
        """Let topics have the last offset that (topic, offset) says: what came before is not in what is replayed."""
        pipeline = self._client.pipeline(transaction=False)
        for topic, offset in offsets:
            pipeline.hset(self.keys.topic(topic, "state"), "offset", str(offset))
        await pipeline.execute()

    async def remove(self) -> None:
        """Remove every key of the sandbox."""
        assert self.keys.prefix.startswith(PREFIX)
        async for page in _pages(self._client, f"{self.keys.prefix}*"):
            pipeline = self._client.pipeline(transaction=False)
            for key in page:
                pipeline.unlink(key)
            await pipeline.execute()


async def _pages(client: aioredis.Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    page: list[bytes] = []
    async for key in client.scan_iter(pattern, count=_SCAN):
        page.append(cast("bytes", key))
        if len(page) >= _SCAN:
            yield page
            page = []
    if page:
        yield page


@asynccontextmanager
async def removed_at_the_end(sandbox: Sandbox, keep: bool) -> AsyncIterator[Sandbox]:
    """Removes the sandbox when the block ends, unless it is to be kept."""
    try:
        yield sandbox
    finally:
        if not keep:
            await sandbox.remove()


class _NoDirectory:
    """Nobody asks a sandbox who is connected."""

    async def take(self, notes: Iterable[Note]) -> None:
        """Nothing."""


class _NoSessions:
    """Sessions that end because the application said so are ended when that was written."""

    async def force(self, session: str, order: Entry, event: DisconnectRequested, *, ordered_at: int) -> bool:
        """Nothing."""
        return False


class _NoStreams:
    """There is no gateway; what it would get is in the outcome."""

    async def append(self, deliveries: Iterable[Delivery], *, datagrams: bool = False) -> None:
        """Nothing."""
