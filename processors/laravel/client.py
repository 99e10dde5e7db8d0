"""Hands messages and connection events to the application."""

from __future__ import annotations

from typing import Any

from processors.answer import Answer, Asks
from schemas.entry import Entry


class LaravelClient:
    """The application's handle and event routes."""

    def __init__(self, application: Asks, *, handle_path: str, event_path: str) -> None:
        self._application = application
        self._handle_path = handle_path
        self._event_path = event_path

    async def handle(self, entry: Entry, body: dict[str, Any]) -> Answer:
        """The answer on a client's frame; raises what `Application.post` raises."""
        return await self._application.post(self._handle_path, body, entry=entry)

    async def event(self, entry: Entry, body: dict[str, Any]) -> Answer:
        """Tell of a session; what is answered does not matter. Raises Unavailable."""
        return await self._application.post(self._event_path, body, entry=entry, wants_json=False)
