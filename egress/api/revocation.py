"""`POST /unsubscribe`: the application takes a channel away from a session, or from all of a user.

Two entries for each session. One on the channel's topic ends the subscription at once, wherever the session is. One in
the session's own log comes after all that it has asked for, so that nothing of that brings it back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from fastapi import APIRouter

from egress.api.calls import Call, CallOf, JsonRoute
from egress.api.documentation import NOT_FOUND, SIGNED
from egress.api.publisher import SessionUnknown
from egress.api.requests import Accepted, Unsubscribe
from egress.directory import Directory, Session
from egress.topics.store import TopicStore
from runtime.bus.appender import Appender
from schemas.entry import Entry
from schemas.events import SubscriptionEnded, UnsubscribeRequested
from schemas.ids import derived, uuid7
from schemas.keys import Keys
from schemas.topics import channel_topic, user_topic
from schemas.traceparent import parse


class Revoker:
    """Takes channels away."""

    def __init__(
        self, appender: Appender, directory: Directory, store: TopicStore, keys: Keys, clock: Callable[[], int]
    ) -> None:
        """`clock` gives Unix ms."""
        self._appender = appender
        self._directory = directory
        self._store = store
        self._keys = keys
        self._clock = clock

    async def revoke(self, order: Unsubscribe, call: Call) -> str:
        """Carry `order` out and give its id; raises SessionUnknown, LogUnavailable and RedisError.

        It may be repeated with the same Idempotency-Key.
        """
        sessions = await self._sessions(order)
        if order.session_id is not None and not sessions:
            raise SessionUnknown("Session not found")
        now = self._clock()
        (order_id,) = call.ids() or [uuid7(now, os.urandom(10))]
        traceparent = call.traceparent if parse(call.traceparent) else ""
        appends = []
        for session in sessions:
            asked = Entry.of(
                UnsubscribeRequested(channel=order.channel, reason="revoked", message=order.reason),
                id=derived(order_id, session.id),
                ts=now,
                session=session.id,
                user=session.user or "",
                traceparent=traceparent,
            )
            ended = SubscriptionEnded(reason="revoked", message=order.reason)
            topic = channel_topic(order.channel)
            at_once = asked.follow("revoked", ended, topic=topic)
            appends += [
                self._appender.append(self._keys.inbound_of(session.id), asked),
                self._appender.append(self._keys.outbound_of(topic), at_once),
            ]
        await asyncio.gather(*appends)
        return order_id

    async def _sessions(self, order: Unsubscribe) -> list[Session]:
        if order.session_id is not None:
            return await self._directory.get([order.session_id])
        return await self._directory.get(await self._store.subscribers(user_topic(order.user_id or "")))


def revocation_routes(revoker: Revoker) -> APIRouter:
    """`POST /unsubscribe`. Raises SessionUnknown, LogUnavailable and RedisError."""
    router = APIRouter(tags=["channels"], route_class=JsonRoute, responses=SIGNED)

    @router.post("/unsubscribe", summary="Take a channel away", responses=NOT_FOUND)
    async def unsubscribe(body: Unsubscribe, call: CallOf) -> Accepted:
        """Take a channel away from one session, or from all sessions of a user. That there is none is no error."""
        return Accepted(id=await revoker.revoke(body, call))

    return router
