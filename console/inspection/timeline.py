"""A timeline: entries, what each led to, and what was done with each. Pure: records in, steps out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

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
        """Who has not settled it, as far as the trail says."""
        who = [name for name, types in _FOR.items() if self.entry.type in types] if self.inbound else [ROUTER]
        done = {one.said.processor for one in self.handled}
        return [name for name in who if name not in done]

    def delivered(self) -> str:
        """What became of an outbound entry, in words."""
        routed = next((one.said for one in self.handled if one.said.processor == ROUTER), None)
        if routed is None:
            return "not routed yet"
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
        }
        return out if self.inbound else out | {"delivered": self.delivered()}


class Timeline:
    """Steps in the order of the log, each that followed from another under that one."""

    def __init__(self, inbound: Iterable[str]) -> None:
        """`inbound`: the keys of the inbound logs."""
        self._inbound = frozenset(inbound)
        self._steps: dict[str, Step] = {}
        self.roots: list[Step] = []

    def has(self, entry_id: str) -> bool:
        """Whether an entry is on it."""
        return entry_id in self._steps

    def add(self, record: Record) -> None:
        """An entry of a log; one that is there twice counts once."""
        if record.entry.id in self._steps:
            return
        step = self._steps[record.entry.id] = Step(record, record.stream in self._inbound)
        above = self._steps.get(record.entry.cause)
        (self.roots if above is None else above.led_to).append(step)

    def handled(self, record: Record, said: EntryHandled) -> None:
        """What a trail says of an entry that is on it."""
        step = self._steps[record.entry.cause]
        if all(one.said.processor != said.processor for one in step.handled):
            step.handled.append(Handling(record.at, said))
