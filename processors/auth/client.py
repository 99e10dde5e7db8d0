"""Asks the application whose token it is."""

from __future__ import annotations

from processors.answer import Answer, Asks
from processors.auth import rules
from schemas.entry import Entry


class AuthClient:
    """The application's verify route."""

    def __init__(self, application: Asks, path: str) -> None:
        self._application = application
        self._path = path

    async def verify(self, entry: Entry, token: str) -> Answer:
        """The answer on `token`, which must be fit for a header; raises Unavailable, BadAnswer."""
        bearer = {"Authorization": f"Bearer {token}"}
        return await self._application.post(self._path, entry=entry, headers=bearer, seen=rules.seen)
