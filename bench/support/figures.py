"""Figures: what a bench says, one JSON object a line or a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

_WIDTHS: Final = (30, 10, 10, 9, 6, 10, 6)
_TITLES: Final = ("figure", "value", "unit", "goal", "holds", "floor", "ratio")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, by a name that never changes once it was published."""

    figure: str
    value: float
    unit: str
    goal: str
    """`<= X` or `>= X`; empty when nothing was promised."""
    holds: bool
    """The figure can be trusted, and the goal (if there is one) is met."""
    floor: float | None
    """What the same load costs without this project, measured in the same run."""
    ratio: float | None
    """value / floor."""
    what: str
    """What was measured, and why it cannot be trusted if so."""

    @classmethod
    def of(
        cls,
        name: str,
        value: float,
        unit: str,
        what: str,
        *,
        goal: str = "",
        floor: float | None = None,
        doubt: str = "",
    ) -> Figure:
        """A figure with what follows from its parts; a `doubt` is a reason not to trust it."""
        holds = not doubt and (not goal or met(goal, value))
        ratio = round(value / floor, 2) if floor else None
        rounded = None if floor is None else rounded_to(floor)
        return cls(
            name,
            rounded_to(value),
            unit,
            goal,
            holds,
            rounded,
            ratio,
            f"{what}; NOT TRUSTED: {doubt}" if doubt else what,
        )

    def as_json(self) -> str:
        """One line."""
        return orjson.dumps(asdict(self)).decode()

    def as_row(self) -> str:
        """One line of the table."""
        parts = (self.figure, self.value, self.unit, self.goal, "yes" if self.holds else "NO", self.floor, self.ratio)
        return f"{_columns(parts)}  {self.what}"


def heading() -> str:
    """The first line of the table."""
    return f"{_columns(_TITLES)}  what"


def met(goal: str, value: float) -> bool:
    """Whether `value` meets a goal such as `<= 100`."""
    relation, _, bound = goal.partition(" ")
    return value <= float(bound) if relation == "<=" else value >= float(bound)


def rounded_to(value: float, digits: int = 3) -> float:
    """`value` to so many significant digits, more would be noise; whole numbers stay whole."""
    if not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of `ordered` values that at least `share` of them do not exceed; NaN for none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> str:
    """Lowest and highest of several runs in words."""
    if len(values) == 1:
        return "one run"
    return f"median of {len(values)} runs from {rounded_to(min(values)):g} to {rounded_to(max(values)):g}"


def _columns(parts: Sequence[Any]) -> str:
    shown = ["" if part is None else f"{part:g}" if isinstance(part, float) else str(part) for part in parts]
    return " ".join(
        text.ljust(width) if place in (0, 2, 3, 4) else text.rjust(width)
        for place, (text, width) in enumerate(zip(shown, _WIDTHS, strict=True))
    )
