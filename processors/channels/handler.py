"""The channels processor: requests to join in, grants out; whispers between members; the end of a session."""

from __future__ import annotations

from typing import Final

import structlog

from processors.answer import BadAnswer, Failed
from processors.channels import rules
from processors.channels.client import ChannelsClient
from runtime.bus.outcomes import Outcome, Received
from runtime.memberships import Memberships
from schemas.channel_auth import ChannelVerifier
from schemas.entry import Entry
from schemas.errors import ErrorCode
from schemas.events import (
    ChannelSubscribed,
    ChannelUnsubscribed,
    SessionClosed,
    SessionResumed,
    SubscribeRequested,
    UnsubscribeRequested,
    WhisperReceived,
)

log = structlog.get_logger()


class ChannelsHandler:
    """Handles the entries that are about channels."""

    TYPES: Final = frozenset(
        {
            SubscribeRequested.TYPE,
            WhisperReceived.TYPE,
            UnsubscribeRequested.TYPE,
            SessionResumed.TYPE,
            SessionClosed.TYPE,
        }
    )

    def __init__(self, client: ChannelsClient, memberships: Memberships, verifier: ChannelVerifier) -> None:
        self._client = client
        self._memberships = memberships
        self._verifier = verifier

    async def handle(self, received: Received) -> Outcome:
        """The outcome of one entry; raises Unavailable, InvalidEntry and RedisError."""
        entry = received.entry
        match event := entry.event():
            case SubscribeRequested():
                return await self._subscribe(received, event)
            case WhisperReceived():
                return rules.whispered(entry, event)
            case UnsubscribeRequested():
                return await self._unsubscribe(received, event)
            case SessionResumed():
                return await self._resume(entry, event)
            case SessionClosed():
                return rules.ended(entry, await self._memberships.close(entry.session))
        return Outcome.done()

    async def _subscribe(self, received: Received, event: SubscribeRequested) -> Outcome:
        entry = received.entry
        decision = rules.without_asking(event) or rules.signed(entry, event, self._verifier)
        signed = event.auth is not None and isinstance(decision, rules.Grant)
        # What was signed before the application took the channel away looks as what is signed after it.
        if decision is None or (signed and await self._memberships.was_revoked(entry.session, event.channel)):
            try:
                decision = await self._asked(entry, event)
            except Failed as error:  # The client waits for an answer, also if it is put aside in the end.
                refused = rules.refused(entry, event, rules.Refusal(ErrorCode.FORBIDDEN, rules.UNDECIDED))
                return Outcome.again(str(error), *refused.emits)
        if isinstance(decision, rules.Refusal):
            if decision.problem:
                log.error("channels.unauthorized", session=entry.session, problem=decision.problem)
            return rules.refused(entry, event, decision)
        told = entry.follow("subscribed", ChannelSubscribed(channel=event.channel))
        if not await self._memberships.join(received.stream_id, told, event.channel, decision.expires_at):
            return Outcome.done()
        return rules.granted(entry, event, decision)

    async def _asked(self, entry: Entry, event: SubscribeRequested) -> rules.Grant | rules.Refusal:
        try:
            return rules.judged(entry, event, await self._client.authorize(entry, event.channel))
        except BadAnswer as error:  # Repeated it would be as bad, and the client waits for an answer.
            return rules.Refusal(ErrorCode.FORBIDDEN, rules.UNDECIDED, str(error))

    async def _unsubscribe(self, received: Received, event: UnsubscribeRequested) -> Outcome:
        entry = received.entry
        told = entry.follow("unsubscribed", ChannelUnsubscribed(channel=event.channel, reason=event.reason))
        left = await self._memberships.leave(
            received.stream_id, told, event.channel, expired=event.expires_at, revoked=event.reason == "revoked"
        )
        return rules.left(entry, event) if left else Outcome.done()

    async def _resume(self, entry: Entry, event: SessionResumed) -> Outcome:
        kept, expired = rules.still_granted(entry, await self._memberships.granted(entry.session))
        for name, at in expired.items():
            # As an entry of its own, since what is handled again would not find it among the names any more.
            over = UnsubscribeRequested(channel=name, reason="expired", expires_at=at, generation=event.generation)
            await self._memberships.ask(entry.follow(f"expired/{name}", over))
        return rules.resumed(entry, event, kept)
