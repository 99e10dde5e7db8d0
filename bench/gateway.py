"""One gateway under load: what it takes in, sends out, and needs for it, beside a floor that runs the same load.

    .venv/bin/python bench/gateway.py [--quick] [--json]

docs/performance.md says what is measured and how. Exit status 0 says that it ran, not that it was fast.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.support.command import Command, command, end_on_sigterm
from bench.support.echo import COUNT
from bench.support.figures import Figure, met, spread
from bench.support.gateway_system import CHANNEL, GatewaySystem, gateway_system
from bench.support.load import MESSAGE_BYTES, Accepted, ClosedLoop
from bench.support.loads import DatagramLoad, FanOut, Handshakes, PackedLoop
from bench.support.meter import BUSY_LIMIT, Meter
from bench.support.session import LoadSession, exact_loop

INBOUND_SESSIONS: Final = (100, 400)
INBOUND_GOAL_US: Final = "<= 100"
PACKED_GOAL: Final = ">= 100000"
#: Name, sessions, bytes of a frame.
PACKED: Final = (("packed_1", 1, 150), ("packed_4", 4, 150), ("packed_small", 4, 90))
DATAGRAM_SESSIONS: Final = 8
DATAGRAM_GOAL: Final = ">= 35000"
FAN_OUT_GOAL: Final = "<= 1.15"
MEMORY_GOAL_KB: Final = "<= 100"
WORKER_SESSIONS: Final = 100
#: Sessions that are there before memory is counted: the first ones load what all share.
FIRST_SESSIONS: Final = 20

Load = Callable[[float, float, float, Meter], Awaitable[Accepted]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, for how many seconds, and with how many sessions where memory counts."""

    runs: int
    seconds: float
    warm_up: float
    patience: float
    repeats: int
    """How often a run may be repeated that others disturbed."""
    sizes: tuple[int, ...]


FULL: Final = Plan(runs=3, seconds=3, warm_up=1, patience=15, repeats=1, sizes=(500, 1000))
QUICK: Final = Plan(runs=1, seconds=1.2, warm_up=0.4, patience=5, repeats=0, sizes=(500,))


@dataclass(frozen=True, slots=True)
class Measured:
    """The runs of one load against one process."""

    process: str
    runs: list[Accepted]

    @property
    def rate(self) -> float:
        """Median per second."""
        return median(run.per_second for run in self.runs)

    @property
    def costs(self) -> list[float]:
        """CPU time for each message of each run in us; a run without any counts as one with one message."""
        return [run.used.cpu[self.process] / max(1, run.messages) * 1e6 for run in self.runs]

    @property
    def cost(self) -> float:
        """Median of them."""
        return median(self.costs)

    @property
    def generator(self) -> float:
        """Share of the generator's core that was used."""
        return median(run.used.generator for run in self.runs)

    @property
    def doubt(self) -> str:
        """What was wrong with most runs, or the worst of few."""
        # That the generator was at its limit is said of rates alone: what a message costs does not depend on it.
        found = [run.used.disturbance if run.doubt == run.used.doubt else run.doubt for run in self.runs]
        doubts = [doubt for doubt in found if doubt]
        return f"{doubts[0]} (in {len(doubts)} of {len(self.runs)} runs)" if len(doubts) * 2 >= len(self.runs) else ""

    def rate_figure(self, name: str, unit: str, what: str, floor: Measured | None, goal: str = "") -> Figure:
        """Messages a second: a lower bound where the generator is at its limit, so that a missed goal says nothing."""
        server = median(run.used.cpu[self.process] / run.used.seconds for run in self.runs)
        bound, doubt = self.generator > BUSY_LIMIT, self.doubt
        shares = f"gateway {server:.0%}, generator {self.generator:.0%} of a core"
        text = f"{what}; {spread([run.per_second for run in self.runs])}; {shares}"
        if bound:
            text = f"{text}; a lower bound, as the generator was at its limit"
            if goal and not met(goal, self.rate):
                doubt = doubt or "the generator was at its limit before the goal was met"
        if floor is not None and floor.generator > BUSY_LIMIT:
            text, floor = f"{text}; no floor: the generator was at its limit with it", None
        return Figure.of(name, self.rate, unit, text, goal=goal, floor=floor.rate if floor else None, doubt=doubt)

    def cost_figure(self, name: str, unit: str, what: str, floor: Measured | None, goal: str = "") -> Figure:
        """CPU time of the server for each; it holds also where the generator was at its limit."""
        core = f"a core's worth is {1e6 / self.cost:,.0f}/s" if self.cost else "too little to see"
        text = f"CPU time of the gateway, {what}; {spread(self.costs)}; {core}"
        return Figure.of(name, self.cost, unit, text, goal=goal, floor=floor.cost if floor else None, doubt=self.doubt)


class GatewayBench:
    """Measures one gateway after the other."""

    def __init__(self, plan: Plan, running: GatewaySystem) -> None:
        self._plan = plan
        self._system = running

    async def figures(self) -> AsyncIterator[Iterable[Figure]]:
        """The figures, in groups, as soon as they are known."""
        await self._system.start_floor("echo")
        await self._system.start_gateway()
        for group in (self._inbound, self._packed, self._datagrams):
            async for figures in group():
                yield figures
        yield await self._handshakes()
        async for figures in self._fan_out():
            yield figures
        yield await self._websockets()
        yield await self._workers()

    async def _measure(self, process: str, load: Load, beside: Sequence[str] = ("redis",)) -> Measured:
        """As many runs as planned, each repeated when others disturbed it."""
        plan, runs = self._plan, []
        for _ in range(plan.runs):
            tries: list[Accepted] = []
            while not tries or (tries[-1].used.disturbed and len(tries) <= plan.repeats):
                meter = Meter(self._system.processes, beside)
                tries.append(await load(plan.seconds, plan.warm_up, plan.patience, meter))
                await self._system.clear_log()
            runs.append(min(tries, key=lambda run: run.used.others))
        return Measured(process, runs)

    async def _inbound(self) -> AsyncIterator[Iterable[Figure]]:
        ours: list[LoadSession] = []
        floors: list[LoadSession] = []
        for count in INBOUND_SESSIONS:
            ours += await self._system.sessions(count - len(ours))
            floors += await self._system.sessions(count - len(floors), "echo", "/ack")
            got = await self._measure("ingress", ClosedLoop(ours, 1).run)
            floor = await self._measure("echo", ClosedLoop(floors, 1).run)
            what = f"{count} sessions, one message a packet, acknowledged after the append"
            yield (
                got.rate_figure(f"inbound_{count}_per_s", "messages/s", what, floor),
                got.cost_figure(f"inbound_{count}_cpu_us", "us/message", what, floor, INBOUND_GOAL_US),
            )
        _close([*ours, *floors])

    async def _packed(self) -> AsyncIterator[Iterable[Figure]]:
        for name, count, size in PACKED:
            ours, floors = await self._system.sessions(count), await self._system.sessions(count, "echo", "/ack")
            got = await self._measure("ingress", PackedLoop(ours, size).run)
            floor = await self._measure("echo", PackedLoop(floors, size).run)
            _close([*ours, *floors])
            what = f"{count} sessions, frames of {size} bytes in writes of 64 KiB, each acknowledged"
            yield (
                got.rate_figure(f"{name}_per_s", "messages/s", what, floor, PACKED_GOAL),
                got.cost_figure(f"{name}_cpu_us", "us/message", what, floor),
            )

    # Datagrams: the servers count what they had, as nothing answers one

    async def _datagrams(self) -> AsyncIterator[Iterable[Figure]]:
        count = DATAGRAM_SESSIONS
        ours, floors = await self._system.sessions(count), await self._system.sessions(count, "echo")
        lost: list[float] = []
        dropped: list[float] = []
        got = await self._measure("ingress", self._datagram_load(ours, self._logged, lost, dropped))
        floor = await self._measure("echo", self._datagram_load(floors, lambda: _echoed(floors), [], []))
        _close([*ours, *floors])
        what = f"{count} members' cursors, one a packet; gateway dropped {max(dropped):.0f}, {max(lost):.2%} got lost"
        yield (
            got.rate_figure("datagrams_per_s", "datagrams/s", what, floor, DATAGRAM_GOAL),
            got.cost_figure("datagrams_cpu_us", "us/datagram", what, floor),
        )

    def _datagram_load(
        self,
        sessions: list[LoadSession],
        counts: Callable[[], Awaitable[tuple[float, float]]],
        lost: list[float],
        dropped: list[float],
    ) -> Load:
        async def load(seconds: float, warm_up: float, patience: float, meter: Meter) -> Accepted:
            before = (0.0, 0.0)

            async def marks() -> None:
                nonlocal before
                before = await _settled(counts, patience)

            run = await DatagramLoad(sessions).run(seconds, warm_up, meter, marks)
            after = await _settled(counts, patience)
            taken = int(after[0] - before[0])
            dropped.append(after[1] - before[1])
            lost.append(max(0.0, run.sent - taken - dropped[-1]) / max(1, run.sent))
            doubt = "nothing arrived" if not taken else run.used.disturbance
            return Accepted(taken, taken / run.used.seconds, 0, run.used, doubt)

        return load

    async def _logged(self) -> tuple[float, float]:
        """Datagrams that went to the log, and those that the gateway dropped."""
        frames = await self._system.counted("headgate_frames_received")
        drops = await self._system.counted("headgate_datagrams_dropped")
        overrun = (await self._system.counted("headgate_listener_events"))["datagrams_overrun"]
        return frames.get("datagram.received", 0.0), sum(drops.values()) + overrun

    async def _handshakes(self) -> Iterable[Figure]:
        got = await self._measure("ingress", Handshakes(self._system.port).run)
        floor = await self._measure("echo", Handshakes(self._system.ports["echo"]).run)
        what = "a new connection, its session accepted, closed at once"
        return (
            got.rate_figure("handshakes_per_s", "sessions/s", what, floor),
            got.cost_figure("handshake_cpu_us", "us/session", what, floor),
        )

    # Many sessions: memory, and publications to all of them

    async def _fan_out(self) -> AsyncIterator[Iterable[Figure]]:
        system = self._system
        await system.start_floor("floor")
        await system.start_gateway()
        publisher = (await system.sessions(1, "floor"))[0]
        ours, floors = await system.sessions(FIRST_SESSIONS), await self._readers(FIRST_SESSIONS)
        publisher.send(b"publisher\n")
        memory = [system.processes[name].resident_bytes() for name in ("ingress", "floor")]
        for count in self._plan.sizes:
            ours += await system.sessions(count - len(ours))
            floors += await self._readers(count - len(floors))
            added = count - FIRST_SESSIONS
            used = [
                (system.processes[name].resident_bytes() - before) / added / 1000
                for name, before in zip(("ingress", "floor"), memory, strict=True)
            ]
            what = f"resident memory for each of {added} idle sessions, authenticated, in one channel"
            yield (Figure.of(f"memory_{count}_kb", used[0], "kB/session", what, goal=MEMORY_GOAL_KB, floor=used[1]),)
            yield await self._publications(count, ours, floors, publisher)
        _close([*ours, *floors, publisher])
        await system.stop("floor")

    async def _publications(
        self, count: int, ours: list[LoadSession], floors: list[LoadSession], publisher: LoadSession
    ) -> Iterable[Figure]:
        async def publish() -> None:
            await self._system.router.publish(CHANNEL)

        async def send() -> None:
            publisher.send(fan_out.line + b"\n")

        fan_out = FanOut(ours, publish)
        got = await self._measure("ingress", fan_out.run)
        floor = await self._measure("floor", FanOut(floors, send).run)
        what = f"one publication of {len(fan_out.line)} bytes to {count} sessions, the next when all have it"
        ratio = got.cost / floor.cost
        return (
            got.rate_figure(f"fanout_{count}_per_s", "deliveries/s", what, floor),
            got.cost_figure(f"fanout_{count}_cpu_us", "us/delivery", what, floor),
            Figure.of(
                f"fanout_{count}_ratio",
                ratio,
                "x floor",
                "CPU time for each delivery, of the floor's with the same input and output",
                goal=FAN_OUT_GOAL,
                doubt=got.doubt or floor.doubt,
            ),
        )

    async def _readers(self, count: int) -> list[LoadSession]:
        sessions = await self._system.sessions(count, "floor")
        for session in sessions:
            session.send(b"reader\n")
        # Whatever was sent has arrived when a session that was opened later is accepted.
        _close(await self._system.sessions(1, "floor"))
        return sessions

    async def _websockets(self) -> Iterable[Figure]:
        system, count = self._system, self._plan.sizes[0]
        await system.start_gateway()
        opened = await system.websockets(FIRST_SESSIONS)
        before = system.processes["ingress"].resident_bytes()
        opened += await system.websockets(count)
        used = (system.processes["ingress"].resident_bytes() - before) / count / 1000
        for connection in opened:
            connection.transport.abort()
        what = f"resident memory for each of {count} idle WebSocket sessions, authenticated"
        return (Figure.of("memory_websocket_kb", used, "kB/session", what),)

    async def _workers(self) -> Iterable[Figure]:
        figures: list[Figure] = []
        one: Measured | None = None
        for workers in (1, 2):
            await self._system.start_gateway(workers)
            sessions = await self._system.sessions(WORKER_SESSIONS)
            got = await self._measure("ingress", ClosedLoop(sessions, 1).run)
            _close(sessions)
            what = (
                f"{workers} worker{'s' * (workers > 1)} on all cores, which the generator and Redis share; "
                f"{WORKER_SESSIONS} sessions, one message a packet; the floor is one worker"
            )
            figures += [
                got.rate_figure(f"workers_{workers}_per_s", "messages/s", what, one),
                got.cost_figure(f"workers_{workers}_cpu_us", "us/message", what, one),
            ]
            one = got
        return figures


async def _echoed(sessions: Sequence[LoadSession]) -> tuple[float, float]:
    """Datagrams that the echo server had from `sessions`; it drops none."""
    return float(sum([await session.answer_to(COUNT) for session in sessions])), 0.0


async def _settled(counts: Callable[[], Awaitable[tuple[float, float]]], patience: float) -> tuple[float, float]:
    """What `counts` gives when it changes no more."""
    last = await counts()
    async with asyncio.timeout(patience):
        while True:
            await asyncio.sleep(0.1)
            now = await counts()
            if now == last:
                return now
            last = now


def _close(sessions: Iterable[LoadSession]) -> None:
    for session in sessions:
        session.close()


async def measure(plan: Plan, options: Command) -> None:
    """Run the bench and print its figures."""
    end_on_sigterm()
    async with gateway_system() as running:
        async for group in GatewayBench(plan, running).figures():
            options.show(group)


def main() -> None:
    """The command line."""
    options = command(
        "One gateway: what it takes in, sends out and needs for it.",
        quick="one short run of each, in about a minute",
        about=f"messages of {MESSAGE_BYTES} bytes where nothing else is said",
        cores="one for the server under load, one for the generator",
    )
    # A socket for each session.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=exact_loop) as runner:
        runner.run(measure(QUICK if options.quick else FULL, options))


if __name__ == "__main__":
    main()
