"""Timelines out of the archive.

It has indexes by session and by topic, so that a page costs what its rows cost. An archive that is away, or that was
never made, takes nobody's time for long and raises nothing but Silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from console.inspection.timeline import Handling
from console.web.snapshot import logs_of
from console.web.timeline import (
    CHAIN,
    FOLLOWS_MS,
    PAGE,
    Located,
    NoSuchEntry,
    Page,
    Place,
    Query,
    Silent,
    handling_of,
    logs_of_session,
    merged,
)
from processors.persistence import rules
from processors.persistence.database import ArchiveUnavailable
from processors.persistence.reader import MANY, ArchiveReader
from processors.persistence.reader import Query as Wanted
from processors.persistence.rules import Row
from runtime.tasks import cancel
from schemas.errors import ConfigurationError
from schemas.keys import Keys
from schemas.topics import session_topic

log = structlog.get_logger()

#: Seconds that a page waits for an answer.
ANSWER_S: Final = 3.0
_Answer = TypeVar("_Answer")


class ArchiveSource:
    """The Source over the archive, and a Component. Every method that reads raises Silent."""

    def __init__(self, url: str, keys: Keys) -> None:
        """An archive at `url` that cannot be opened, for want of a driver say, is a silent one."""
        self._keys = keys
        self._logs = logs_of(keys)
        self._names = {key: name for name, key in self._logs.items()}
        self._late: asyncio.Task[Any] | None = None
        self._reader: ArchiveReader | None = None
        self._refusal = ""
        try:
            self._reader = ArchiveReader(url, hurried=True)
        except ConfigurationError as error:
            self._refusal = str(error)

    async def start(self) -> None:
        """Open it, so that the first page need not; one that is silent may answer later."""
        with suppress(Silent):
            await self._ask(lambda archive: archive.find(""))

    async def stop(self) -> None:
        """Close the connections."""
        await cancel(self._late)
        if self._reader is not None:
            await self._reader.close()

    async def page(self, query: Query, after: Place | None, size: int = PAGE, until: Place | None = None) -> Page:
        """As Source says."""
        logs = logs_of_session(query, self._keys.partitions)
        streams = tuple(self._logs[name] for name in logs)
        # What has the id of `after` is read again, and of what has that of the last row some may be missing: either is
        # one entry of each log at most.
        most = size + 2 * len(logs)
        pages = []
        for wanted in (
            Wanted(session=query.session, streams=streams),
            Wanted(topic=session_topic(query.session), streams=streams),
        ):
            rows = await self._rows(wanted, _start(after, query), most, newest_first=query.newest_first)
            pages.append(self._page(rows, query, after, full=len(rows) == most))
        page = merged(pages, query, size)
        return replace(page, archived=len(page.entries))

    def _page(self, rows: list[Row], query: Query, after: Place | None, *, full: bool) -> Page:
        entries = [one for one in self._located(rows) if after is None or query.is_behind(one.place, after)]
        entries = query.sorted(entries)
        return Page(entries, entries[-1].place if full and entries else None)

    async def entry(self, place: Place) -> Located:
        """As Source says."""
        if place.log in self._logs:
            wanted = Wanted(since=place.ms, until=place.ms + 1, streams=(self._logs[place.log],))
            at, number, _ = place.order
            for one in self._located(await self._rows(wanted, rules.Place(at, number, "", ""), 1)):
                if one.place == place:
                    return one
        raise NoSuchEntry(f"the archive has no entry at {place}")

    async def cause(self, located: Located) -> Located | None:
        """As Source says."""
        cause = located.text("cause")
        return await self.event(cause) if cause else None

    async def event(self, id: str) -> Located | None:
        """The first entry of the event `id`, if there is one."""
        return next(iter(self._located(await self._ask(lambda archive: archive.find(id)))), None)

    async def effects(self, root: Located, known: Collection[str]) -> list[Located]:
        """What the entries `known` led to and what followed from that, CHAIN entries at most."""
        found: dict[str, Located] = {}
        asked, wanted = set[str](), set(known)
        while wanted and len(found) < CHAIN:
            some = sorted(wanted)[:MANY]
            asked.update(some)
            for one in await self._ask(partial(self._followers, root, some)):
                found.setdefault(one.text("id"), one)
            wanted = (wanted | found.keys()) - asked
        return sorted(found.values(), key=lambda one: one.place.order)

    async def _followers(self, root: Located, ids: Sequence[str], archive: ArchiveReader) -> list[Located]:
        until = root.place.ms + FOLLOWS_MS
        found: list[Located] = []
        async for rows in archive.effects(ids):
            found += [one for one in self._located(rows) if one.place.ms <= until]
            if len(found) >= CHAIN:
                break
        return found

    async def trail(self, located: Located) -> list[Handling]:
        """As Source says."""
        if located.place.log not in self._logs:
            return []
        trail = Keys.trail(self._logs[located.place.log])
        rows = await self._ask(lambda archive: _all(archive.effects([located.text("id")]), trail))
        return [said for row in rows if (said := handling_of(_located(located.place.log, row)))]

    async def _rows(
        self, wanted: Wanted, after: rules.Place | None, size: int, *, newest_first: bool = False
    ) -> list[Row]:
        return await self._ask(lambda archive: archive.page(wanted, after=after, size=size, newest_first=newest_first))

    async def _ask(self, question: Callable[[ArchiveReader], Awaitable[_Answer]]) -> _Answer:
        """The answer to `question`; raises Silent. One that comes too late is waited for before the next is asked."""
        if self._reader is None:
            raise Silent(f"The archive was not asked: {self._refusal}")
        if self._late is not None and not self._late.done():
            raise Silent("The archive was not asked: it has yet to answer what it was asked before")
        asked = asyncio.ensure_future(question(self._reader))
        asked.add_done_callback(_forget)
        if not (await asyncio.wait({asked}, timeout=ANSWER_S))[0]:
            self._late = asked
            log.warning("console.archive_silent", error="late")
            raise Silent(f"The archive did not answer within {ANSWER_S:.0f} seconds")
        try:
            return asked.result()
        except ConfigurationError as error:
            raise Silent(f"The archive was not asked: {error}") from error
        # Text or numbers that it cannot hold are none of its entries': no page fails for them.
        except (ArchiveUnavailable, SQLAlchemyError, OverflowError) as error:
            words = str(error) if isinstance(error, ArchiveUnavailable) else type(error).__name__
            log.warning("console.archive_silent", error=words)
            raise Silent(f"The archive did not answer: {words}") from error

    def _located(self, rows: Iterable[Row]) -> list[Located]:
        """The rows of the logs, without those of their trails."""
        return [_located(self._names[row.stream], row) for row in rows if row.stream in self._names]


def _located(name: str, row: Row) -> Located:
    entry = row.entry
    fields = dict(zip(entry.names(), entry.values(), strict=True))
    return Located(Place(name, row.stream_id), fields, ("archive",), row.erased or 0)


def _start(after: Place | None, query: Query) -> rules.Place | None:
    """The place in the archive before all that has the id of `after`: there logs of one id have another order."""
    if after is None:
        return None
    at, number, _ = after.order
    return rules.Place(at, number + query.newest_first, "", "")


async def _all(pages: AsyncIterator[list[Row]], stream: str) -> list[Row]:
    return [row async for rows in pages for row in rows if row.stream == stream]


def _forget(asked: asyncio.Future[Any]) -> None:
    """Nobody may be left to be told what went wrong."""
    if not asked.cancelled():
        asked.exception()
