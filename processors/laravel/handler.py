"""The laravel processor: messages to the application, its answers to the channel or the sender."""

from __future__ import annotations

from typing import Final

import orjson
import structlog

from processors.laravel import rules
from processors.laravel.client import LaravelClient
from processors.laravel.store import Beginning, Begun
from runtime.bus.lanes import Handler, one_by_one
from runtime.bus.outcomes import Outcome, Received, Verdict
from schemas.entry import Entry
from schemas.errors import ErrorCode
from schemas.events import (
    ChannelSubscribed,
    ChannelUnsubscribed,
    MessageReceived,
    SessionClosed,
    SessionOpened,
    SessionResumed,
)

log = structlog.get_logger()


def at_most_once(handler: Handler, begun: Begun) -> Handler:
    """`handler`, one entry at a time, for an application that must not be handed an entry twice.

    Its entries wait (`later`) only where the application did not begin with them. One that its client sent again
    is done: what became of the first is told under the same ids.
    """

    async def handle(received: Received) -> Outcome:
        beginning, before = await begun.begin(received)
        if beginning is Beginning.BEGUN:
            return Outcome.dead("its processor ended while the application was asked, which is not asked again")
        if beginning is Beginning.REPEAT:
            return Outcome.done()
        (outcome,) = await handler([received])
        if outcome.verdict is Verdict.LATER:
            await begun.undo(received, before)
        return outcome

    return one_by_one(handle)


class LaravelHandler:
    """Handles the entries that the application hears of."""

    TYPES: Final = frozenset({MessageReceived.TYPE, *(event.TYPE for event in rules.CONNECTION_EVENTS)})

    def __init__(self, client: LaravelClient) -> None:
        self._client = client

    async def handle(self, received: Received) -> Outcome:
        """The outcome of one entry; raises Unavailable, BadAnswer and InvalidEntry."""
        entry = received.entry
        match event := entry.event():
            case MessageReceived():
                return await self._message(entry, event)
            case SessionOpened() | SessionResumed() | SessionClosed() | ChannelSubscribed() | ChannelUnsubscribed():
                answer = await self._client.event(entry, rules.connection(entry, event))
                if not answer.ok:
                    log.warning("laravel.event_rejected", session=entry.session, id=entry.id, status=answer.status)
        return Outcome.done()

    async def _message(self, entry: Entry, event: MessageReceived) -> Outcome:
        body = rules.message(entry, event)
        if body is None:
            text = f"{rules.CHANNEL_MESSAGE} is the gateway's own type: send message"
            return rules.refused(entry, event, ErrorCode.BAD_REQUEST, text)
        try:
            answer = await self._client.handle(entry, body)
        except orjson.JSONEncodeError:
            text = "the application is asked in JSON, which cannot carry this frame: no raw bytes"
            return rules.refused(entry, event, ErrorCode.BAD_REQUEST, text)
        if not answer.ok:
            log.warning("laravel.rejected", session=entry.session, id=entry.id, status=answer.status)
        return rules.answered(entry, event, answer)
