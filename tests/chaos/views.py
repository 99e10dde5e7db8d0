"""What each session saw of each channel, and whether that is what was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.history import History
from tests.chaos.violations import Key, Violation, open_sessions, published


def subscribers_miss_nothing(history: History, evidence: Evidence) -> list[Violation]:
    """A subscriber gets what its channel publishes after its offset: all, once, in order; what it recovers as well."""
    opened, channels = open_sessions(history), published(evidence)
    return [
        violation
        for view in _views(history)
        for violation in view.compared(channels[view.channel], view.session in opened)
    ]


def recovery_is_honest(history: History, evidence: Evidence, kept: int = 1000) -> list[Violation]:
    """`recovered` says whether everything missed came, and is denied only where the history does not reach back."""
    found = []
    for view in _views(history):
        if view.asked is None:
            continue
        epoch, offset = view.asked
        name = f"{view.session} in {view.channel}"
        missed = [one[0] for one in view.missed]
        if not view.recovered:
            if epoch == view.epoch and view.offset - offset <= kept:
                found.append(Violation("untrue", f"{name} was told that offset {offset} is out of reach", view.t))
        elif epoch != view.epoch:
            found.append(Violation("untrue", f"{name} recovered from another epoch", view.t))
        elif missed != list(range(offset + 1, view.offset + 1)):
            found.append(Violation("lost", f"{name} recovered {offset}-{view.offset} and got {missed}", view.t))
    return found


def nothing_comes_twice(history: History, evidence: Evidence) -> list[Violation]:
    """No session is given a publication twice, no client an offset that it has seen."""
    found = []
    for view in _views(history):
        given = Counter((one[1], one[2]) for one in [*view.missed, *view.live])
        found += [
            Violation("repeated", f"{view.session} got {key} {n} times", view.t) for key, n in given.items() if n > 1
        ]
        if view.asked is not None and view.asked[0] == view.epoch:
            again = [one[0] for one in view.missed if one[0] is not None and one[0] <= view.asked[1]]
            found += [Violation("repeated", f"{view.session} got offset {one} again", view.t) for one in again]
    return found


@dataclass(slots=True)
class _View:
    """What one session saw of one channel."""

    session: str
    channel: str
    t: float
    asked: tuple[str, int] | None
    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    missed: list[list[Any]] = None  # type: ignore[assignment]  # set by _views
    live: list[list[Any]] = None  # type: ignore[assignment]  # set by _views

    def compared(self, said: list[tuple[Key, str | None]], is_open: bool) -> list[Violation]:
        """What is wrong with it, if this was published: in order, with who is left out."""
        name = f"{self.session} in {self.channel}"
        places = {key: n for n, (key, _) in enumerate(said, 1)}
        found = []
        for offset, sender, op, _ in [*self.missed, *self.live]:
            at = places.get((sender, op))
            if at is None:
                found.append(Violation("stray", f"{name} got {op} of {sender}, which is not published", self.t))
            elif offset is not None and offset != at:
                found.append(Violation("reordered", f"{name} got number {at} as offset {offset}", self.t))
        wanted = [n for n, (_, left_out) in enumerate(said, 1) if n > self.offset and left_out != self.session]
        got = [places[one[1], one[2]] for one in self.live if (one[1], one[2]) in places]
        if got != sorted(got):
            found.append(Violation("reordered", f"{name} got {_inversion(got)}", self.t))
        until = wanted if is_open else [n for n in wanted if got and n <= max(got)]
        holes = sorted(set(until) - set(got))
        found += [Violation("lost", f"{name} missed offset {n}", self.t) for n in holes]
        early = sorted(set(got) - set(wanted))
        return found + [Violation("repeated", f"{name} got {n}, which is not for it", self.t) for n in early]


def _views(history: History) -> Iterable[_View]:
    """What each session saw of each channel, in order."""
    asked: dict[tuple[str, str], _View] = {}
    views: dict[tuple[str, str], _View] = {}
    for record in history.of("subscribe", "subscribed", "recv"):
        key = (record["session"], record["channel"])
        if record["k"] == "subscribe":
            recover = record["recover"]
            asked[key] = _View(*key, record["t"], tuple(recover) if recover else None, missed=[], live=[])
        elif record["k"] == "subscribed":
            if key in views:
                continue
            view = views[key] = asked[key]
            view.epoch, view.offset, view.recovered = record["epoch"], record["offset"], record["recovered"]
            view.missed = record["missed"]
        else:
            # What comes before the answer is compared as well, and is too early.
            view = views.get(key) or asked[key]
            view.live.append([record["offset"], record["from"], record["op"], record["intact"]])
    return views.values()


def _inversion(numbers: list[int]) -> str:
    before, after = next((a, b) for a, b in pairwise(numbers) if b < a)
    return f"{after} after {before}"
