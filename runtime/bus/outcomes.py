"""What a handler is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from schemas.entry import Entry


@dataclass(frozen=True, slots=True)
class Received:
    """An entry as it was read from a log."""

    partition: int
    stream_id: str
    """Its id in the stream, such as `1700000000000-0`."""
    entry: Entry
    attempt: int = 1
    """1 and the attempts that failed, whoever made them."""
    suspect: bool = False
    """It was delivered to one owner after the other and never settled: it may be what ended them."""
    redelivered: bool = False
    """Somebody may have handled it before and not settled it: it was pending when it was read, where others may have
    counted, or be counting, attempts at it; or it was handed out here, and is to be handled again."""
    retried: bool = False
    """An operator put it on its log again, where it was a dead letter."""

    @property
    def at(self) -> int:
        """When it was appended, in Unix ms on the clock of Redis."""
        return int(self.stream_id.partition("-")[0])


class Verdict(Enum):
    """What becomes of an entry that was handled."""

    DONE = "done"
    """Emit, acknowledge."""
    AGAIN = "again"
    """It failed: try again after a delay, a bounded number of times, then as DEAD."""
    LATER = "later"
    """What it needs is away (not its fault): try again, however often."""
    DEAD = "dead"
    """It can never be handled: to the dead letters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A handler's answer. `emits` are appended to the outbound log, in order, before the acknowledgement: of AGAIN
    only when it was the last attempt."""

    verdict: Verdict
    emits: tuple[Entry, ...] = ()
    error: str = ""
    notes: Mapping[str, Any] | None = field(default=None, compare=False)
    """What the trail says besides: fields of schemas.events.EntryHandled."""

    @classmethod
    def done(cls, *emits: Entry) -> Outcome:
        """Handled; `emits` follow from it."""
        return cls(Verdict.DONE, emits)

    @classmethod
    def again(cls, error: str, *emits: Entry) -> Outcome:
        """Failed with `error`, worth another attempt; `emits` follow if there is none left."""
        return cls(Verdict.AGAIN, emits, error)

    @classmethod
    def later(cls, error: str) -> Outcome:
        """Cannot be handled now because of `error`."""
        return cls(Verdict.LATER, error=error)

    @classmethod
    def dead(cls, error: str) -> Outcome:
        """Can never be handled because of `error`."""
        return cls(Verdict.DEAD, error=error)
