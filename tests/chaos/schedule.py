"""Which faults there are, and which of them come when."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos.dying import POINTS
from tests.chaos.faults import (
    TWO_HOURS,
    Fault,
    application,
    archive_full,
    archive_locked,
    asleep,
    clients_killed,
    clock_off,
    clock_stepping,
    failed_over,
    killed,
    killed_at,
    network,
    network_cut,
    redis_asleep,
    redis_killed,
    redis_link,
    redis_paused,
    redis_silent,
    redis_unreachable,
    stopped,
)
from tests.chaos.links import Weather


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    fault: Fault
    shortest: float
    """Seconds that it lasts at least and at most."""
    longest: float
    weight: int = 1
    """How often it comes in a turn of all kinds."""


#: Leases are 2 s (partitions) and 3 s (gateways) here.
FAULTS: Final[dict[str, Kind]] = {
    "gateway killed": Kind(killed("ingress"), 0.0, 3.0, 2),
    "gateway stopped": Kind(stopped("ingress"), 0.5, 2.0),
    "gateway asleep, within its lease": Kind(asleep("ingress"), 0.2, 1.2),
    "gateway asleep, past its lease": Kind(asleep("ingress"), 4.0, 7.0),
    "gateway cut off from Redis": Kind(redis_unreachable("ingress"), 0.2, 5.0),
    "gateway's Redis silent": Kind(redis_silent("ingress"), 0.5, 7.0),
    "processors killed": Kind(killed("processors"), 0.0, 3.0, 2),
    "processors stopped": Kind(stopped("processors"), 0.5, 2.0),
    "processors asleep, within the lease": Kind(asleep("processors"), 0.1, 1.2),
    "processors asleep, past the lease": Kind(asleep("processors"), 3.0, 6.0, 2),
    "processors cut off from Redis": Kind(redis_unreachable("processors"), 0.2, 4.0),
    "processors' Redis silent": Kind(redis_silent("processors"), 0.5, 7.0),
    "egress killed": Kind(killed("egress"), 0.0, 3.0, 2),
    "egress stopped": Kind(stopped("egress"), 0.5, 2.0),
    "egress asleep, within the lease": Kind(asleep("egress"), 0.1, 1.2),
    "egress asleep, past the lease": Kind(asleep("egress"), 3.0, 6.0, 2),
    "egress cut off from Redis": Kind(redis_unreachable("egress"), 0.2, 4.0),
    "egress' Redis silent": Kind(redis_silent("egress"), 0.5, 7.0),
    "gateway's clock two hours back": Kind(clock_off("ingress", -TWO_HOURS), 1.0, 4.0),
    "gateway's clock two hours ahead": Kind(clock_off("ingress", TWO_HOURS), 1.0, 4.0),
    "gateway's clock steps": Kind(clock_stepping("ingress"), 1.0, 4.0),
    "processors' clock two hours back": Kind(clock_off("processors", -TWO_HOURS), 1.0, 4.0),
    "processors' clock two hours ahead": Kind(clock_off("processors", TWO_HOURS), 1.0, 4.0),
    "processors' clock steps": Kind(clock_stepping("processors"), 1.0, 4.0),
    "egress' clock two hours back": Kind(clock_off("egress", -TWO_HOURS), 1.0, 4.0),
    "egress' clock two hours ahead": Kind(clock_off("egress", TWO_HOURS), 1.0, 4.0),
    "egress' clock steps": Kind(clock_stepping("egress"), 1.0, 4.0),
    **{
        f"{name} killed {point}": Kind(killed_at(kind, point), 0.0, 3.0)
        for name, kind in (("gateway", "ingress"), ("processors", "processors"), ("egress", "egress"))
        for point in POINTS[kind]
    },
    "Redis killed": Kind(redis_killed, 0.0, 2.0, 2),
    "Redis asleep": Kind(redis_asleep, 0.5, 6.0),
    "Redis slow": Kind(redis_link(Weather(delay=0.03)), 1.0, 4.0),
    "Redis' answers lost": Kind(redis_link(Weather(loss=0.05)), 1.0, 4.0, 2),
    "CLIENT KILL of all": Kind(clients_killed, 0.0, 0.1),
    "CLIENT PAUSE": Kind(redis_paused(True), 0.5, 6.0),
    "CLIENT PAUSE of writes": Kind(redis_paused(False), 0.5, 6.0),
    "network cut": Kind(network_cut, 0.5, 7.0, 2),
    "packets lost": Kind(network(Weather(loss=0.2)), 2.0, 5.0),
    "packets late and out of order": Kind(network(Weather(delay=0.05, jitter=0.1)), 2.0, 5.0),
    "packets repeated": Kind(network(Weather(repeat=0.3, jitter=0.02)), 2.0, 5.0),
    "packets corrupted": Kind(network(Weather(corrupt=0.1)), 2.0, 5.0),
    "application killed": Kind(killed("application"), 0.0, 3.0),
    "application asleep": Kind(asleep("application"), 1.0, 4.0),
    "application slow": Kind(application("slow"), 1.0, 4.0),
    "application answers 500": Kind(application("500"), 1.0, 4.0),
    "application answers 500 to some": Kind(application("500", 0.3), 2.0, 5.0),
    "application answers 503": Kind(application("503"), 1.0, 4.0),
    "application does not answer some": Kind(application("hang", 0.2), 2.0, 5.0),
    "application applies, then drops": Kind(application("drop", 0.5), 1.0, 4.0, 2),
    "application applies, then is silent": Kind(application("hang-after", 0.2), 2.0, 5.0),
    "archive locked": Kind(archive_locked, 1.0, 8.0),
    "archive's disk full": Kind(archive_full, 1.0, 4.0),
}
#: In a world under Sentinel, in the place of all that is done to the one server or on the way to it.
SENTINEL: Final = {name: kind for name, kind in FAULTS.items() if "Redis" not in name and "CLIENT" not in name} | {
    "Sentinel fails over": Kind(failed_over, 0.5, 3.0, 10)
}
#: Nothing but SIGKILL.
KILLS: Final = {name: kind for name, kind in FAULTS.items() if " killed" in name}


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a schedule."""

    name: str
    fault: Fault
    target: int
    seconds: float
    gap: float
    """Quiet after it, in seconds."""
    waits: bool
    """Whether the next one comes only after the system has recovered from this one."""


def schedule(seed: int, count: int, kinds: Mapping[str, Kind] = FAULTS) -> list[Planned]:
    """`count` faults: every kind in turns of random order as far as `count` reaches, weighted ones more often."""
    dice = random.Random(seed)
    bag: list[str] = []
    planned = []
    for _ in range(count):
        if not bag:
            bag = [name for name, kind in kinds.items() for _ in range(kind.weight)]
            dice.shuffle(bag)
        name = bag.pop()
        kind = kinds[name]
        seconds, gap = dice.uniform(kind.shortest, kind.longest), dice.uniform(0.2, 1.5)
        planned.append(Planned(name, kind.fault, dice.randrange(2), seconds, gap, dice.random() < 0.6))
    return planned
