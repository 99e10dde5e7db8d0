"""Old versions of an event's payload walked to the current one, a step at a time.

An upcast is registered under (type, version it reads) and gives the payload of the next version; the log itself is
never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas.errors import InvalidEntry

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

#: Every released payload is still at version 1, so there is no step yet.
UPCASTS: Final[dict[tuple[str, int], Upcast]] = {}


def upcast(type_: str, version: int, current: int, payload: Any) -> dict[str, Any]:
    """`payload` of `version` as one of `current`; raises InvalidEntry when a step is missing."""
    if not isinstance(payload, dict):
        raise InvalidEntry(f"{type_}: the payload is not a map")
    walked: dict[str, Any] = payload
    while version < current:
        step = UPCASTS.get((type_, version))
        if step is None:
            raise InvalidEntry(f"{type_}: no upcast from version {version}")
        walked, version = step(walked), version + 1
    return walked
