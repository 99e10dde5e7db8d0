"""What differs between what was recorded and what the code does now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from schemas.entry import Entry
from schemas.errors import InvalidEntry

#: Fields that make an output. Of two runs the trace is never the same.
_FIELDS: Final = ("type", "v", "topic", "session", "user", "gateway", "ts", "cause")
#: Values that a difference shows of one entry.
_SHOWN: Final = 50
#: Stands for a value that is not there where the other one is null.
_ABSENT: Final = "(not there)"

Kind = Literal["identical", "changed", "missing", "new"]


@dataclass(frozen=True, slots=True)
class Difference:
    """An output that is not what it was."""

    kind: Kind
    processor: str
    """Who made it; empty where nobody does now."""
    id: str
    type: str
    session: str
    cause: str
    changes: Mapping[str, tuple[Any, Any]]
    """(recorded, now) by the path of the value; None for a value that is not there, or
    `(not there)` where the other is null."""

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        changes = {path: {"recorded": was, "now": now} for path, (was, now) in self.changes.items()}
        return {
            "result": self.kind,
            "processor": self.processor,
            "id": self.id,
            "type": self.type,
            "session": self.session,
            "cause": self.cause,
            "changes": changes,
        }


@dataclass(slots=True)
class Tally:
    """How a replay went; every difference is given to `tell` as it is found."""

    tell: Callable[[Difference], None]
    read: int = 0
    """Entries of logs and trails."""
    outputs: Counter[str] = field(default_factory=Counter)
    """By Kind."""
    notes: Counter[str] = field(default_factory=Counter)
    """Entries that were not judged, by why."""

    def identical(self) -> None:
        """An output is what it was."""
        self.outputs["identical"] += 1

    def differs(
        self, kind: Kind, processor: str, entry: Entry, changes: Mapping[str, tuple[Any, Any]] | None = None
    ) -> None:
        """An output is not what it was: `entry` as it was recorded, or as it is made now."""
        self.outputs[kind] += 1
        self.tell(Difference(kind, processor, entry.id, entry.type, entry.session, entry.cause, changes or {}))

    def judge(self, processor: str, recorded: Entry, now: Entry) -> None:
        """Compare an output with what it was."""
        changes = compared(recorded, now)
        if changes:
            self.differs("changed", processor, recorded, changes)
        else:
            self.identical()

    @property
    def differences(self) -> int:
        """Outputs that are not what they were."""
        return self.outputs["changed"] + self.outputs["missing"] + self.outputs["new"]

    @property
    def good(self) -> bool:
        """Whether nothing differs, all was answered, and more was judged than had no trail by which to judge it."""
        unanswered, untold = (self._noted(beginning) for beginning in ("not answered", "not settled"))
        return not self.differences and not unanswered and untold <= self.outputs.total()

    def _noted(self, beginning: str) -> int:
        return sum(count for why, count in self.notes.items() if why.startswith(beginning))


def compared(recorded: Entry, now: Entry) -> dict[str, tuple[Any, Any]]:
    """What differs, as in Difference.changes."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in _FIELDS:
        was, is_now = getattr(recorded, name), getattr(now, name)
        if was != is_now:
            found[name] = (was, is_now)
    if recorded.data != now.data or recorded.ct != now.ct:
        _compare("data", _payload(recorded), _payload(now), found)
    return found


def values(path: str, was: Any, now: Any) -> dict[str, tuple[Any, Any]]:
    """What differs between two plain values, as in Difference.changes."""
    found: dict[str, tuple[Any, Any]] = {}
    _compare(path, was, now, found)
    return found


def _payload(entry: Entry) -> Any:
    try:
        return entry.payload()
    except InvalidEntry:
        return entry.data


def _compare(path: str, was: Any, now: Any, found: dict[str, tuple[Any, Any]]) -> None:
    if len(found) >= _SHOWN:
        return
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*was, *now)):
            both = was.get(name, _ABSENT), now.get(name, _ABSENT)
            if None not in both:
                both = was.get(name), now.get(name)
            _compare(f"{path}.{name}", both[0], both[1], found)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for place, both in enumerate(zip(was, now, strict=True)):
            _compare(f"{path}.{place}", both[0], both[1], found)
    elif type(was) is not type(now) or was != now:
        found[path] = (was, now)
