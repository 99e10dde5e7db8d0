"""The Composer package: entries that a worker hands over, publications, and what Headgate costs an application.

    .venv/bin/python bench/laravel.py [--quick] [--json]

docs/performance.md says what is measured and how. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import httpx

from bench.support.calls import AT_ONCE, Answered, Bare, Call, accepted, closed_loop, entry
from bench.support.command import Command, command, end_on_sigterm
from bench.support.figures import Figure, spread
from bench.support.laravel_system import WORKERS, LaravelSystem, Spent, laravel_system
from bench.support.machine import CORES, GENERATOR_CORE, SERVER_CORE, pin_self
from bench.support.meter import OTHERS_LIMIT, Meter
from processors.application import Application
from processors.auth.client import AuthClient
from processors.laravel.client import LaravelClient
from schemas.events import Event, MessageReceived, SessionResumed

VERIFY: Final = "/headgate/auth/verify"
HANDLE: Final = "/headgate/handle"
EVENT: Final = "/headgate/event"
FRAME: Final = {"type": "echo", "n": 1}
#: Of the time of a call that is not the application's.
SHARE_GOAL: Final = "<= 10"


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how much."""

    runs: int
    seconds: float
    """Of calls."""
    entries: int
    publications: int
    requests: int
    """Publications by HTTP."""


FULL: Final = Plan(runs=3, seconds=4, entries=10_000, publications=3000, requests=500)
QUICK: Final = Plan(runs=1, seconds=2, entries=2000, publications=1000, requests=100)


class LaravelBench:
    """Measures a running system."""

    def __init__(self, plan: Plan, running: LaravelSystem) -> None:
        self._plan = plan
        self._system = running
        self._groups = 0

    async def figures(self) -> AsyncIterator[Iterable[Figure]]:
        """The figures, in groups, as soon as they are known."""
        yield await self._consumed("events", SessionResumed(generation=1), "each to a listener that counts")
        told = "each to a handler, its answer appended"
        yield await self._consumed("messages", MessageReceived(frame=FRAME, stream=4), told, answered=True)
        count = self._plan.publications
        yield await self._published("stream", "bare", count, "one XADD at a time")
        yield await self._published("many", "bare_many", count, "a hundred in a pipeline")
        yield await self._published("http", "", self._plan.requests, "one request to the API at a time")
        await self._system.processes["egress"].stop()
        pin_self([GENERATOR_CORE])
        self._system.processes["redis"].pin([GENERATOR_CORE])
        self._system.processes["application"].pin([SERVER_CORE])
        async with self._system.client() as application:
            yield await self._called("verify", application)
            yield await self._called("handle", application)

    # One process of PHP against Redis, which share the machine

    async def _consumed(self, name: str, event: Event, what: str, *, answered: bool = False) -> Iterable[Figure]:
        count, partitions = self._plan.entries, self._system.keys.partitions
        ours, floor, doubts = list[Spent](), list[Spent](), list[str]()
        for _ in range(self._plan.runs):
            self._groups += 1
            await self._system.fill(event, count)
            meter = Meter(self._system.processes)
            group = f"floor{self._groups}"
            floor.append(await self._system.script("read.php", group, count, partitions, int(answered)))
            ours.append(await self._system.script("consume.php", f"bench{self._groups}", count))
            doubts.append(_disturbance(meter, floor[-1], ours[-1]))
        bare = "reads, appends and acknowledges" if answered else "reads and acknowledges"
        told = f"{count} entries by one worker, {what}; the floor only {bare}"
        return self._rates(f"consume_{name}", "entries", told, ours, floor, doubts)

    async def _published(self, way: str, bare: str, count: int, what: str) -> Iterable[Figure]:
        ours, floor, doubts = list[Spent](), list[Spent](), list[str]()
        for _ in range(self._plan.runs):
            meter = Meter(self._system.processes)
            if bare:
                floor.append(await self._system.script("publish.php", bare, count))
            ours.append(await self._system.script("publish.php", way, count))
            doubts.append(_disturbance(meter, *floor[-1:], ours[-1]))
        told = f"{what}, by one process" + ("; the floor is the same without the package" if bare else "")
        return self._rates(f"publish_{way}", "publications", told, ours, floor, doubts)

    def _rates(
        self, name: str, unit: str, what: str, ours: Sequence[Spent], floor: Sequence[Spent], doubts: Sequence[str]
    ) -> Iterable[Figure]:
        rates = [run.per_second for run in ours]
        costs = [run.cpu / run.count * 1e6 for run in ours]
        return (
            Figure.of(
                f"{name}_per_s",
                median(rates),
                f"{unit}/s",
                f"{what}; {spread(rates)}",
                floor=median(run.per_second for run in floor) if floor else None,
                doubt=_doubt(doubts),
            ),
            Figure.of(
                f"{name}_cpu_us",
                median(costs),
                f"us/{unit.removesuffix('s') if unit != 'entries' else 'entry'}",
                f"CPU time of PHP for each; {spread(costs)}",
                floor=median(run.cpu / run.count * 1e6 for run in floor) if floor else None,
                doubt=_doubt(doubts),
            ),
        )

    # The application has a core for itself; whoever asks it, and Redis, have another

    async def _called(self, name: str, application: Application) -> Iterable[Figure]:
        ours, floor = list[Answered](), list[Answered]()
        for _ in range(self._plan.runs):
            token = await self._token()
            path, payload, headers = (
                (VERIFY, None, {"Authorization": f"Bearer {token}"}) if name == "verify" else (HANDLE, FRAME, {})
            )
            bare = Bare(self._system.app_port, self._system.settings.signer(), path, payload, headers)
            bare.make(int(2000 * self._plan.seconds))
            floor.append(await self._answered(bare.call))
            ours.append(await self._answered(_asked(application, token) if name == "verify" else _handed(application)))
        rates, ceiling = [run.per_second for run in ours], [run.per_second for run in floor]
        shares = [max(0.0, 1 - one / other) * 100 for one, other in zip(rates, ceiling, strict=True)]
        client = median(run.used.generator * run.used.seconds / run.count * 1e6 for run in ours)
        laravel = median(run.used.cpu["application"] / run.count * 1e6 for run in ours)
        what = f"{name} calls, {AT_ONCE} at once, to php -S with {WORKERS} workers on a core of their own"
        doubt = _doubt([run.used.doubt for run in (*ours, *floor)])
        told = f"{what}, by Headgate's client; the floor is what the application answers; {spread(rates)}"
        return (
            Figure.of(f"{name}_per_s", median(rates), "calls/s", told, floor=median(ceiling), doubt=doubt),
            Figure.of(
                f"{name}_share",
                median(shares),
                "%",
                f"of the time of a call that the application does not need; {spread(shares)}",
                goal=SHARE_GOAL,
                doubt=doubt,
            ),
            Figure.of(
                f"{name}_cpu_us",
                client,
                "us/call",
                "CPU time of Headgate's client and its loop; the floor is the application's",
                floor=laravel,
                doubt=doubt,
            ),
        )

    async def _answered(self, call: Call) -> Answered:
        return await closed_loop(call, self._plan.seconds, Meter(self._system.processes))

    async def _token(self) -> str:
        """A fresh one: it is good for a minute."""
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{self._system.app_port}/api/demo/token"
            answer: Mapping[str, Any] = (await http.post(url, json={"name": "bench"})).raise_for_status().json()
        return str(answer["token"])


def _asked(application: Application, token: str) -> Call:
    client = AuthClient(application, VERIFY)

    async def call() -> None:
        accepted(await client.verify(entry(), token))

    return call


def _handed(application: Application) -> Call:
    client = LaravelClient(application, handle_path=HANDLE, event_path=EVENT)

    async def call() -> None:
        accepted(await client.handle(entry(), FRAME))

    return call


def _disturbance(meter: Meter, *spent: Spent) -> str:
    """That others slowed down scripts that ran since; empty when they did not. Their start is nobody's else, too."""
    used = meter.end()
    others = used.others - sum(one.cpu for one in spent) / (used.seconds * len(CORES))
    return f"others used {others:.0%} of the machine (limit {OTHERS_LIMIT:.0%})" if others > OTHERS_LIMIT else ""


def _doubt(doubts: Sequence[str]) -> str:
    """Why a figure cannot be trusted: what was wrong with most of its runs."""
    found = [doubt for doubt in doubts if doubt]
    return f"{found[0]} (in {len(found)} of {len(doubts)} runs)" if len(found) * 2 >= len(doubts) else ""


async def measure(plan: Plan, options: Command) -> None:
    """Run the bench and print its figures."""
    end_on_sigterm()
    async with laravel_system() as running:
        async for group in LaravelBench(plan, running).figures():
            options.show(group)


def main() -> None:
    """The command line."""
    options = command(
        "The Composer package, and an application's calls.",
        quick="one short run of each, in about 30 s",
        cores="one for the application, one for who asks it",
    )
    asyncio.run(measure(QUICK if options.quick else FULL, options))


if __name__ == "__main__":
    main()
