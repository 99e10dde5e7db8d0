"""One timeline of what the log still has and what only the archive has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from console.inspection.timeline import Handling
from console.web.archive_source import ArchiveSource
from console.web.timeline import CHAIN, PAGE, Located, NoSuchEntry, Page, Place, Query, Silent, Source, merged

#: How many causes up a chain goes.
CAUSES: Final = 6
#: Entries at the end of a session that tell how it was.
_LAST: Final = 50


@dataclass(frozen=True, slots=True)
class Story:
    """An entry and what it belongs to."""

    located: Located
    chain: Sequence[Located]
    """All that led to it, and all that followed within a minute from the first of that, in order."""
    trail: Sequence[Handling]
    """What each processor, or the router, did with it."""
    missing: str = ""
    """Why the archive has no part in it, in words; empty: it has."""


class Joined:
    """Both sources as one; the log alone, and why, where the archive is silent. Every method raises RedisError."""

    def __init__(self, log: Source, archive: ArchiveSource) -> None:
        self._log = log
        self._archive = archive

    async def page(self, query: Query, after: Place | None, size: int = PAGE) -> Page:
        """At most `size` entries behind `after`. May give fewer, and `next`: too many others had to be looked at."""
        try:
            # The log has no index: it is read as far as the archive's page reaches. What it trims meanwhile the
            # archive, asked once more, has.
            until = (await self._archive.page(query, after, size)).next
            log = await self._log.page(query, after, size, until)
            return merged([await self._archive.page(query, after, size), log], query, size)
        except Silent as silent:
            return replace(await self._log.page(query, after, size), missing=str(silent))

    async def story(self, place: Place) -> Story:
        """The entry at `place`, with its chain and its trail; raises NoSuchEntry."""
        try:
            return await _story(place, (self._log, self._archive))
        except Silent as silent:
            try:
                return replace(await _story(place, (self._log,)), missing=str(silent))
            except NoSuchEntry as error:
                raise NoSuchEntry(f"{error}. {silent}") from error

    async def event(self, id: str) -> Place:
        """Where the event `id` is; raises NoSuchEntry. Only the archive can find it: the log has no index."""
        try:
            found = await self._archive.event(id)
        except Silent as silent:
            raise NoSuchEntry(f"nothing can be found by its id without the archive. {silent}") from silent
        if found is None:
            raise NoSuchEntry(f"the archive has no event {id}, or not yet")
        return found.place

    async def ends(self, session: str) -> Sequence[Located]:
        """The first entry and the last ones of a session that the archive has; empty when it has none, or is silent."""
        try:
            first = (await self._archive.page(Query(session), None, 1)).entries
            last = (await self._archive.page(Query(session, newest_first=True), None, _LAST)).entries
        except Silent:
            return []
        return [*first, *reversed(last)]


async def _story(place: Place, sources: Sequence[Source]) -> Story:
    found: Located | None = None
    for source in sources:
        with suppress(NoSuchEntry):
            found = (await source.entry(place)).beside(found)
    if found is None:
        raise NoSuchEntry(f"there is no entry at {place}, or no more")
    trail: dict[str, Handling] = {}
    for source in sources:
        for one in await source.trail(found):
            trail.setdefault(one.said.processor, one)
    return Story(found, await _chain(found, sources), sorted(trail.values(), key=lambda one: one.at))


async def _chain(located: Located, sources: Sequence[Source]) -> list[Located]:
    above = [located]
    while len(above) < CAUSES and (cause := await _cause(above[-1], sources)) is not None:
        above.append(cause)
    known = {one.text("id"): one for one in reversed(above)}
    candidates: list[Located] = []
    for source in sources:
        candidates += await source.effects(above[-1], known)
        _add(known, sorted(candidates, key=lambda one: one.place.order))
    return sorted(known.values(), key=lambda one: one.place.order)


async def _cause(located: Located, sources: Sequence[Source]) -> Located | None:
    for source in sources:
        if (found := await source.cause(located)) is not None:
            return found
    return None


def _add(known: dict[str, Located], candidates: Sequence[Located]) -> None:
    """Add to `known` what followed from any of it, as long as there is room."""
    before = 0
    # More than once: within a millisecond an entry of one log can stand before its cause in another.
    while before < len(known) < CHAIN:
        before = len(known)
        for one in candidates:
            if one.text("cause") in known and len(known) < CHAIN:
                known.setdefault(one.text("id"), one)
