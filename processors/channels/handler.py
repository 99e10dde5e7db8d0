"""The channels processor: requests to join in, grants out; whispers between members; the end of a session."""

from __future__ import annotations

from typing import Final

import structlog

from processors.channels import rules
from processors.channels.client import ChannelsClient
from processors.channels.store import ChannelsStore
from runtime.bus.outcomes import Outcome
from schemas.entry import Entry
from schemas.events import SessionClosed, SessionResumed, SubscribeRequested, Unsubscribed, WhisperReceived

log = structlog.get_logger()


class ChannelsHandler:
    """Handles the entries that are about channels."""

    TYPES: Final = frozenset(
        {
            SubscribeRequested.TYPE,
            WhisperReceived.TYPE,
            Unsubscribed.TYPE,
            SessionResumed.TYPE,
            SessionClosed.TYPE,
        }
    )

    def __init__(self, client: ChannelsClient, store: ChannelsStore) -> None:
        self._client = client
        self._store = store

    async def handle(self, entry: Entry) -> Outcome:
        """The outcome of one entry; raises Unavailable, BadAnswer, InvalidEntry and RedisError."""
        match event := entry.event():
            case SubscribeRequested():
                return await self._subscribe(entry, event)
            case WhisperReceived():
                return rules.whispered(entry, event)
            case Unsubscribed():
                await self._store.discard(entry.session, event.channel)
                return rules.left(entry, event)
            case SessionResumed():
                return rules.resumed(entry, event, await self._store.names(entry.session))
            case SessionClosed():
                return rules.ended(entry, await self._store.close(entry.session))
        return Outcome.done()

    async def _subscribe(self, entry: Entry, event: SubscribeRequested) -> Outcome:
        decision = rules.without_asking(event)
        if decision is None:
            decision = rules.judged(entry, event, await self._client.authorize(entry, event.channel))
        if isinstance(decision, rules.Refusal):
            if decision.problem:
                log.error("channels.unauthorized", session=entry.session, problem=decision.problem)
            return rules.refused(entry, event, decision)
        if not await self._store.add(entry.session, event.channel):
            return Outcome.done()
        return rules.granted(entry, event, decision)
