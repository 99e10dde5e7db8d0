"""A timeline: entries, what each led to, and what was done with each. Pure: records in, steps out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from console.inspection.waiting import Waiting
from processors.auth.handler import AuthHandler
from processors.channels.handler import ChannelsHandler
from processors.laravel.handler import LaravelHandler
from runtime.recording import Record
from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.events import EntryHandled
from schemas.traceparent import parse

ROUTER: Final = "router"
#: Which processors an inbound entry is for.
_FOR: Final = {"auth": AuthHandler.TYPES, "channels": ChannelsHandler.TYPES, "laravel": LaravelHandler.TYPES}


@dataclass(frozen=True, slots=True)
class Handling:
    """What one processor, or the router, did with an entry."""

    at: int
    """When it was settled, in Unix ms."""
    said: EntryHandled

    @property
    def besides(self) -> str:
        """What the application answered, and what went wrong, in words; empty: neither."""
        parts = []
        if (asked := self.said.asked) is not None:
            parts.append(f"{asked.route} answered {asked.status or 'nothing'}")
        if self.said.error:
            parts.append(self.said.error)
        return ", ".join(parts)


@dataclass(slots=True)
class Step:
    """An entry, and what became of it."""

    record: Record
    inbound: bool
    expected: Collection[str] = ()
    """Who is to settle it."""
    waits: Collection[str] = ()
    """Who had not, by what their groups say."""
    handled: list[Handling] = field(default_factory=list)
    led_to: list[Step] = field(default_factory=list)

    @property
    def entry(self) -> Entry:
        """The entry itself."""
        return self.record.entry

    @property
    def trace(self) -> str:
        """The id of its trace, empty where it has none."""
        found = parse(self.entry.traceparent)
        return found.trace_id if found else ""

    @property
    def waits_for(self) -> list[str]:
        """Who has not settled it."""
        return [name for name in self._without_trail() if name in self.waits]

    @property
    def unrecorded(self) -> list[str]:
        """Whose trail says nothing of it, although they do not have to settle it any more."""
        return [name for name in self._without_trail() if name not in self.waits]

    def _without_trail(self) -> list[str]:
        done = {one.said.processor for one in self.handled}
        return [name for name in self.expected if name not in done]

    def delivered(self) -> str:
        """What became of an outbound entry, in words."""
        routed = next((one.said for one in self.handled if one.said.processor == ROUTER), None)
        if routed is None:
            return "not routed yet" if ROUTER in self.waits_for else "nothing is recorded of who got it"
        if routed.outcome == "dead":
            return f"not routed: {routed.error}"
        if routed.routed is None or not routed.routed.deliveries:
            return "delivered to nobody: no gateway had a subscriber then, or none has to be told"
        place = f" at offset {routed.routed.offset}" if routed.routed.offset >= 0 else ""
        parts = [f"{kind} to {', '.join(names)}" for kind, names in routed.routed.deliveries.items()]
        excluded = self._excluded()
        return "; ".join(parts) + place + (f", not to its sender {excluded}" if excluded else "")

    def _excluded(self) -> str:
        try:
            data = self.entry.payload()
        except InvalidEntry:
            return ""
        return str(data.get("exclude") or "") if isinstance(data, dict) else ""

    def plain(self) -> dict[str, Any]:
        """As plain values, without what it led to."""
        handled = [{"at": one.at, **one.said.model_dump(exclude_none=True)} for one in self.handled]
        out: dict[str, Any] = {
            "at": self.record.at,
            "stream": self.record.stream,
            "redis_id": self.record.stream_id,
            "entry": self.entry.readable(),
            "trace": self.trace,
            "handled": handled,
            "waits_for": self.waits_for,
            "unrecorded": self.unrecorded,
        }
        return out if self.inbound else out | {"delivered": self.delivered()}


def expected_of(type_: str, *, inbound: bool, never: Collection[str]) -> list[str]:
    """Who is to settle an entry of this type; `never` are groups that nothing waits for."""
    who = [name for name, types in _FOR.items() if type_ in types] if inbound else [ROUTER]
    return [name for name in who if name not in never]


class Timeline:
    """Steps in the order of the log, each that followed from another under that one."""

    def __init__(self, inbound: Iterable[str], waiting: Waiting) -> None:
        """`inbound`: the keys of the inbound logs; `waiting`: as it was before the first entry was read."""
        self._inbound = frozenset(inbound)
        self._waiting = waiting
        self._steps: dict[str, Step] = {}
        self.roots: list[Step] = []

    def has(self, entry_id: str) -> bool:
        """Whether an entry is on it."""
        return entry_id in self._steps

    def add(self, record: Record) -> None:
        """An entry of a log; one that is there twice counts once."""
        if record.entry.id in self._steps:
            return
        inbound = record.stream in self._inbound
        expected = expected_of(record.entry.type, inbound=inbound, never=self._waiting.never)
        waits = [name for name in expected if self._waiting.has(record.stream, record.stream_id, name)]
        step = self._steps[record.entry.id] = Step(record, inbound, expected, waits)
        above = self._steps.get(record.entry.cause)
        (self.roots if above is None else above.led_to).append(step)

    def handled(self, record: Record, said: EntryHandled) -> None:
        """What a trail says of an entry that is on it."""
        step = self._steps[record.entry.cause]
        if all(one.said.processor != said.processor for one in step.handled):
            step.handled.append(Handling(record.at, said))
