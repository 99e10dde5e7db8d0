"""A schedule: what is sent, what becomes of it, and what goes wrong when. All of it follows from the seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Final

from runtime import leases
from schemas.ids import derived
from tests.simulation.network import Weather

#: Until when faults happen, in virtual seconds.
FAULTS_END_S: Final = 4.0
_KINDS: Final = ("pause",) * 5 + ("stuck",) * 3 + ("die",) * 3 + ("vanish", "cut", "join", "join", "stop")
_CALM: Final = ("join", "stop")
#: Those that last, and those that can be told to happen when something is sent.
_LASTING: Final = ("pause", "stuck")
_CATCHING: Final = ("pause", "stuck", "die", "vanish", "cut")


def _sha(script: str) -> bytes:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


#: What a process can be about to send when something happens to it, and how it is recognised.
SENT: Final = {
    "XREADGROUP": b"XREADGROUP",
    "XADD": b"XADD",
    "XACK": b"XACK",
    "CLIENT KILL": b"KILL",
    "acquire": _sha(leases._ACQUIRE),
    "renew": _sha(leases._RENEW),
    "note": _sha(leases._READ_BY),
    "release": _sha(leases._RELEASE),
}
_SENT: Final = (*SENT, *("XREADGROUP",) * 5, "XADD", *("renew",) * 3, "release")


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
    catches: str = ""
    """One of `SENT`: it begins when the process sends that."""
    holds: bool = False
    """What the process had just written arrives after its pause only, or not at all if it dies."""

    @property
    def ends(self) -> float:
        """When it is over; what others do about a process that came or went is done in a third of a lease or so."""
        return self.at + (self.seconds or 0.8)

    def __str__(self) -> str:
        what = f"{self.at:.3f} {self.kind} {self.group}/{self.who:.2f} {self.seconds:.2f}s"
        return f"{what} {self.catches}{' held' * self.holds}"


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
    rough = chance.choice((0.0, 0.0, 0.005, 0.02)) * (not calm)
    faults = [_fault(chance, _CALM if calm else _KINDS) for _ in range(chance.randint(1, 3))]
    moments = [moment for fault in faults for moment in (fault.at, fault.ends)]
    sends = {f"s{number}": _times(chance, moments) for number in range(chance.choice((1, 1, 2)))}
    return Plan(
        partitions=chance.choice((1, 1, 2)),
        owners=chance.choice((1, 2, 2)),
        routers=chance.choice((1, 1, 2)),
        weather=Weather(rough, rough, rough * chance.choice((0.0, 0.5)), rough * chance.choice((0.0, 10.0))),
        sends=sends,
        fates={frame_id(one, n): _fate(chance, n) for one, times in sends.items() for n in range(len(times))},
        faults=sorted(faults, key=lambda fault: fault.at),
    )


def _times(chance: random.Random, moments: list[float]) -> list[float]:
    """When a session sends: most of it when something goes wrong, or is over."""
    times = [chance.uniform(0, 0.5)]
    for _ in range(chance.randint(4, 9)):
        near = chance.random() < 0.7
        at = chance.choice(moments) + chance.uniform(-0.3, 0.8) if near else chance.uniform(0, FAULTS_END_S)
        times += [max(0.0, at)] * chance.choice((1, 1, 1, 2))
    return sorted(times)


def _fate(chance: random.Random, n: int) -> Fate:
    seconds = chance.choice((0.0, 0.0, chance.uniform(0, 0.1), chance.uniform(0, 1.0)))
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
    lasts = kind in _LASTING
    group = chance.choice(("app", "app", "router"))
    if kind in ("pause", "cut") and chance.random() < 0.15:
        group = ""  # The gateway.
    # Less than a lease, about as long (so that it is in doubt), and more.
    lengths = chance.uniform(0.05, 1.4), chance.uniform(1.3, 2.3), chance.uniform(2.0, 4.4)
    catches = kind == "stuck" or (kind in _CATCHING and chance.random() < 0.7)
    return Fault(
        at=chance.uniform(0.3, FAULTS_END_S / 2 if lasts or catches else FAULTS_END_S),
        kind=kind,
        group=group,
        who=chance.random(),
        seconds=chance.choice(lengths) if lasts else 0.0,
        catches=chance.choice(_SENT) if catches else "",
        holds=(kind == "pause" and catches) or chance.random() < 0.5,
    )
