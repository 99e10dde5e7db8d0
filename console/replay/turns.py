"""Which settled entry is handled again next, where processors met in the record of a session.

A trail is written after what it tells of was done, perhaps a little later than that of something done after it: by
another processor, or for another session. Where it matters who was first, what was recorded says it. A session that
ended left the channels that it had joined by then; a disconnection that led to something came before the session was
resumed, one that led to nothing after it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from runtime.recording import Record
from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.events import (
    AuthRequested,
    EntryHandled,
    Event,
    SessionAuthenticated,
    SessionClosed,
    SessionDisconnected,
    SubscribeRequested,
    UnsubscribeRequested,
)
from schemas.ids import derived, of_session_end

#: Settled entries that wait for others at most: what they wait for may never have been settled.
WAITING: Final = 100
_CHANGES: Final = frozenset({SubscribeRequested.TYPE, UnsubscribeRequested.TYPE})
_LAST: Final = 1 << 62

Outputs = dict[str, Entry]


@dataclass(slots=True, eq=False)
class Held:
    """An entry that some of its processors have not settled yet, as far as was read."""

    record: Record
    waits_for: set[str]
    outputs: Outputs = field(default_factory=dict)
    """What was recorded of it and not been made again so far, by id."""
    known: set[str] = field(default_factory=set)
    """Ids of all that was recorded of it."""
    judged: bool = True
    """Whether all that was recorded of it must be made again."""
    settled: set[str] = field(default_factory=set)
    """Processors of which the trail was read."""

    def take(self, output: Entry) -> None:
        """`output` was recorded of it, perhaps once more."""
        if output.id not in self.known:
            self.known.add(output.id)
            self.outputs[output.id] = output


class Settled(NamedTuple):
    """What a processor has settled: the entry, and what the trail says of that."""

    held: Held
    trail: Entry
    handled: EntryHandled


class Turns:
    """The order in which settled entries are handled again: as they were settled, but where that is known better."""

    def __init__(self) -> None:
        self._meeting: dict[str, dict[str, Held]] = defaultdict(dict)
        """By session: the entries that look at its record or change its channels, by id."""
        self._waiting: list[Settled] = []

    def came(self, held: Held) -> None:
        """An entry was read, and what was recorded of it before."""
        if session := _met(held):
            self._meeting[session][held.record.entry.id] = held

    def gone(self, held: Held) -> None:
        """Nobody waits for that entry any more."""
        session = _met(held)
        if session in self._meeting:
            self._meeting[session].pop(held.record.entry.id, None)
            if not self._meeting[session]:
                del self._meeting[session]

    def settled(self, one: Settled) -> None:
        """A processor has settled its entry."""
        self._waiting.append(one)

    def next(self, *, at_last: bool = False) -> Settled | None:
        """The entry to be handled now, taken out. `at_last`: nothing follows that others could be waiting for."""
        behind: set[tuple[str, str]] = set()
        for place, one in enumerate(self._waiting):
            lane = (one.held.record.entry.session, one.handled.processor)
            if lane not in behind and self._free(one):
                return self._waiting.pop(place)
            behind.add(lane)
        return self._waiting.pop(0) if self._waiting and (at_last or len(self._waiting) > WAITING) else None

    def joins(self, session: str) -> bool:
        """Whether a channel of `session` changed on the log, and the processor of channels has not settled that."""
        return any(_changed(one) and "channels" in one.waits_for for one in self._meeting.get(session, {}).values())

    def disconnects(self, session: str) -> bool:
        """Whether `session` lost a connection, which led to something, and the auth processor has not settled that."""
        return any(
            one.record.entry.type == SessionDisconnected.TYPE and one.known and "auth" in one.waits_for
            for one in self._meeting.get(session, {}).values()
        )

    def _free(self, one: Settled) -> bool:
        entry, name = one.held.record.entry, one.handled.processor
        if name == "channels" and entry.type in _CHANGES:
            return _changed(one.held) or self.joins(entry.session) or not self._ends(entry.session)
        if name == "channels" and entry.type == SessionClosed.TYPE:
            return not self.disconnects(entry.session)
        if name != "auth" or not (session := _met(one.held)):
            return True
        met = [other for other in self._meeting[session].values() if name in other.waits_for]
        if any(name not in other.settled for other in met) or one.held is not min(met, key=_place):
            return False
        return not (_ended(one.held) and self.joins(session))

    def _ends(self, session: str) -> bool:
        return any(_ended(one) and "auth" in one.waits_for for one in self._meeting.get(session, {}).values())


def _met(held: Held) -> str:
    """The session whose record or channels are looked at; empty where that is none that others could meet in."""
    entry = held.record.entry
    if entry.type in _CHANGES or entry.type == SessionDisconnected.TYPE:
        return entry.session
    return resumes(entry)


def resumes(entry: Entry) -> str:
    """The session that a client asked to go on with, if it did."""
    if entry.type != AuthRequested.TYPE:
        return ""
    event = _event(entry)
    return event.resume.session if isinstance(event, AuthRequested) and event.resume else ""


def _changed(held: Held) -> bool:
    """Whether a session was let into a channel, or left one, by this."""
    entry = held.record.entry
    return entry.type in _CHANGES and any(
        derived(entry.id, position) in held.known for position in ("subscribed", "unsubscribed")
    )


def _ended(held: Held) -> bool:
    """Whether a session ended by this."""
    entry = held.record.entry
    return entry.type == SessionDisconnected.TYPE and of_session_end(entry.session) in held.known


def _place(held: Held) -> tuple[int, int]:
    """Where an entry stands among those that meet in the record of a session: its generation then."""
    entry = held.record.entry
    if entry.type == AuthRequested.TYPE:
        output = held.outputs.get(derived(entry.id, "resumed"))
        told = _event(output) if output is not None else None
        return (told.generation, 0) if isinstance(told, SessionAuthenticated) else (_LAST, 0)
    event = _event(entry)
    if not isinstance(event, SessionDisconnected):
        return (_LAST, 0)
    # One that led to nothing was of a connection that the session had no more.
    return (event.generation, 2) if held.known else (event.generation + 1, 1)


def _event(entry: Entry) -> Event | None:
    try:
        return entry.event()
    except InvalidEntry:  # Its processor found the same.
        return None
