"""The whole path: how long a frame takes into the log and through it to another session; how many a gateway takes in.

    .venv/bin/python bench/path.py [--quick] [--json]

docs/performance.md says what is measured and how. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from bench.support.figures import Figure, heading, middle, spread
from bench.support.load import MESSAGE_BYTES, Accepted, ClosedLoop, Latencies, OpenLoop, quantiles
from bench.support.machine import GENERATOR_CORE, SERVER_CORE, machine, pin_self
from bench.support.meter import Meter
from bench.support.session import LoadSession, exact_loop
from bench.support.system import PAIRS, Pair, System, open_pairs, system

RATES: Final = (100, 1000)
WHISPER: Final = "client-bench"
MESSAGE: Final = "message"
#: Promised in docs/performance.md, in ms and us; figures that are not here promise nothing.
GOALS: Final = {"path_p50": "<= 30", "path_p99": "<= 200", "ack_p99": "<= 50", "inbound_cpu_us": "<= 100"}
#: Messages of one session that wait for their acks while the most is measured that a gateway takes in.
WINDOW: Final = 4
SESSIONS: Final = 2 * PAIRS


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and for how many seconds."""

    runs: int
    seconds: float
    warm_up: float


FULL: Final = Plan(runs=5, seconds=8, warm_up=2)
QUICK: Final = Plan(runs=1, seconds=2.5, warm_up=0.5)


class PathBench:
    """Measures a running system."""

    def __init__(self, plan: Plan, running: System, pairs: Sequence[Pair], echoes: Sequence[Pair]) -> None:
        self._plan = plan
        self._system = running
        self._pairs = pairs
        self._echo_pairs = echoes
        self._echoed: dict[int, list[Latencies]] = {}

    async def figures(self) -> AsyncIterator[Figure]:
        """Every figure as soon as it is known."""
        for rate in RATES:
            self._echoed[rate] = await self._open_loop(MESSAGE, self._echo_pairs, rate)
            runs = await self._open_loop(WHISPER, self._pairs, rate)
            what = f"{rate} whispers/s, {PAIRS} pairs of sessions: gateway, log, channels, log, router, gateway"
            for figure in chain(self._times(f"whisper_{rate}", what, runs), self._acks(rate, runs)):
                yield figure
        for figure in self._cpu(runs):
            yield figure
        for rate in RATES:
            runs = await self._open_loop(MESSAGE, self._pairs, rate)
            what = f"{rate} messages/s, {PAIRS} pairs of sessions: as whispers, and to a stand-in application and back"
            for figure in self._times(f"message_{rate}", what, runs):
                yield figure
        for figure in await self._inbound():
            yield figure

    # Latencies

    async def _open_loop(self, kind: str, pairs: Sequence[Pair], rate: int) -> list[Latencies]:
        meter = Meter(self._system.processes)
        return [
            await OpenLoop(kind, pairs, rate).run(self._plan.seconds, self._plan.warm_up, meter)
            for _ in range(self._plan.runs)
        ]

    def _times(self, name: str, what: str, runs: Sequence[Latencies]) -> Iterable[Figure]:
        rate = int(name.rpartition("_")[2])
        floors = [quantiles(echoed.arrived) for echoed in self._echoed[rate]]
        load = f"generator at most {max(run.used.generator for run in runs):.0%} of a core"
        for quantile in quantiles(()):
            values = [quantiles(run.arrived)[quantile] for run in runs]
            yield Figure.of(
                f"{name}_{quantile}_ms",
                middle(values),
                "ms",
                "; ".join(filter(None, (what, spread(values), load))),
                goal=GOALS.get(f"path_{quantile}", ""),
                floor=middle([floor[quantile] for floor in floors]),
                doubt=_doubt(runs),
            )

    def _acks(self, rate: int, runs: Sequence[Latencies]) -> Iterable[Figure]:
        floors = [quantiles(echoed.arrived) for echoed in self._echoed[rate]]
        for quantile in quantiles(()):
            values = [quantiles(run.acked)[quantile] for run in runs]
            what = f"{rate} whispers/s: from frame to ack, which follows the append to disk"
            yield Figure.of(
                f"ack_{rate}_{quantile}_ms",
                middle(values),
                "ms",
                "; ".join(filter(None, (what, spread(values)))),
                goal=GOALS.get(f"ack_{quantile}", ""),
                floor=middle([floor[quantile] for floor in floors]),
                doubt=_doubt(runs),
            )

    def _cpu(self, runs: Sequence[Latencies]) -> Iterable[Figure]:
        for name in ("ingress", "processors", "egress", "redis"):
            values = [run.used.cpu[name] / run.messages * 1e6 for run in runs]
            yield Figure.of(
                f"whisper_{RATES[-1]}_cpu_{name}_us",
                middle(values),
                "us/message",
                "; ".join(filter(None, (f"CPU time of {name} at {RATES[-1]} whispers/s", spread(values)))),
                doubt=_doubt(runs),
            )

    # What one gateway takes in

    async def _inbound(self) -> list[Figure]:
        """The gateway and the echo server in turn, each with a core of its own."""
        processes = self._system.processes
        for name in ("processors", "egress", "application"):
            await processes[name].stop()
        pin_self([GENERATOR_CORE])
        processes["redis"].pin([GENERATOR_CORE])
        for name in ("ingress", "echo"):
            processes[name].pin([SERVER_CORE])
        gateway, floor = [], []
        for _ in range(self._plan.runs):
            gateway.append(await self._closed_loop(self._pairs, ["redis"]))
            floor.append(await self._closed_loop(self._echo_pairs, []))
        return [*_accepted(gateway, floor, 1)]

    async def _closed_loop(self, pairs: Sequence[Pair], beside: list[str], window: int = WINDOW) -> Accepted:
        sessions: list[LoadSession] = list(chain.from_iterable(pairs))
        meter = Meter(self._system.processes, beside)
        return await ClosedLoop(sessions, window).run(self._plan.seconds, self._plan.warm_up, meter)
