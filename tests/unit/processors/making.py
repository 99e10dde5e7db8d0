"""Entries for the tests of the processors."""

from __future__ import annotations

from schemas.entry import Entry
from schemas.events import Event, MessagePublished

SESSION = "0192f0c1-7b7a-7c3e-9d3f-5a1c2b3d4e5f"
TS = 1_700_000_000_123


def entry_of(event: Event, *, user: str = "7", id: str = "0192f0c1-0000-7000-8000-000000000001") -> Entry:
    """The entry of `event` as a gateway would have written it."""
    return Entry.of(event, id=id, ts=TS, session=SESSION, user=user, gateway="gw-1")


def only_frame(entries: tuple[Entry, ...]) -> dict[str, object]:
    """The frame of the one publication in `entries`."""
    (entry,) = entries
    event = entry.event()
    assert isinstance(event, MessagePublished)
    return event.frame
