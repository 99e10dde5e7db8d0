"""What each session saw of each topic, over all its connections, and whether that is what was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.history import History, Record
from tests.chaos.violations import Said, Violation, open_sessions, published
from tests.chaos.world import HISTORY_SIZE

#: Epoch and offset.
Position = tuple[str, int]


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
    found, topics = [], published(evidence)
    for view in _views(history):
        if view.asked is None or view.missed is None:
            continue
        (epoch, offset), missed = view.asked, [one.offset for one in view.missed]
        others = [n for n, (_, left_out) in enumerate(topics[view.topic], 1) if left_out != view.session]
        if not view.recovered:
            if epoch == view.epoch and view.told - offset <= kept:
                found.append(Violation("untrue", f"{view.name} was told that offset {offset} is out of reach", view.t))
        elif epoch != view.epoch:
            found.append(Violation("untrue", f"{view.name} recovered from another epoch", view.t))
        elif missed != [n for n in others if offset < n <= view.told]:
            found.append(Violation("lost", f"{view.name} recovered {offset}-{view.told} and got {missed}", view.t))
    return found + _gaps_that_are_none(history, kept)


def nothing_comes_twice(history: History, evidence: Evidence) -> list[Violation]:
    """No client is given a publication of a channel twice, no session one of its own topics."""
    given: Counter[tuple[str, str, Said]] = Counter()
    for view in _views(history):
        owner = view.client if view.topic.startswith("channel:") else view.session
        given.update((owner, view.topic, one.said) for one in view.got)
    return [
        Violation("repeated", f"{owner} got {said} of {topic} {n} times")
        for (owner, topic, said), n in given.items()
        if n > 1
    ]


def _gaps_that_are_none(history: History, kept: int) -> list[Violation]:
    """Sessions that were told of a gap although the histories of their own topics reach back to what they had."""
    asked: dict[str, Record] = {}
    found = []
    for record in history.of("resume", "resumed"):
        if record["k"] == "resume":
            asked[record["session"]] = record
        elif not record["recovered"]:
            had = asked[record["session"]]["offsets"]
            if all(topic in had and _reaches(had[topic], now, kept) for topic, now in record["offsets"].items()):
                found.append(Violation("untrue", f"{record['session']} was told of a gap after {had}", record["t"]))
    return found


def _reaches(had: Position, now: Position, kept: int) -> bool:
    return had[0] == now[0] and now[1] - had[1] <= kept


@dataclass(frozen=True, slots=True)
class _Got:
    """One publication as it arrived."""

    offset: int
    said: Said


@dataclass(slots=True)
class _View:
    """What one session saw of one topic over one connection."""

    client: str
    session: str
    topic: str
    t: float
    asked: Position | None = None
    """Where it asked to go on."""
    start: int = 0
    """It gets what comes after this offset."""
    epoch: str = ""
    told: int = 0
    """How far the topic was when the subscription began; nothing is told of one that was not answered."""
    recovered: bool = False
    missed: list[_Got] | None = None
    """What came with the answer; None: no answer, or one whose publications follow as any others."""
    got: list[_Got] = field(default_factory=list)
    """All of it, in order."""
    is_last: bool = True
    """Whether the session had no later connection."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.session} in {self.topic}"

    def compared(self, said: list[tuple[Said, str | None]], to_the_end: bool) -> list[Violation]:
        """What is wrong with it, if this was published: in order, with who is left out."""
        places = {what: n for n, (what, _) in enumerate(said, 1)}
        found = []
        for one in self.got:
            at = places.get(one.said)
            if at is None:
                found.append(Violation("stray", f"{self.name} got {one.said}, which is not published", self.t))
            elif one.offset != at:
                found.append(Violation("reordered", f"{self.name} got number {at} as offset {one.offset}", self.t))
        got = [places[one.said] for one in self.got if one.said in places]
        wanted = [n for n, (_, left_out) in enumerate(said, 1) if n > self.start and left_out != self.session]
        if got != sorted(got):
            found.append(Violation("reordered", f"{self.name} got {_inversion(got)}", self.t))
        until = wanted if to_the_end else [n for n in wanted if n <= max(got, default=0)]
        holes = sorted(set(until) - set(got))
        found += [Violation("lost", f"{self.name} missed offset {n}", self.t) for n in holes]
        early = sorted(set(got) - set(wanted))
        return found + [Violation("repeated", f"{self.name} got {n}, which is not for it", self.t) for n in early]


class _Views:
    """The views of all sessions, from the records of a history."""

    def __init__(self) -> None:
        self.all: list[_View] = []
        self._now: dict[tuple[str, str], _View] = {}
        self._had: dict[str, dict[str, Position]] = {}
        """What each session named when it last asked to be resumed."""

    def take(self, record: Record) -> None:
        """The next record."""
        session = record["session"]
        match record["k"]:
            case "open":
                for topic, (epoch, offset) in record["offsets"].items():
                    self._begin(record, topic, epoch=epoch, told=offset, start=offset)
            case "resume":
                self._had[session] = {topic: tuple(place) for topic, place in record["offsets"].items()}
            case "resumed":
                self._resumed(record)
            case "subscribe":
                place = tuple(record["recover"]) if record["recover"] else None
                self._begin(record, f"channel:{record['channel']}", asked=place, start=place[1] if place else 0)
            case "subscribed":
                self._subscribed(record, self._now[session, f"channel:{record['channel']}"])
            case "recv":
                self._got(record, f"channel:{record['channel']}", (record["from"], record["op"]))
            case "reply":
                self._got(record, f"session:{session}", ("reply", record["op"]))
            case "note":
                self._got(record, f"user:{record['user']}", ("note", record["n"]))

    def _begin(self, record: Record, topic: str, **fields: Any) -> None:
        view = _View(record["client"], record["session"], topic, record["t"], **fields)
        if (before := self._now.get((view.session, topic))) is not None:
            before.is_last = False
        self._now[view.session, topic] = view
        self.all.append(view)

    def _resumed(self, record: Record) -> None:
        """All topics go on: its own from here, those of channels when they say so."""
        had = self._had[record["session"]]
        for topic, (epoch, offset) in record["offsets"].items():
            start = had[topic][1] if record["recovered"] and topic in had else offset
            self._begin(record, topic, epoch=epoch, told=offset, start=start, recovered=record["recovered"])
        for topic in [topic for session, topic in self._now if session == record["session"]]:
            if topic not in record["offsets"]:
                place = had.get(topic)
                self._begin(record, topic, asked=place, start=place[1] if place else 0)

    @staticmethod
    def _subscribed(record: Record, view: _View) -> None:
        view.epoch, view.told, view.recovered = record["epoch"], record["offset"], record["recovered"]
        if not view.recovered:
            view.start = view.told
        view.missed = [_Got(offset, (sender, op)) for offset, sender, op, _ in record["missed"]]
        view.got += view.missed

    def _got(self, record: Record, topic: str, said: Said) -> None:
        # What comes before the answer of a subscription is compared with it, and is too early.
        self._now[record["session"], topic].got.append(_Got(record["offset"], said))


def _views(history: History) -> Iterable[_View]:
    """What each session saw of each topic, in order."""
    views = _Views()
    for record in history.of("open", "resume", "resumed", "subscribe", "subscribed", "recv", "reply", "note"):
        views.take(record)
    return views.all


def _inversion(numbers: list[int]) -> str:
    before, after = next((a, b) for a, b in pairwise(numbers) if b < a)
    return f"{after} after {before}"
