"""A schedule: what is sent, what becomes of it, and what goes wrong when. All of it follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from schemas.ids import derived
from tests.simulation.network import Weather

#: Until when faults happen, in virtual seconds.
FAULTS_END_S: Final = 10.0
_KINDS: Final = ("pause", "pause", "caught", "caught", "caught", "die", "die", "vanish", "join", "join", "stop", "cut")
_CAUGHT: Final = (b"XREADGROUP", b"XREADGROUP", b"XREADGROUP", b"XADD", b"XACK", b"EVALSHA")


@dataclass(frozen=True, slots=True)
class Fate:
    """What the handler says of one entry, whichever process asks."""

    seconds: float = 0.0
    """How long it takes."""
    again: int = 0
    """How often it fails first."""
    later: int = 0
    """How often what it needs is away after that."""
    dead: bool = False
    poison: bool = False
    """It fails every time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to one process. `who` picks it among those of its kind that live."""

    at: float
    kind: str
    group: str
    who: float
    seconds: float = 0.0
    catches: bytes = b""
    """The command that it is about to send when its pause begins."""
    holds: bool = False
    """What the process had just written arrives after its pause only."""

    def __str__(self) -> str:
        what = f"{self.at:.3f} {self.kind} {self.group}/{self.who:.2f} {self.seconds:.2f}s"
        return f"{what} {self.catches.decode()}{' held' * self.holds}"


@dataclass(slots=True)
class Plan:
    """A schedule."""

    partitions: int
    owners: int
    routers: int
    weather: Weather
    sends: dict[str, list[float]]
    """When each session sends its frames."""
    fates: dict[str, Fate]
    faults: list[Fault] = field(default_factory=list)

    @property
    def calm(self) -> bool:
        """Processes come and go in good order, and that is all: then nothing is handled twice."""
        return self.weather == Weather() and all(fault.kind in ("join", "stop") for fault in self.faults)

    def __str__(self) -> str:
        lines = [
            f"partitions {self.partitions}, owners {self.owners}, routers {self.routers}, {self.weather}",
            *(f"{session} sends at {' '.join(f'{at:.2f}' for at in times)}" for session, times in self.sends.items()),
        ]
        for session, times in self.sends.items():
            for n in range(len(times)):
                if (fate := self.fates[frame_id(session, n)]) != Fate():
                    lines.append(f"{session} {n}: {fate}")
        return "\n".join([*lines, *map(str, self.faults)])


def frame_id(session: str, n: int) -> str:
    """The id of a session's `n`-th frame."""
    return derived(session, f"frame/{n}")


def plan(seed: int) -> Plan:
    """The schedule of `seed`."""
    chance = random.Random(f"plan {seed}")
    calm = chance.random() < 0.15
    rough = chance.choice((0.0, 0.0, 0.003, 0.01)) * (not calm)
    sends: dict[str, list[float]] = {}
    fates: dict[str, Fate] = {}
    for number in range(chance.randint(1, 3)):
        session, at, times = f"s{number}", chance.uniform(0, 2), []
        steady = chance.random() < 0.5
        for n in range(chance.randint(10, 18) if steady else chance.randint(3, 9)):
            times.append(at)
            at += chance.uniform(0.1, 0.8) if steady else chance.choice((0.0, 0.0, 0.02, chance.uniform(0, 2.5)))
            fates[frame_id(session, n)] = _fate(chance, n)
        sends[session] = times
    made = Plan(
        partitions=chance.choice((1, 1, 2, 3)),
        owners=chance.choice((1, 2, 2)),
        routers=chance.choice((1, 2)),
        weather=Weather(rough, rough, rough * chance.choice((0.0, 0.5))),
        sends=sends,
        fates=fates,
    )
    kinds = ("join", "stop") if calm else _KINDS
    faults = [_fault(chance, kinds) for _ in range(chance.randint(1, 6))]
    made.faults = sorted(faults, key=lambda fault: fault.at)
    return made


def _fate(chance: random.Random, n: int) -> Fate:
    seconds = chance.choice((0.0, 0.0, 0.0, 0.0, chance.uniform(0, 0.1), chance.uniform(0, 2.0)))
    kind = chance.random()
    if kind < 0.10:
        return Fate(seconds, again=chance.randint(1, 2))
    if kind < 0.20:
        return Fate(seconds, later=chance.randint(1, 2))
    if n > 0 and kind < 0.23:
        return Fate(seconds, dead=True)
    if n > 0 and kind < 0.25:
        return Fate(0.0, poison=True)
    return Fate(seconds)


def _fault(chance: random.Random, kinds: tuple[str, ...]) -> Fault:
    kind = chance.choice(kinds)
    pauses = kind in ("pause", "caught")
    group = chance.choice(("app", "router"))
    if kind in ("pause", "cut") and chance.random() < 0.15:
        group = ""  # The gateway.
    lengths = chance.uniform(0.05, 2), chance.uniform(3, 4.9), chance.uniform(3, 8)
    return Fault(
        at=chance.uniform(0.2, FAULTS_END_S / 2 if kind == "caught" else FAULTS_END_S),
        kind=kind,
        group=group,
        who=chance.random(),
        seconds=chance.choice(lengths) if pauses else 0.0,
        catches=chance.choice(_CAUGHT) if kind == "caught" else b"",
        holds=kind == "caught" or chance.random() < 0.6,
    )
