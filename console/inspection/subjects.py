"""What a timeline is about: which entries belong on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from console.inspection.kinds import Kind
from console.inspection.places import Places
from console.replay.related import related
from runtime.recording import Recording, Selection, recorded, topic_of
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import SubscriptionEnded, SubscriptionGranted
from schemas.keys import Keys
from schemas.topics import channel_topic, session_topic, user_topic


class Subject(Protocol):
    """Decides of each entry, in the order of the log."""

    def concerns(self, entry: Entry) -> bool:
        """Whether `entry` belongs on the timeline."""


class Sessions:
    """All of some sessions, and what was published where they were subscribed."""

    def __init__(self, sessions: frozenset[str], topics: set[str]) -> None:
        self._sessions = sessions
        self._topics = topics | {session_topic(one) for one in sessions}
        self._joined: dict[str, set[str]] = {}

    def concerns(self, entry: Entry) -> bool:
        """As Subject says."""
        if entry.session in self._sessions:
            members = self._joined.setdefault(entry.topic, set())
            if entry.type == SubscriptionGranted.TYPE:
                members.add(entry.session)
            elif entry.type == SubscriptionEnded.TYPE:
                members.discard(entry.session)
            return True
        return entry.topic in self._topics or bool(entry.topic and self._joined.get(entry.topic))


class Channel:
    """All that is about one channel."""

    def __init__(self, name: str) -> None:
        self._topic = channel_topic(name)

    def concerns(self, entry: Entry) -> bool:
        """As Subject says."""
        return topic_of(entry) == self._topic


class Event:
    """One entry, what it goes back to and all that followed from that."""

    def __init__(self, root: str) -> None:
        self._ids = {root}

    def concerns(self, entry: Entry) -> bool:
        """As Subject says."""
        if entry.id in self._ids or entry.cause in self._ids:
            self._ids.add(entry.id)
            return True
        return False


async def subject(kind: Kind, name: str, places: Places, keys: Keys, wanted: Selection) -> tuple[Subject, Recording]:
    """What `name` means, and what to read for it; raises ConfigurationError where nothing of it was recorded."""
    if kind is Kind.CHANNEL:
        return Channel(name), places.whole
    if kind is Kind.EVENT:
        root = await _root(name, places, keys, wanted)
        return Event(root), await places.of_event(root)
    if kind is Kind.USER:
        about, topics = replace(wanted, user=name), {user_topic(name)}
    else:
        about, topics = replace(wanted, sessions=frozenset({name})), set[str]()
    sessions = await related(places.whole, keys, about)
    if not sessions and kind is Kind.SESSION:
        raise ConfigurationError(f"nothing of a session {name!r} is on the log (any more)")
    return Sessions(sessions, topics), await places.of_sessions(sessions, topics, wanted)


async def _root(name: str, places: Places, keys: Keys, wanted: Selection) -> str:
    """The id of the first entry that led to the one that is called `name`, as far as it is there."""
    found = await _entry(name, places, keys, wanted)
    if found is None:
        raise ConfigurationError(f"no entry {name!r} is on the log (any more)")
    seen = {found.id}
    # Whoever may write to the log can write entries that cause each other.
    while found.cause and found.cause not in seen and (cause := await _entry(found.cause, places, keys, wanted)):
        found = cause
        seen.add(found.id)
    return found.id


async def _entry(name: str, places: Places, keys: Keys, wanted: Selection) -> Entry | None:
    if places.archive is not None and (rows := await places.archive.find(name)):
        return rows[0].entry
    if places.log is not None:
        async for batch in places.log.read(recorded(keys), wanted):
            for record in batch:
                if record.entry.id == name:
                    return record.entry
    return None
