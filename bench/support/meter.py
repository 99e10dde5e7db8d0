"""CPU time between two moments: of each process, of the generator, and of whoever else uses the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from bench.support.machine import busy_seconds
from bench.support.processes import Process

#: A generator that used more of its core than this was perhaps the bottleneck itself.
BUSY_LIMIT: Final = 0.9
#: Others that used more of the machine than this have slowed down what was measured.
OTHERS_LIMIT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Used:
    """What was used between two moments."""

    seconds: float
    cpu: dict[str, float]
    """CPU seconds by process."""
    generator: float
    """Share of its core that the generator used, and with it what is pinned to the same core."""
    others: float
    """Share of all cores that belongs to nobody here."""

    @property
    def disturbed(self) -> bool:
        """Whether others used so much that it is worth measuring again."""
        return self.others > OTHERS_LIMIT

    @property
    def saturated(self) -> str:
        """That the generator was perhaps the bottleneck; empty when it was not."""
        busy = f"the generator's core was {self.generator:.0%} busy (limit {BUSY_LIMIT:.0%})"
        return busy if self.generator > BUSY_LIMIT else ""

    @property
    def disturbance(self) -> str:
        """That others slowed down what was measured; empty when they did not."""
        return f"others used {self.others:.0%} of the machine (limit {OTHERS_LIMIT:.0%})" if self.disturbed else ""

    @property
    def doubt(self) -> str:
        """Why what was measured meanwhile cannot be trusted; empty when it can."""
        return "; ".join(filter(None, (self.saturated, self.disturbance)))


class Meter:
    """Reads the clocks of `processes`."""

    def __init__(self, processes: Mapping[str, Process], beside_generator: Collection[str] = ()) -> None:
        """`beside_generator` names the processes that share the generator's core."""
        self._processes = processes
        self._beside = beside_generator
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._at, self._own, self._all = time.perf_counter(), time.process_time(), busy_seconds()
        self._cpu = self._read()

    def end(self) -> Used:
        """Until now."""
        seconds, own, everybody = (
            time.perf_counter() - self._at,
            time.process_time() - self._own,
            busy_seconds() - self._all,
        )
        cpu = {name: now - self._cpu[name] for name, now in self._read().items() if name in self._cpu}
        return Used(
            seconds=seconds,
            cpu=cpu,
            generator=(own + sum(cpu[name] for name in self._beside)) / seconds,
            others=max(0.0, everybody - own - sum(cpu.values())) / (seconds * (os.cpu_count() or 1)),
        )

    def _read(self) -> dict[str, float]:
        return {name: process.cpu_seconds() for name, process in self._processes.items() if process.runs}
