"""Reading the archive: entries by what they are about, in the order of the log, a page at a time.

The order is that of `Place`: by the time of the append on the clock of Redis, which within one stream is the order of
the stream. A page begins behind the place where the last one ended, so that the millionth costs what the first one
did; each is a read of its own, and nothing is held between two of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.exc import DBAPIError

from processors.persistence.database import ArchiveUnavailable, engine_of, unavailable, url_of
from processors.persistence.migrating import check
from processors.persistence.rules import Place, Row
from processors.persistence.schema import ENTRIES, PRESENT

PAGE: Final = 1000
#: How many ids one question may be about.
MANY: Final = 500
_C: Final = ENTRIES.c
_COLUMNS: Final = [_C[name] for name in Row._fields]
_ORDER: Final = [_C[name] for name in Place._fields]


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries are wanted; an empty field wants all."""

    session: str = ""
    user: str = ""
    topic: str = ""
    """As `channel:lobby`."""
    type: str = ""
    """An event type, such as `message.received`; `*` and `?` stand for anything."""
    since: int | None = None
    """Appended at this time or later, Unix ms."""
    until: int | None = None
    """Appended before this time."""
    streams: tuple[str, ...] = ()
    """Keys of the logs that held them."""
    erased: bool = True
    """Also those whose payload was taken away."""


class ArchiveReader:
    """Reads the archive at `url`. What asks the database raises ArchiveUnavailable, ArchiveNotMade, ArchiveTooNew."""

    def __init__(self, url: str, *, hurried: bool = False) -> None:
        """Raises ConfigurationError for a URL that no driver here can open. `hurried`: as engine_of says."""
        self._url = url_of(url)
        self._engine = engine_of(self._url, hurried=hurried)
        self._ready = False

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def pages(self, query: Query, *, after: Place | None = None, size: int = PAGE) -> AsyncIterator[list[Row]]:
        """What `query` wants, in the order of the log, `size` at a time; from behind the place `after` on.

        Whoever wants to go on later keeps the `place` of the last row.
        """
        types = await self._types(query.type)
        while rows := await self.page(query, after=after, size=size, types=types):
            yield rows
            after = rows[-1].place

    async def page(
        self,
        query: Query,
        *,
        after: Place | None = None,
        size: int = PAGE,
        types: Sequence[str] | None = None,
        newest_first: bool = False,
    ) -> list[Row]:
        """The first `size` rows behind `after`; empty at the end. `types`: what `query.type` stands for, if known.

        `newest_first`: the order is turned round, and so is what is behind.
        """
        if types is None:
            types = await self._types(query.type)
        if query.type and not types:
            return []
        return await self._rows(statement_of(query, types, after, size, newest_first=newest_first))

    async def find(self, id: str) -> list[Row]:
        """The entry `id`, in each of the logs that held it; none when the archive does not have it."""
        return await self._rows(select(*_COLUMNS).where(_C.id == id).order_by(*_ORDER))

    async def effects(self, ids: Sequence[str]) -> AsyncIterator[list[Row]]:
        """The entries that the entries `ids` (at most MANY) led to, a page at a time."""
        after: Place | None = None
        effects = select(*_COLUMNS).where(_C.cause.in_(ids), PRESENT["cause"]).order_by(*_ORDER).limit(PAGE)
        while rows := await self._rows(effects.where(tuple_(*_ORDER) > after) if after else effects):
            yield rows
            after = rows[-1].place

    async def causes(self, row: Row) -> list[Row]:
        """What led to `row`, the nearest first, as far back as the archive has it."""
        found: list[Row] = []
        seen = {row.id}
        while row.cause and row.cause not in seen:
            seen.add(row.cause)
            before = await self.find(row.cause)
            if not before:
                break
            row = before[0]
            found.append(row)
        return found

    async def types(self) -> list[str]:
        """The event types that there are, sorted; one look into the index for each of them."""
        found: list[str] = []
        while True:
            least = select(func.min(_C.type))
            ((name,),) = await self._read(least.where(_C.type > found[-1]) if found else least)
            if name is None:
                return found
            found.append(name)

    async def sessions_of(self, user: str) -> list[str]:
        """The sessions that were `user`'s, sorted."""
        mine = select(_C.session).where(_C.user == user, PRESENT["user"], PRESENT["session"]).distinct()
        return sorted(session for (session,) in await self._read(mine))

    async def _types(self, pattern: str) -> list[str]:
        if not any(wildcard in pattern for wildcard in "*?["):
            return [pattern] if pattern else []
        return [name for name in await self.types() if fnmatchcase(name, pattern)]

    async def _rows(self, statement: Select[Any]) -> list[Row]:
        return [Row(*found) for found in await self._read(statement)]

    async def _read(self, statement: Select[Any]) -> Sequence[Any]:
        if not self._ready:
            await check(self._url)
            self._ready = True
        try:
            with unavailable():
                async with self._engine.connect() as connection:
                    found: Sequence[Any] = (await connection.execute(statement)).all()
                    return found
        except (ArchiveUnavailable, DBAPIError):
            self._ready = False  # Perhaps a newer Headgate has changed the schema: the next read will say so.
            raise


def statement_of(
    query: Query, types: Sequence[str], after: Place | None, size: int, *, newest_first: bool = False
) -> Select[Any]:
    """The SELECT of one page; `types` is what `query.type` stands for."""
    order = [column.desc() for column in _ORDER] if newest_first else _ORDER
    wanted = select(*_COLUMNS).where(*_conditions(query, types)).order_by(*order).limit(size)
    if after is None:
        return wanted
    return wanted.where(tuple_(*_ORDER) < after if newest_first else tuple_(*_ORDER) > after)


def _conditions(query: Query, types: Sequence[str]) -> list[ColumnElement[bool]]:
    given = {name: getattr(query, name) for name in ("session", "user", "topic") if getattr(query, name)}
    conditions: list[ColumnElement[bool]] = []
    for name, value in given.items():
        conditions += [_C[name] == value, PRESENT[name]]
    if types:
        # SQLite knows no frequencies: it would take the index of types where a far better one is there, or sort all
        # that is of several types. An expression has no index.
        type_ = _C.type if len(types) == 1 and not given else _C.type.op("||")("")
        conditions.append(type_.in_(types) if len(types) > 1 else type_ == types[0])
    if query.since is not None:
        conditions.append(_C.at >= query.since)
    if query.until is not None:
        conditions.append(_C.at < query.until)
    if query.streams:
        conditions.append(_C.stream.in_(query.streams))
    if not query.erased:
        conditions.append(_C.erased.is_(None))
    return conditions
