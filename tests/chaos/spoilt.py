"""Services with a mistake in them, to see that the checkers find it: `python -m tests.chaos.spoilt MISTAKE SERVICE`."""

from __future__ import annotations

import sys
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from console.cli import main
from runtime.bus import reader, servers
from runtime.bus.reader import Reader


def retries() -> None:
    """Commands are sent again by the client itself, as redis-py does by default."""

    def patient(*_: Any) -> Retry:
        return Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 3)

    servers.Retry = patient  # type: ignore[assignment,attr-defined]  # the mistake


def newest_first() -> None:
    """Who takes a partition over reads on, and what was pending is found by the sweep, later."""

    def adopt(self: Reader, owned: set[int]) -> None:
        self._noted = {p: identity for p, identity in self._noted.items() if p in owned}
        self._cursors = {p: cursor for p, cursor in self._cursors.items() if p in owned}
        if self._live & owned:
            self._live = owned - self._cursors.keys()
            return
        original(self, owned)

    original = Reader._adopt
    Reader._adopt = adopt  # type: ignore[method-assign]  # the mistake
    reader.SWEEP_S = 4.0  # type: ignore[misc]  # soon enough for a short run, and after what came later


if __name__ == "__main__":
    {"retries": retries, "newest_first": newest_first}[sys.argv.pop(1)]()
    main()
