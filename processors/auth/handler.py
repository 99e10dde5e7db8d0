"""The auth processor: tokens in, verdicts out; and a session's beginning and end."""

from __future__ import annotations

from typing import Final

import structlog

from processors.answer import BadAnswer
from processors.auth import rules
from processors.auth.client import AuthClient
from processors.auth.store import AuthStore
from runtime.bus.outcomes import Outcome
from schemas.entry import Entry
from schemas.events import AuthRequested, SessionClosed, SessionOpened
from schemas.sealing import SealBroken, Sealer

log = structlog.get_logger()


class AuthHandler:
    """Handles the entries that are about who a session is."""

    TYPES: Final = frozenset({SessionOpened.TYPE, AuthRequested.TYPE, SessionClosed.TYPE})

    def __init__(self, client: AuthClient, store: AuthStore, sealer: Sealer) -> None:
        self._client = client
        self._store = store
        self._sealer = sealer

    async def handle(self, entry: Entry) -> Outcome:
        """The outcome of one entry; raises Unavailable, InvalidEntry and RedisError."""
        if entry.type == AuthRequested.TYPE:
            return await self._authenticate(entry)
        if entry.type == SessionOpened.TYPE:
            await self._store.opened(entry.session, entry.gateway)
        if entry.type == SessionClosed.TYPE:
            users = {*await self._store.ended(entry.session, entry.gateway), entry.user} - {""}
            return rules.ended(entry, sorted(users))
        return Outcome.done()

    async def _authenticate(self, entry: Entry) -> Outcome:
        event = entry.event()
        assert isinstance(event, AuthRequested)
        verdict = await self._verdict(entry, event)
        if isinstance(verdict, rules.Refusal):
            if verdict.problem:
                log.error("auth.unverified", session=entry.session, problem=verdict.problem)
            return rules.failed(entry, event, verdict.error)
        if not await self._store.authenticated(entry.session, entry.gateway, verdict.user):
            return Outcome.done()
        return rules.authenticated(entry, event, verdict)

    async def _verdict(self, entry: Entry, event: AuthRequested) -> rules.Identity | rules.Refusal:
        try:
            token = self._sealer.unseal(event.token, entry.session)
        except SealBroken as error:
            return rules.Refusal(rules.UNREADABLE, str(error))
        if not rules.is_bearer(token):
            return rules.Refusal(rules.NO_BEARER)
        try:
            return rules.verdict(await self._client.verify(entry, token))
        except BadAnswer as error:
            return rules.Refusal(rules.UNVERIFIED, str(error))
