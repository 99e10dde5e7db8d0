"""One schedule, from its seed to what was wrong in the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from runtime.settings import Settings
from tests.simulation import check, inside
from tests.simulation.network import Link, Network, Weather
from tests.simulation.plan import FAULTS_END_S, SENT, Fault, Plan, plan
from tests.simulation.processes import GROUP, ROUTER, Application, Gateway, Owner, Running
from tests.simulation.twin.server import Server
from tests.simulation.world import EPOCH_S, Runaway, World

#: How long everything may take once nothing goes wrong any more, in virtual seconds.
_DRAIN_S: Final = 150.0
_STOP_S: Final = 30.0
#: What processes leave behind lapses within ten leases.
_LAPSE_S: Final = 45.0


@dataclass(slots=True)
class Result:
    """What a schedule came to."""

    seed: int
    plan: Plan
    violations: list[str]
    faults: Counter[str]
    seconds: float
    """Virtual time that it took."""
    trace: list[str]


class Simulation:
    """A schedule that is being carried out."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.plan = plan(seed)
        self.world = World(seed)
        self.world.trace = [] if trace else None
        inside.enter(self.world, random.Random(f"inside {seed}"))
        self.server = Server(self.world.milliseconds, lambda ms, then: self.world.at(ms / 1000 - EPOCH_S, then))
        self.server.refuses = self._refuses
        self.network = Network(self.world, self.server.connect)
        self.settings = _settings(self.plan.partitions)
        self.application = Application(self.plan)
        self.faults: Counter[str] = self.network.faults
        self.running: list[Owner] = []
        self._number = 0
        for _ in range(self.plan.owners):
            self._join(GROUP)
        for _ in range(self.plan.routers):
            self._join(ROUTER)
        self.gateway = Gateway(self.world, self.network, self.settings, self.plan)
        self.network.weather = self.plan.weather
        for fault in self.plan.faults:
            self.world.at(fault.at, self._doer(fault))

    def run(self) -> list[str]:
        """Let the faults happen, heal, drain, stop; gives what was wrong."""
        try:
            self.world.run(lambda: self.world.now >= FAULTS_END_S, FAULTS_END_S)
            self._heal()
            drained = self.world.run(lambda: check.drained(self) and check.settled(self), self.world.now + _DRAIN_S)
            problems = [problem for owner in self._of("") if (problem := owner.problem())]
            if not drained:
                return ["not drained", *problems, *check.wrong(self)]
            for owner in self.running:
                owner.stop()
            stopped = self.world.run(lambda: all(o.stopped for o in self.running), self.world.now + _STOP_S)
            errors = [error for process in self.world.processes for error in process.errors]
            # What was on its way in the moment of the stop arrives, and ends by itself.
            self.gateway.die(silent=True)
            lapsed = self.world.now + _LAPSE_S
            self.world.run(lambda: self.world.now >= lapsed, lapsed, _LAPSE_S)
        except Runaway as error:
            return [f"something runs in circles {error}"]
        return [*problems, *errors, *([] if stopped else ["not stopped"]), *check.wrong(self)]

    def _join(self, kind: str) -> None:
        self._number += 1
        name = f"{kind}{self._number}"
        self.world.say(f"{name} joins")
        handle = self.application.of(name, self.world)
        self.running.append(Owner(self.world, self.network, self.settings, name, kind, handle))

    def _of(self, group: str) -> list[Owner]:
        return [o for o in self.running if group in ("", o.kind) and not o.stopped]

    def _doer(self, fault: Fault) -> Callable[[], None]:
        return lambda: self._do(fault)

    def _do(self, fault: Fault) -> None:
        there: list[Running] = [*self._of(fault.group)] if fault.group else [self.gateway]
        if fault.kind == "join":
            self.faults["join"] += 1
            self._join(fault.group)
        elif there:
            if fault.catches and fault.group:
                there = [o for o in self._of(fault.group) if o.group is not None and o.group.owned()] or there
            self._do_to(there[int(fault.who * len(there))], fault)

    def _do_to(self, one: Running, fault: Fault) -> None:
        self.world.say(f"{one.name}: {fault}")
        if fault.catches:
            self.network.catch[one.process] = SENT[fault.catches], lambda link: self._act(one, fault, link)
        else:
            self._act(one, fault, None)

    def _act(self, one: Running, fault: Fault, link: Link | None) -> None:
        self.faults[f"{fault.kind} at {fault.catches}" if link else fault.kind] += 1
        self.world.say(f"{one.name}: {fault.kind}")
        match fault.kind:
            case "pause":
                self._pause(one, fault)
            case "stuck" if link is not None:
                link.hold(self.world.now + fault.seconds)
            case "cut":
                for each in [link] if link else self.network.of(one.process):
                    each.cut()
            case "stop" if isinstance(one, Owner):
                one.stop()
            case "die" | "vanish" if isinstance(one, Owner) and one in self.running:
                one.die(silent=fault.kind == "vanish", unsent=fault.holds)
                self.running.remove(one)

    def _pause(self, one: Running, fault: Fault) -> None:
        until = self.world.now + fault.seconds
        one.process.pause()
        if fault.holds:
            for link in self.network.of(one.process):
                link.hold(until + self.network.latency())
        self.world.at(until, lambda: self._wake(one))

    def _wake(self, one: Running) -> None:
        if one.process.paused:
            one.process.resume()
            self.world.say(f"{one.name} wakes")

    def _refuses(self, command: list[bytes]) -> bool:
        of_a_topic = command[0] == b"EVALSHA" and command[2] == b"7"  # No other script has as many keys.
        if not of_a_topic or self.world.random.random() >= self.network.weather.no_memory:
            return False
        self.faults["no memory"] += 1
        self.world.say("no memory for a topic's script")
        return True

    def _heal(self) -> None:
        self.world.say("healed")
        self.network.weather = Weather()
        self.network.catch.clear()
        for kind in (GROUP, ROUTER):
            if all(owner.stopping for owner in self._of(kind)):
                self._join(kind)


def simulate(seed: int, *, trace: bool = False) -> Result:
    """Carry out the schedule of `seed`."""
    simulation = Simulation(seed, trace=trace)
    violations = simulation.run()
    world = simulation.world
    for process in world.processes:
        process.alive = False
    return Result(seed, simulation.plan, violations, simulation.faults, world.now, world.trace or [])


@cache
def _settings(partitions: int) -> Settings:
    return Settings(partitions=partitions, lease_seconds=3.0, drain_seconds=10.0, _env_file=None)
