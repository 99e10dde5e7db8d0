"""Taking a user's payloads out of the archive. The rows stay: that something was said, when, and what it led to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, update
from sqlalchemy.ext.asyncio import AsyncEngine

from processors.persistence.database import engine_of, unavailable, url_of
from processors.persistence.reader import MANY, ArchiveReader, Query
from processors.persistence.rules import Row
from processors.persistence.schema import ENTRIES
from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.events import MessagePublished, SessionAuthenticated
from schemas.topics import session_topic, user_topic

#: Rows that are changed in one transaction, about: others write in between.
_BATCH: Final = 500
_POLL_S: Final = 0.2
_C: Final = ENTRIES.c
_EMPTY: Final = (
    update(ENTRIES)
    .where(_C.id == bindparam("of_id"), _C.stream == bindparam("of_stream"))
    .values(data=b"", erased=bindparam("now"))
)


@dataclass
class Traces:
    """What is known to be a user's, growing as it is found."""

    user: str
    sessions: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    """Of entries."""
    reached: set[str] = field(default_factory=set)
    """Topics that something of the user was published on: channels, and those of others whom it led to a message."""
    topics: set[str] = field(default_factory=set)
    """The topics that are the user's alone."""

    def __post_init__(self) -> None:
        self.topics.add(user_topic(self.user))

    def add(self, sessions: Collection[str]) -> None:
        """Note that these were the user's."""
        self.sessions.update(sessions)
        self.topics.update(map(session_topic, sessions))

    def take(self, entry: Entry) -> bool:
        """Whether `entry` is the user's: by its user, session or topic, or because something of theirs led to it.

        What somebody else sent to the user is the other one's. If it is the user's, what it tells of further sessions
        and topics is noted.
        """
        theirs = entry.user == self.user or entry.cause in self.ids
        if not theirs and (entry.user or not (entry.session in self.sessions or entry.topic in self.topics)):
            return False
        # An empty id, of a dead letter that is no entry, would be the cause of all that has none.
        self.ids.update({entry.id} - {""})
        if entry.user == self.user:
            self.add({entry.session} - {""})
            if entry.type == SessionAuthenticated.TYPE and entry.data:
                self.add(_connection(entry))
        if entry.type == MessagePublished.TYPE and entry.topic:
            self.reached.add(entry.topic)
        return True

    def size(self) -> int:
        """Grows whenever something was found."""
        return len(self.sessions) + len(self.ids) + len(self.reached)


def _connection(entry: Entry) -> set[str]:
    """The session that a connection was to become, before it went on with another one."""
    try:
        event = entry.event()
    except InvalidEntry:
        return set()
    return {event.connection} - {""} if isinstance(event, SessionAuthenticated) else set()


class Eraser:
    """Finds and empties rows. Every coroutine raises ArchiveUnavailable, ArchiveNotMade, ArchiveTooNew."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError for a URL that no driver here can open."""
        self._url = url_of(url)
        self._reader = ArchiveReader(url)
        self._engine: AsyncEngine = engine_of(self._url)

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()
        await self._engine.dispose()

    async def ready(self) -> None:
        """Raises ArchiveNotMade where there is no archive."""
        await self._reader.types()

    async def find(self, traces: Traces) -> int:
        """Add to `traces` all that the archive knows of the user; gives how many of the rows have a payload still."""
        traces.add(await self._reader.sessions_of(traces.user))
        before, counted = -1, set[tuple[str, str]]()
        while traces.size() != before:
            before = traces.size()
            async for page in self._pages(traces):
                counted.update((row.stream, row.id) for row in page if traces.take(row.entry) and row.erased is None)
        return len(counted)

    async def erase(self, traces: Traces, now_ms: int) -> int:
        """Empty every row of `traces` that has a payload; gives their number."""
        emptied = 0
        async for page in self._pages(traces):
            mine = [row for row in page if row.erased is None and traces.take(row.entry)]
            if mine:
                await self._empty([{"of_id": row.id, "of_stream": row.stream, "now": now_ms} for row in mine])
            emptied += len(mine)
        return emptied

    async def _empty(self, rows: list[dict[str, Any]]) -> None:
        with unavailable():
            async with self._engine.begin() as connection:
                await connection.execute(_EMPTY, rows)

    async def compact(self, deadline: float) -> bool:
        """Write the database anew, so that what was emptied is in no page of it; the writer waits meanwhile.

        False where somebody read the old pages of SQLite's write-ahead log until `deadline` (of the loop's clock).
        """
        with unavailable():
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                if self._url.get_backend_name() != "sqlite":
                    await connection.exec_driver_sql("VACUUM (FULL, ANALYZE) entries")
                    return True
                await connection.exec_driver_sql("VACUUM")
                # It waits for readers, as long as a lock is waited for, and then says so in its answer alone.
                # https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
                while (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0]:
                    if asyncio.get_running_loop().time() > deadline:
                        return False
                    await asyncio.sleep(_POLL_S)
                return True

    async def _pages(self, traces: Traces) -> AsyncIterator[list[Row]]:
        """Rows that may be the user's, some of them more than once; what is emptied meanwhile comes so."""
        queries = [Query(user=traces.user), Query(topic=user_topic(traces.user))]
        for session in sorted(traces.sessions):
            queries += [Query(session=session), Query(topic=session_topic(session))]
        for query in queries:
            async for page in self._reader.pages(query, size=_BATCH):
                yield page
        ids = sorted(traces.ids)
        for i in range(0, len(ids), MANY):
            async for page in self._reader.effects(ids[i : i + MANY]):
                yield page
