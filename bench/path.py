"""The whole path: how long a frame takes into the log and through it to another session; how many a gateway takes in.

    .venv/bin/python bench/path.py [--quick] [--json]

docs/performance.md says what is measured and how. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Final, TypeVar

from bench.support.command import Command, command, end_on_sigterm
from bench.support.figures import Figure, spread
from bench.support.load import MESSAGE_BYTES, Accepted, ClosedLoop, Latencies, OpenLoop, quantiles
from bench.support.machine import GENERATOR_CORE, SERVER_CORE, pin_self
from bench.support.meter import BUSY_LIMIT, Meter
from bench.support.session import exact_loop
from bench.support.system import PAIRS, Pair, System, open_pairs, system

RATES: Final = (100, 1000)
WHISPER: Final = "client-bench"
MESSAGE: Final = "message"
#: Promised in docs/performance.md, by quantile in ms.
PATH_GOALS: Final = {"p50": "<= 30", "p99": "<= 200"}
ACK_GOALS: Final = {"p99": "<= 50"}
INBOUND_GOAL_US: Final = "<= 100"
#: Messages that a session has on their way at once: one a packet, or as many as share a packet when acks come together.
WINDOWS: Final = {"inbound": 1, "inbound_packed": 8}

Run = TypeVar("Run", Latencies, Accepted)


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and for how many seconds."""

    runs: int
    seconds: float
    warm_up: float
    patience: float
    """For what is still on its way at the end of a run."""
    repeats: int
    """How often a run may be repeated that others disturbed."""
    everysec: bool
    """Also with a Redis that syncs once a second."""


FULL: Final = Plan(runs=5, seconds=4, warm_up=1, patience=15, repeats=2, everysec=True)
QUICK: Final = Plan(runs=1, seconds=1.6, warm_up=0.4, patience=1.5, repeats=0, everysec=False)


class PathBench:
    """Measures a running system."""

    def __init__(self, plan: Plan, running: System, pairs: Sequence[Pair], echoes: Sequence[Pair]) -> None:
        self._plan = plan
        self._system = running
        self._pairs = pairs
        self._echoes = echoes
        self._floors: dict[int, list[Latencies]] = {}

    async def figures(self) -> AsyncIterator[Iterable[Figure]]:
        """The figures, in groups, as soon as they are known."""
        for rate in RATES:
            self._floors[rate] = await self._open_loop(MESSAGE, self._echoes, rate)
            runs = await self._open_loop(WHISPER, self._pairs, rate)
            yield self._times(f"whisper_{rate}", f"{rate} whispers/s to another session", rate, runs, PATH_GOALS)
            yield self._acks(f"ack_{rate}", rate, runs)
        yield self._cpu(f"whisper_{RATES[-1]}", runs)
        if self._plan.everysec:
            await self._system.log.config_set("appendfsync", "everysec")
            for rate in RATES:
                runs = await self._open_loop(WHISPER, self._pairs, rate)
                what = f"{rate} whispers/s, appendfsync everysec"
                yield self._times(f"whisper_{rate}_everysec", what, rate, runs, {})
                yield self._acks(f"ack_{rate}_everysec", rate, runs, {})
            await self._system.log.config_set("appendfsync", "always")
        for rate in RATES:
            runs = await self._open_loop(MESSAGE, self._pairs, rate)
            what = f"{rate} messages/s to a stand-in application, its answers to another session"
            yield self._times(f"message_{rate}", what, rate, runs, PATH_GOALS)
        await self._leave_the_gateway()
        for name, window in WINDOWS.items():
            yield await self._inbound(name, window)

    # Latencies: nothing is pinned, the generator competes with what it measures

    async def _open_loop(self, kind: str, pairs: Sequence[Pair], rate: int) -> list[Latencies]:
        plan = self._plan
        runs: list[Latencies] = []
        while len(runs) < plan.runs and not (runs and runs[-1].missing):
            runs.append(
                await self._undisturbed(
                    lambda: OpenLoop(kind, pairs, rate).run(
                        plan.seconds, plan.warm_up, plan.patience, Meter(self._system.processes)
                    )
                )
            )
        return runs

    async def _undisturbed(self, measure_once: Callable[[], Awaitable[Run]]) -> Run:
        """A run that nobody else disturbed, if there is one within the plan's repeats; else the least disturbed."""
        best = await measure_once()
        for _ in range(self._plan.repeats):
            if best.missing or not best.used.disturbed:
                break
            best = min(best, await measure_once(), key=lambda run: run.used.others)
        return best

    def _times(
        self, name: str, what: str, rate: int, runs: Sequence[Latencies], goals: dict[str, str]
    ) -> Iterable[Figure]:
        return self._quantiles(name, what, rate, [run.arrived for run in runs], _doubt(runs), goals)

    def _acks(
        self, name: str, rate: int, runs: Sequence[Latencies], goals: dict[str, str] = ACK_GOALS
    ) -> Iterable[Figure]:
        what = f"{rate} whispers/s, from frame to ack, which follows the append"
        return self._quantiles(name, what, rate, [run.acked for run in runs], _doubt(runs), goals)

    def _quantiles(
        self, name: str, what: str, rate: int, runs: Sequence[list[float]], doubt: str, goals: dict[str, str]
    ) -> Iterable[Figure]:
        floors = [quantiles(floor.arrived) for floor in self._floors[rate]]
        taken = [quantiles(run) for run in runs]
        for quantile in taken[0]:
            values = [one[quantile] for one in taken]
            yield Figure.of(
                f"{name}_{quantile}_ms",
                median(values),
                "ms",
                f"{what}; {spread(values)}",
                goal=goals.get(quantile, ""),
                floor=median(floor[quantile] for floor in floors),
                doubt=doubt,
            )

    def _cpu(self, name: str, runs: Sequence[Latencies]) -> Iterable[Figure]:
        used = {"generator": [run.used.generator * run.used.seconds for run in runs]}
        for process in ("ingress", "processors", "egress", "redis"):
            used[process] = [run.used.cpu[process] for run in runs]
        for process, seconds in used.items():
            values = [cpu / run.messages * 1e6 for cpu, run in zip(seconds, runs, strict=True)]
            what = f"CPU time of {process} at {RATES[-1]} whispers/s; {spread(values)}"
            yield Figure.of(f"{name}_cpu_{process}_us", median(values), "us/message", what, doubt=_doubt(runs))

    # What one gateway takes in: it has a core for itself, the generator and Redis have another

    async def _leave_the_gateway(self) -> None:
        processes = self._system.processes
        for name in ("processors", "egress", "application"):
            await processes[name].stop(signal.SIGKILL)
        pin_self([GENERATOR_CORE])
        processes["redis"].pin([GENERATOR_CORE])
        for name in ("ingress", "echo"):
            processes[name].pin([SERVER_CORE])

    async def _inbound(self, name: str, window: int) -> Iterable[Figure]:
        gateway, floor = [], []
        for _ in range(self._plan.runs):
            gateway.append(await self._closed_loop(self._pairs, window, ["redis"]))
            floor.append(await self._closed_loop(self._echoes, window, []))
        what = f"{2 * PAIRS} sessions, {window} on their way in each, acknowledged after the append"
        accepted = [run.per_second for run in gateway]
        cost = [run.used.cpu["ingress"] / run.messages * 1e6 for run in gateway]
        floor_cost = [run.used.cpu["echo"] / run.messages * 1e6 for run in floor]
        busy = max(run.used.generator for run in gateway)
        # A generator at its limit says too little of the floor's rate, and would flatter the ratio.
        bound = median(run.used.generator for run in floor) > BUSY_LIMIT
        without = "; no floor: the generator was at its limit with the echo server" if bound else ""
        return (
            Figure.of(
                f"{name}_per_s",
                median(accepted),
                "messages/s",
                f"{what}; {spread(accepted)}; generator's core at most {busy:.0%} busy{without}",
                floor=None if bound else median(run.per_second for run in floor),
                doubt=_doubt(gateway),
            ),
            Figure.of(
                f"{name}_cpu_us",
                median(cost),
                "us/message",
                f"CPU time of the gateway, {what}; {spread(cost)}",
                goal=INBOUND_GOAL_US,
                floor=median(floor_cost),
                doubt=_doubt(gateway),
            ),
        )

    async def _closed_loop(self, pairs: Sequence[Pair], window: int, beside: list[str]) -> Accepted:
        plan, sessions = self._plan, list(chain.from_iterable(pairs))
        return await self._undisturbed(
            lambda: ClosedLoop(sessions, window).run(
                plan.seconds, plan.warm_up, plan.patience, Meter(self._system.processes, beside)
            )
        )


def _doubt(runs: Sequence[Latencies | Accepted]) -> str:
    """Why a figure of these runs cannot be trusted: what was wrong with most of them, or the worst of few."""
    doubts = [run.doubt for run in runs if run.doubt]
    return f"{doubts[0]} (in {len(doubts)} of {len(runs)} runs)" if len(doubts) * 2 >= len(runs) else ""


async def measure(plan: Plan, options: Command) -> None:
    """Run the bench and print its figures."""
    end_on_sigterm()
    async with system() as running:
        pairs = await open_pairs(running.gateway_port, authenticate=True)
        echoes = await open_pairs(running.echo_port, authenticate=False)
        async for group in PathBench(plan, running, pairs, echoes).figures():
            options.show(group)
        for session in chain.from_iterable([*pairs, *echoes]):
            session.close()


def main() -> None:
    """The command line."""
    options = command(
        "The whole path: latencies and what a gateway takes in.",
        quick="one short run of each, in about 40 s",
        about=f"messages of {MESSAGE_BYTES} bytes",
        cores="one for the server under load, one for the generator",
    )
    with asyncio.Runner(loop_factory=exact_loop) as runner:
        runner.run(measure(QUICK if options.quick else FULL, options))


if __name__ == "__main__":
    main()
