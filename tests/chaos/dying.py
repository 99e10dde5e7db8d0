"""Services that end by SIGKILL at a chosen line: `python -m tests.chaos.dying SERVICE`.

At each of POINTS the process looks for the file that CHAOS_DIE_AT names. If that names the point, and how many passages
are to be let by, the process that comes to it then removes the file and ends. It is as its users run it otherwise.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from console.cli import main
from egress.delivery import DeliveryStreams
from egress.topics.store import TopicStore
from ingress.deliveries import Deliveries
from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.settle import Settler
from runtime.bus.writer import Writer
from schemas.entry import Entry
from schemas.groups import FORWARDER

#: The variable that names the file.
VARIABLE: Final = "CHAOS_DIE_AT"
#: What a gateway has put on its way is out after so long, in seconds.
_OUT_S: Final = 0.003


def arm(path: Path, point: str, passages: int) -> None:
    """Let the process that passes `point` after `passages` others end there."""
    new = path.with_suffix(".new")
    new.write_text(f"{passages} {point}")
    new.replace(path)


class Trap:
    """Looks for the file at each point, and ends the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._passed = 0

    def at(self, point: str) -> bool:
        """Whether to end here: nobody else does, then."""
        try:
            with open(self._path) as file:
                passages, _, chosen = file.read().partition(" ")
            if chosen != point:
                return False
            self._passed += 1
            if self._passed <= int(passages):
                return False
            os.unlink(self._path)
        except FileNotFoundError:
            self._passed = 0
            return False
        return True

    def passed(self, point: str) -> None:
        """End here, if that is what is asked for."""
        if self.at(point):
            _end()

    def before(self, owner: type, name: str, point: str) -> None:
        """`point` is where the method `name` of `owner` begins."""
        well: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def method(*arguments: Any, **options: Any) -> Any:
            self.passed(point)
            return await well(*arguments, **options)

        setattr(owner, name, method)

    def after(self, owner: type, name: str, point: str) -> None:
        """`point` is where the method `name` of `owner` has done all that it does with its argument, if that is
        anything."""
        well: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def method(of: Any, *arguments: Any, **options: Any) -> Any:
            result = await well(of, *arguments, **options)
            if arguments[0]:
                self.passed(point)
            return result

        setattr(owner, name, method)


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_ingress(trap: Trap) -> None:
    """The points of a gateway."""
    deliver = Deliveries._deliver

    def delivered(deliveries: Deliveries, entry: Entry) -> None:
        trap.passed("before it sends")
        deliver(deliveries, entry)
        if trap.at("after it sent"):
            asyncio.get_running_loop().call_later(_OUT_S, _end)

    trap.before(Writer, "_write", "before an append")
    trap.after(Writer, "_read", "after an append")
    Deliveries._deliver = delivered  # type: ignore[method-assign, assignment]


def in_processors(trap: Trap) -> None:
    """The points of processors."""
    handle = Lanes._handle

    async def handled(lanes: Lanes, batch: list[Received]) -> Sequence[Outcome]:
        outcomes = await handle(lanes, batch)
        if not all(outcome.verdict is Verdict.DONE for outcome in outcomes):
            return outcomes
        if lanes._group == FORWARDER:
            trap.passed("after the application's answer")
        if lanes._group == "persistence":
            trap.passed("after it archived")
        return outcomes

    Lanes._handle = handled  # type: ignore[method-assign, assignment]
    trap.after(Writer, "_read", "after an append")
    trap.after(Settler, "_leave", "before it acknowledges")


def in_egress(trap: Trap) -> None:
    """The points of a router."""
    trap.after(TopicStore, "run", "after it gave offsets")
    trap.after(DeliveryStreams, "append", "after it delivered")
    trap.after(Settler, "_leave", "before it acknowledges")


#: Where a process can be made to end, by kind.
POINTS: Final = {
    "ingress": ("before an append", "after an append", "before it sends", "after it sent"),
    "processors": (
        "after the application's answer",
        "after it archived",
        "after an append",
        "before it acknowledges",
    ),
    "egress": ("after it gave offsets", "after it delivered", "before it acknowledges"),
}

if __name__ == "__main__":
    {"ingress": in_ingress, "processors": in_processors, "egress": in_egress}[sys.argv[1]](Trap(os.environ[VARIABLE]))
    main()
