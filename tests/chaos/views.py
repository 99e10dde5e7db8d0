"""What each session saw of each topic, over all its connections, and whether that is what was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.evidence import Evidence
from tests.chaos.history import History, Record
from tests.chaos.violations import Said, Violation, open_sessions, published
from tests.chaos.world import HISTORY_SIZE


def subscribers_miss_nothing(history: History, evidence: Evidence) -> list[Violation]:
    """A subscriber gets what its topic publishes after its offset: all, once, in order; what it recovers as well."""
    opened, topics = open_sessions(history), published(evidence)
    return [
        violation
        for view in _views(history)
        for violation in view.compared(topics[view.topic], view.is_last and view.session in opened)
    ]


def recovery_is_honest(history: History, evidence: Evidence, kept: int = HISTORY_SIZE) -> list[Violation]:
    """`recovered` says whether everything missed came, and is denied only where the history does not reach back."""
    found = []
    for view in _views(history):
        if view.asked is None:
            continue
        epoch, offset = view.asked
        missed = [one.offset for one in view.missed]
        if not view.recovered:
            if epoch == view.epoch and (view.start or 0) - offset <= kept:
                found.append(Violation("untrue", f"{view.name} was told that offset {offset} is out of reach", view.t))
        elif epoch != view.epoch:
            found.append(Violation("untrue", f"{view.name} recovered from another epoch", view.t))
        elif missed != list(range(offset + 1, (view.start or 0) + 1)):
            found.append(Violation("lost", f"{view.name} recovered {offset}-{view.start} and got {missed}", view.t))
    return found + _gaps_that_are_none(history, evidence, kept)


def nothing_comes_twice(history: History, evidence: Evidence) -> list[Violation]:
    """No session is given a publication twice, no client an offset that it has seen."""
    found = []
    for view in _views(history):
        given = Counter(one.said for one in [*view.missed, *view.live])
        found += [
            Violation("repeated", f"{view.name} got {said} {n} times", view.t) for said, n in given.items() if n > 1
        ]
        if view.asked is not None and view.asked[0] == view.epoch:
            again = [one.offset for one in view.missed if one.offset is not None and one.offset <= view.asked[1]]
            found += [Violation("repeated", f"{view.session} got offset {one} again", view.t) for one in again]
    return found


def _gaps_that_are_none(history: History, evidence: Evidence, kept: int) -> list[Violation]:
    """Sessions that were told of a gap although every topic's history reaches back to what they had."""
    heads = {topic: len(said) for topic, said in published(evidence).items()}
    asked: dict[str, Record] = {}
    found = []
    for record in history.of("resume", "resumed"):
        if record["k"] == "resume":
            asked[record["session"]] = record
        elif not record["recovered"]:
            offsets = asked[record["session"]]["offsets"]
            if all(heads.get(topic, 0) - offset <= kept for topic, (_, offset) in offsets.items()):
                text = f"{record['session']} was told of a gap after {offsets}"
                found.append(Violation("untrue", text, record["t"]))
    return found


@dataclass(frozen=True, slots=True)
class _Got:
    """One publication as it arrived."""

    offset: int | None
    said: Said


@dataclass(slots=True)
class _View:
    """What one session saw of one topic, from a subscription or a gap on."""

    session: str
    topic: str
    t: float
    asked: tuple[str, int] | None = None
    """Where it asked to go on."""
    epoch: str = ""
    start: int | None = None
    """It gets what comes after this offset; None: it was not told, and what comes first is the beginning."""
    recovered: bool = False
    missed: list[_Got] = field(default_factory=list)
    live: list[_Got] = field(default_factory=list)
    is_last: bool = True
    """Whether no gap follows that the session was told of."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.session} in {self.topic}"

    def compared(self, said: list[tuple[Said, str | None]], to_the_end: bool) -> list[Violation]:
        """What is wrong with it, if this was published: in order, with who is left out."""
        places = {what: n for n, (what, _) in enumerate(said, 1)}
        found = []
        for one in [*self.missed, *self.live]:
            at = places.get(one.said)
            if at is None:
                found.append(Violation("stray", f"{self.name} got {one.said}, which is not published", self.t))
            elif one.offset is not None and one.offset != at:
                found.append(Violation("reordered", f"{self.name} got number {at} as offset {one.offset}", self.t))
        got = [places[one.said] for one in self.live if one.said in places]
        start = self.start if self.start is not None else min(got, default=len(said) + 1) - 1
        wanted = [n for n, (_, left_out) in enumerate(said, 1) if n > start and left_out != self.session]
        if got != sorted(got):
            found.append(Violation("reordered", f"{self.name} got {_inversion(got)}", self.t))
        until = wanted if to_the_end else [n for n in wanted if got and n <= max(got)]
        holes = sorted(set(until) - set(got))
        found += [Violation("lost", f"{self.name} missed offset {n}", self.t) for n in holes]
        early = sorted(set(got) - set(wanted))
        return found + [Violation("repeated", f"{self.name} got {n}, which is not for it", self.t) for n in early]


class _Views:
    """The views of all sessions, from the records of a history."""

    def __init__(self) -> None:
        self.all: list[_View] = []
        self._now: dict[tuple[str, str], _View] = {}
        self._asked: dict[tuple[str, str], Record] = {}

    def begin(self, view: _View) -> _View:
        """A view from here on."""
        self.all.append(view)
        self._now[view.session, view.topic] = view
        return view

    def take(self, record: Record) -> None:
        """The next record."""
        session, t = record["session"], record["t"]
        match record["k"]:
            case "open":
                self.begin(_View(session, f"session:{session}", t, start=0))
                self.begin(_View(session, f"user:{record['user']}", t))
            case "resumed" if not record["recovered"]:
                for view in [one for one in self._now.values() if one.session == session]:
                    view.is_last = False
                    self.begin(_View(session, view.topic, t))
            case "subscribe":
                self._asked[session, f"channel:{record['channel']}"] = record
            case "subscribed":
                self._subscribed(record, f"channel:{record['channel']}")
            case "recv":
                said = (record["from"], record["op"])
                self._got(session, f"channel:{record['channel']}", _Got(record["offset"], said))
            case "reply":
                self._got(session, f"session:{session}", _Got(record.get("offset"), ("reply", record["op"])))
            case "note":
                self._got(session, f"user:{record['user']}", _Got(record.get("offset"), ("note", record["n"])))

    def _subscribed(self, record: Record, topic: str) -> None:
        session = record["session"]
        if (session, topic) in self._now and self._now[session, topic].epoch:
            return
        asked = self._asked[session, topic]
        early = self._now.get((session, topic))
        view = early or self.begin(_View(session, topic, asked["t"]))
        view.asked = tuple(asked["recover"]) if asked["recover"] else None
        view.epoch, view.start, view.recovered = record["epoch"], record["offset"], record["recovered"]
        view.missed = [_Got(offset, (sender, op)) for offset, sender, op, _ in record["missed"]]

    def _got(self, session: str, topic: str, got: _Got) -> None:
        # What comes before the answer is compared as well, and is too early.
        view = self._now.get((session, topic)) or self.begin(_View(session, topic, 0.0))
        view.live.append(got)


def _views(history: History) -> Iterable[_View]:
    """What each session saw of each topic, in order."""
    views = _Views()
    for record in history.of("open", "resumed", "subscribe", "subscribed", "recv", "reply", "note"):
        views.take(record)
    return views.all


def _inversion(numbers: list[int]) -> str:
    before, after = next((a, b) for a, b in pairwise(numbers) if b < a)
    return f"{after} after {before}"
