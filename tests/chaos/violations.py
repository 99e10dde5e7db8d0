"""What a checker finds, and what several of them look up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.chaos.evidence import Evidence, Logged
from tests.chaos.history import History

#: What a violation counts as in the table.
Sort = Literal["lost", "repeated", "reordered", "untrue", "stray", "left over"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that should not be."""

    sort: Sort
    text: str
    t: float | None = None
    """When what it concerns was sent, on the history's clock."""


Checker = Callable[[History, Evidence], list[Violation]]
#: An operation: session and number.
Key = tuple[str, int]


def published(evidence: Evidence) -> dict[str, list[tuple[Key, str | None]]]:
    """What was published to each channel, in order: whose it is, and which session is left out."""
    found: dict[str, dict[str, tuple[Key, str | None]]] = defaultdict(dict)
    for entry in evidence.outbound:
        if (key := payload_key(entry)) is not None:
            channel = entry.topic.removeprefix("channel:")
            found[channel].setdefault(entry.id, (key, entry.payload.get("exclude")))
    return defaultdict(list, {channel: list(entries.values()) for channel, entries in found.items()})


def payload_key(entry: Logged) -> Key | None:
    """Whose publication to a channel it is; None for any other entry."""
    data = entry.payload.get("frame", {}).get("data") if entry.topic.startswith("channel:") else None
    return (data["s"], data["n"]) if isinstance(data, dict) and "s" in data else None


def at_the_end(history: History) -> dict[str, Any]:
    """The sessions that were open at the last look, as `end` has them."""
    sessions: dict[str, Any] = {}
    for record in history.of("end"):
        sessions = record["open"]
    return sessions


def open_sessions(history: History) -> set[str]:
    """Their ids."""
    return set(at_the_end(history))
