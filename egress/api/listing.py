"""Pages of live sessions.

Pages are exact and in a stable order, by partition and id: sessions that come and go meanwhile move nobody to
another page.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime

from egress.api.requests import ListedSession, SessionPage
from egress.directory import Directory, Session
from egress.topics.store import TopicStore
from schemas.topics import channel_topic, user_topic


class CursorError(ValueError):
    """The caller's: a cursor that no page gave."""


class Listing:
    """Lists sessions for the API."""

    def __init__(self, directory: Directory, store: TopicStore, partitions: int) -> None:
        self._directory = directory
        self._store = store
        self._partitions = partitions

    async def page(self, limit: int, cursor: str | None, user: str | None, channel: str | None) -> SessionPage:
        """The sessions that `sessions` gives, as the API answers them. Raises CursorError."""
        found, following = await self.sessions(limit, cursor, user, channel)
        return SessionPage(sessions=[_listed(session) for session in found], next=following)

    async def sessions(
        self, limit: int, cursor: str | None, user: str | None, channel: str | None
    ) -> tuple[list[Session], str | None]:
        """At most `limit` sessions after `cursor`, of `user` and in `channel` where given; and the next cursor, if any.

        Raises CursorError.
        """
        partition, after = position(cursor, self._partitions)
        if user is None and channel is None:
            return await self._all(limit, partition, after)
        topics = []
        if user is not None:
            topics.append(user_topic(user))
        if channel is not None:
            topics.append(channel_topic(channel))
        subscribed = [set(await self._store.subscribers(topic)) for topic in topics]
        ids = sorted(set.intersection(*subscribed))
        ids = ids[bisect_right(ids, after) :]
        found = await self._directory.get(ids[:limit])
        return found, f"0:{ids[limit - 1]}" if len(ids) > limit else None

    async def _all(self, limit: int, partition: int, after: str) -> tuple[list[Session], str | None]:
        sessions: list[Session] = []
        while partition < self._partitions:
            ids = await self._directory.ids(partition)
            ids = ids[bisect_right(ids, after) :]
            room = limit - len(sessions)
            sessions += await self._directory.get(ids[:room])
            if len(ids) > room:
                after = ids[room - 1] if room else after
                return sessions, f"{partition}:{after}"
            partition, after = partition + 1, ""
        return sessions, None


def position(cursor: str | None, partitions: int) -> tuple[int, str]:
    """The partition and the name that a page begins after; raises CursorError."""
    if not cursor:
        return 0, ""
    partition, colon, after = cursor.partition(":")
    if not (colon and partition.isascii() and partition.isdigit() and int(partition) < partitions):
        raise CursorError("cursor: give what the page before answered as `next`")
    return int(partition), after


def _listed(session: Session) -> ListedSession:
    connected = datetime.fromtimestamp(session.connected_at / 1000, UTC)
    return ListedSession(
        id=session.id,
        user_id=session.user,
        channels=list(session.channels),
        connected_at=connected.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
