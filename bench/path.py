"""The whole path: how long a frame takes to the log, and through it to another session; how many one gateway takes in.

    .venv/bin/python bench/path.py [--quick] [--json]

docs/performance.md says what is measured and how. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.support.figures import Figure, heading, middle, spread
from bench.support.load import MESSAGE_BYTES, Accepted, ClosedLoop, Latencies, OpenLoop, quantiles
from bench.support.machine import GENERATOR_CORE, SERVER_CORE, machine, pin_self
from bench.support.session import LoadSession, exact_loop
from bench.support.system import PAIRS, Pair, System, open_pairs, system

RATES: Final = (100, 1000)
#: What docs/performance.md promises, in ms and us.
GOALS: Final = {
    "path_p50": "<= 30",
    "path_p99": "<= 200",
    "ack_p99": "<= 50",
    "inbound_cpu_us": "<= 100",
}
WHISPER: Final = "client-bench"
MESSAGE: Final = "message"
QUANTILES: Final = ("p50", "p99", "p999", "max")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often, in seconds."""

    runs: int
    seconds: float
    warm_up: float
    flood_seconds: float


FULL: Final = Plan(runs=5, seconds=8, warm_up=2, flood_seconds=6)
QUICK: Final = Plan(runs=1, seconds=2.5, warm_up=0.5, flood_seconds=2.5)


class Bench:
    """The figures of one run of this bench."""

    def __init__(self, plan: Plan, running: System, pairs: list[Pair], echo_pairs: list[Pair]) -> None:
        self._plan = plan
        self._system = running
        self._pairs = pairs
        self._echo_pairs = echo_pairs
        self._echoes: dict[int, list[Latencies]] = {}

    async def figures(self) -> list[list[Figure]]:
        """Every group of figures, measured one after the other."""
        return [figures async for figures in self._groups()]
