"""What a checker finds, and what several of them look up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from schemas.events import MessagePublished
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
#: What a publication says: an operation of a session, the answer to one, a note of the application.
Said = tuple[str, int | str]


def published(evidence: Evidence) -> dict[str, list[tuple[Said, str | None]]]:
    """What was published to each topic, in order, and which session is left out."""
    found: dict[str, dict[str, tuple[Said, str | None]]] = defaultdict(dict)
    for entry in evidence.outbound:
        if entry.type == MessagePublished.TYPE:
            found[entry.topic].setdefault(entry.id, (_said(entry), entry.payload.get("exclude")))
    return defaultdict(list, {topic: list(entries.values()) for topic, entries in found.items()})


def payload_key(entry: Logged) -> Key | None:
    """Whose publication to a channel it is; None for any other entry."""
    data = entry.payload.get("frame", {}).get("data") if entry.topic.startswith("channel:") else None
    return (data["s"], data["n"]) if isinstance(data, dict) and "s" in data else None


def _said(entry: Logged) -> Said:
    """What a publication says; of one that is not of this run, which entry it is."""
    frame = entry.payload.get("frame", {})
    if (key := payload_key(entry)) is not None:
        return key
    if entry.topic.startswith("session:") and str(frame.get("id", "")).isdigit():
        return "reply", int(frame["id"])
    return ("note", frame["n"]) if frame.get("type") == "note" else ("entry", entry.id)


def at_the_end(history: History) -> dict[str, Any]:
    """The sessions that were open at the last look, as `end` has them."""
    sessions: dict[str, Any] = {}
    for record in history.of("end"):
        sessions = record["open"]
    return sessions


def open_sessions(history: History) -> set[str]:
    """Their ids."""
    return set(at_the_end(history))
