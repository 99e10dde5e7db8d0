"""Which gateways are lost: those whose last sign of life stays the same for a lease. Pure: looks and times in.

How old a sign of life is does not count, only how long it was watched without another: after Redis was away every sign
is old, and clocks are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: A watcher that did not look for this share of a lease may have slept while everybody slept: it begins anew.
_SLEPT: Final = 0.5


class Liveness:
    """What was seen of the gateways so far."""

    def __init__(self, lease: float) -> None:
        """`lease`: seconds."""
        self._lease = lease
        self._seen: dict[str, tuple[float | None, float]] = {}
        """The last sign of life of each, and since when it is that."""
        self._looked: float | None = None

    def look(self, beats: Mapping[str, float | None], now: float) -> list[str]:
        """The gateways that are lost, of those in `beats` (None: not on the list at all). `now`: monotonic seconds."""
        if self._looked is not None and now - self._looked > self._lease * _SLEPT:
            self._seen.clear()
        self._looked = now
        seen = {}
        for gateway, beat in beats.items():
            before = self._seen.get(gateway)
            seen[gateway] = before if before is not None and before[0] == beat else (beat, now)
        self._seen = seen
        return [gateway for gateway, (_, since) in seen.items() if now - since >= self._lease]

    def blind(self) -> None:
        """Nothing could be seen, and nobody may have been able to show a sign."""
        self._seen.clear()
