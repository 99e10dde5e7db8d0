"""The auth processor: tokens in, verdicts out; and what becomes of sessions as connections come and go."""

from __future__ import annotations

from typing import Final

import structlog
from prometheus_client import Counter

from processors.answer import BadAnswer
from processors.auth import rules
from processors.auth.client import AuthClient
from runtime.bus.outcomes import Outcome, Received
from runtime.sessions import ClaimResult, SessionRecord
from schemas.entry import Entry
from schemas.events import AuthRequested, SessionClosed, SessionDisconnected, SessionResumed
from schemas.sealing import SealBroken, Unseals

log = structlog.get_logger()

RESUMES: Final = Counter("headgate_auth_resumes", "Attempts to resume a session, repeats included.", ["result"])


class AuthHandler:
    """Handles the entries that are about who a session is, and whether there is one."""

    TYPES: Final = frozenset({AuthRequested.TYPE, SessionResumed.TYPE, SessionDisconnected.TYPE, SessionClosed.TYPE})

    def __init__(self, client: AuthClient, sessions: SessionRecord, sealer: Unseals) -> None:
        self._client = client
        self._sessions = sessions
        self._sealer = sealer

    async def handle(self, received: Received) -> Outcome:
        """The outcome of one entry; raises Unavailable, InvalidEntry and RedisError."""
        entry = received.entry
        match event := entry.event():
            case AuthRequested():
                return await self._authenticate(entry, event, received.at)
            case SessionResumed():
                return rules.resumed(entry, event)
            case SessionDisconnected():
                user = await self._sessions.disconnect(entry, event)
                return rules.suspended(entry, event, user) if user else Outcome.done()
            case SessionClosed():
                return rules.ended(entry)
        return Outcome.done()

    async def _authenticate(self, entry: Entry, event: AuthRequested, asked_at: int) -> Outcome:
        verdict = await self._verdict(entry, event)
        if isinstance(verdict, rules.Refusal):
            if verdict.problem:
                log.error("auth.unverified", session=entry.session, problem=verdict.problem)
            return rules.failed(entry, event, verdict.error)
        if event.resume is not None:
            claim = await self._sessions.claim(
                event.resume.session,
                event.resume.generation,
                user=verdict.user or "",
                gateway=entry.gateway,
                request=entry.id,
                asked_at=asked_at,
            )
            RESUMES.labels(claim.result).inc()
            if claim.result is ClaimResult.SUPERSEDED:
                return Outcome.done()
            if claim.result is ClaimResult.RESUMED:
                return rules.reconnected(entry, event, verdict, claim.generation, claim.since)
        opened = rules.opened(entry, event, verdict)
        if not await self._sessions.open(opened, asked_at=asked_at, resumable=event.protocol is not None):
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
