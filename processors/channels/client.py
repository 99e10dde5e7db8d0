"""Asks the application who may join."""

from __future__ import annotations

from processors.answer import Answer, Asks
from processors.channels import rules
from schemas.entry import Entry


class ChannelsClient:
    """The application's authorize route."""

    def __init__(self, application: Asks, path: str) -> None:
        self._application = application
        self._path = path

    async def authorize(self, entry: Entry, channel: str) -> Answer:
        """The application's answer on whether the entry's user may join; raises Unavailable, BadAnswer."""
        asked = {"session": entry.session, "user": entry.user or None, "channel": channel}
        return await self._application.post(self._path, asked, entry=entry, seen=rules.seen)
