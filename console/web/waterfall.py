"""A chain of entries as a waterfall: each bar reaches from its cause's append to its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from console.web.timeline import Located

#: Width that bars are measured in, and the least that one has.
WIDTH: Final = 1000.0
_LEAST: Final = 4.0


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a chain."""

    located: Located
    depth: int
    """How many causes are above it."""
    began: int
    """Ms from the beginning of the chain to the append of its cause; of the first, to when it happened."""
    ended: int
    """Ms from the beginning of the chain to its own append."""
    x: float
    """Where its bar begins, of WIDTH."""
    width: float


def steps(chain: Sequence[Located]) -> list[Step]:
    """The steps of a chain, causes before what they led to. Times are as exact as the clocks of gateways and Redis."""
    # What is no entry can be without an id: nothing follows from it.
    known = {id for one in chain if (id := one.text("id"))}
    below: dict[str, list[Located]] = {}
    for one in chain:
        cause = one.text("cause")
        below.setdefault(cause if cause in known else "", []).append(one)
    ordered: list[tuple[Located, int, int]] = []
    waiting = [(one, 0, _happened(one)) for one in reversed(below.get("", []))]
    while waiting:
        one, depth, began = waiting.pop()
        ordered.append((one, depth, began))
        followers = below.get(one.text("id"), []) if one.text("id") else []
        waiting += [(child, depth + 1, one.place.ms) for child in reversed(followers)]
    if not ordered:
        return []
    first = min(began for _, _, began in ordered)
    span = max(1, max(one.place.ms for one, _, _ in ordered) - first)
    return [_step(one, depth, began - first, max(0, one.place.ms - first), span) for one, depth, began in ordered]


def _step(one: Located, depth: int, began: int, ended: int, span: int) -> Step:
    width = max(_LEAST, WIDTH * (ended - began) / span)
    return Step(one, depth, began, ended, min(WIDTH - width, WIDTH * began / span), width)


def _happened(one: Located) -> int:
    """When it happened by its own account, which is not after it was appended."""
    said = one.text("ts")
    return min(int(said), one.place.ms) if said.isdigit() and len(said) < 16 else one.place.ms
