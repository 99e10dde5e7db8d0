"""What happened to one session, in order: the pages ask for it, and do not know where it is read.

A Source is one place that has entries, the log or the archive. console.web.joined makes one timeline of both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, Self

from console.inspection.timeline import Handling
from console.records import order
from schemas.entry import Entry
from schemas.errors import HeadgateError, InvalidEntry
from schemas.events import EntryHandled
from schemas.keys import partition_of

#: Rows of one page.
PAGE: Final = 200
#: What follows from an entry is looked for in this time after it.
FOLLOWS_MS: Final = 60_000
#: Most entries of a chain.
CHAIN: Final = 200
_PLACE: Final = re.compile(r"((?:in|out):\d{1,4}(?::datagrams)?|gw:[^/\s]{1,255})/(\d{1,15}-\d{1,10})", re.ASCII)


class NoSuchEntry(HeadgateError):
    """The operator's: there is no entry at this place, or no more."""


class Silent(HeadgateError):
    """A Source was not asked, or did not answer; the words say which and why."""


class Place(NamedTuple):
    """Where an entry is: `in:3`, `out:0:datagrams` or `gw:NAME`, and the id it has there."""

    log: str
    stream_id: str

    def __str__(self) -> str:
        return f"{self.log}/{self.stream_id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that `str` wrote; raises NoSuchEntry."""
        if (found := _PLACE.fullmatch(text)) is None:
            raise NoSuchEntry(f"{text[:80]!r} is no place of an entry")
        return cls(found[1], found[2])

    @property
    def order(self) -> tuple[int, int, str]:
        """What sorts entries of all logs: the time of the append in ms, the number in it, then the log."""
        return (*order(self.stream_id), self.log)

    @property
    def ms(self) -> int:
        """When it was appended (Unix ms, by the clock of Redis)."""
        return order(self.stream_id)[0]


@dataclass(frozen=True, slots=True)
class Located:
    """An entry and where it is."""

    place: Place
    fields: Mapping[bytes, bytes]
    """As they are stored."""
    held_by: tuple[str, ...] = ("log",)
    """Where it was found: `log`, `archive` or both."""
    erased_ms: int = 0
    """When the archive's payload was taken away (Unix ms); 0: it was not."""

    def beside(self, other: Located | None) -> Located:
        """The same entry as found in two places: as the log has it, unless its payload was erased in the archive."""
        if other is None or other.held_by == self.held_by:
            return self
        log, archive = (self, other) if self.held_by == ("log",) else (other, self)
        shown = archive if archive.erased_ms else log
        return replace(shown, held_by=("log", "archive"))

    @property
    def entry(self) -> Entry | None:
        """The entry; None if the fields are none."""
        try:
            return Entry.from_fields(self.fields)
        except InvalidEntry:
            return None

    def text(self, name: str) -> str:
        """One field as text, whether or not this is an entry; empty if it is missing."""
        return self.fields.get(name.encode(), b"").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries are wanted."""

    session: str
    newest_first: bool = False
    datagrams: bool = False
    """Whether its datagrams are: there can be more of them than of all else."""
    since_ms: int = 0
    """Nothing of the session is older; 0: that is not known."""

    def is_behind(self, place: Place, other: Place) -> bool:
        """Whether `place` comes later than `other` in the order that is asked for."""
        return place.order < other.order if self.newest_first else place.order > other.order

    def sorted(self, entries: Iterable[Located]) -> list[Located]:
        """Entries in that order."""
        return sorted(entries, key=lambda one: one.place.order, reverse=self.newest_first)


def handling_of(located: Located) -> Handling | None:
    """What an entry of a trail says; None if that is nothing, or was erased."""
    try:
        said = located.entry and located.entry.event()
    except InvalidEntry:
        return None
    return Handling(located.place.ms, said) if isinstance(said, EntryHandled) else None


def logs_of_session(query: Query, partitions: int) -> list[str]:
    """The logs that have its entries, by their short names, in the order of these."""
    inbound = f"in:{partition_of(query.session, partitions)}"
    logs = [inbound, f"{inbound}:datagrams"] if query.datagrams else [inbound]
    return sorted(logs + [f"out:{partition}" for partition in range(partitions)])


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a timeline, and what it cost."""

    entries: Sequence[Located]
    next: Place | None
    """Where to go on; None: that was all. The next page can be empty."""
    read: int = 0
    """Entries of the log that were looked at, also those of other sessions."""
    trips: int = 0
    """Round trips to the log."""
    archived: int = 0
    """Entries that the archive gave for it."""
    missing: str = ""
    """Why the archive has no part in it, in words; empty: it has."""


def merged(pages: Sequence[Page], query: Query, size: int) -> Page:
    """One page of several that begin at the same place: what is in any of them, once, as far as all of them reach."""
    found: dict[Place, Located] = {}
    for page in pages:
        for one in page.entries:
            found[one.place] = one.beside(found.get(one.place))
    entries, end = query.sorted(found.values()), None
    for page in pages:
        if page.next is not None and (end is None or query.is_behind(end, page.next)):
            end = page.next
    if end is not None:
        entries = [one for one in entries if not query.is_behind(one.place, end)]
    if len(entries) > size:
        entries = entries[:size]
        end = entries[-1].place
    numbers = (sum(getattr(page, name) for page in pages) for name in ("read", "trips", "archived"))
    return Page(entries, end, *numbers)


class Source(Protocol):
    """A place that has entries. Every method may raise Silent, and RedisError where it reads Redis."""

    async def page(self, query: Query, after: Place | None, size: int = PAGE, until: Place | None = None) -> Page:
        """At most `size` entries behind `after`, and everything there is up to `next`.

        May give fewer, and `next`, when it had to look at too many others. What is behind `until` need not be given.
        """
        ...

    async def entry(self, place: Place) -> Located:
        """The entry at `place`; raises NoSuchEntry."""
        ...

    async def cause(self, located: Located) -> Located | None:
        """The entry that led to this one, if it is found."""
        ...

    async def effects(self, root: Located, known: Collection[str]) -> list[Located]:
        """Entries that may have followed from `root` within FOLLOWS_MS, in order; `known` are the ids of those that are
        known to have."""
        ...

    async def trail(self, located: Located) -> list[Handling]:
        """What each processor, or the router, did with an entry, as far as it is found."""
        ...
