"""Virtual time, and the processes that live in it.

Every process has an event loop of its own, so that what asyncio promises within a process (what was called first runs
first) stays true, and everything else is chance: whose turn it is, how long a packet takes, which of several readable
connections comes first. The chance is seeded.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

#: Virtual Unix time at the beginning, in seconds.
EPOCH_S: Final = 1_700_000_000.0
#: Turns of processes without time going on, after which something runs in circles.
_CIRCLES: Final = 100_000


class Runaway(Exception):
    """Callbacks go on without waiting for anything."""


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    _numbers = itertools.count()

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
    task = SimulatedTask(coro, loop=loop, **options)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # a process that dies takes its tasks along
    return task


class Process(asyncio.BaseEventLoop):
    """The event loop of one process. It is run by `World`, one turn at a time."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self._world = world
        self._ready: Any
        self._scheduled: Any
        self.name = name
        self.alive = True
        self.paused = False
        self.errors: list[str] = []
        """What no task took: exceptions of callbacks and of tasks that nobody awaited."""
        self.set_task_factory(_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._world.now

    def receive(self, callback: Callable[[], None]) -> None:
        """Something arrived; it is looked at in the next turn."""
        if self.alive:
            self.call_soon(callback)

    def wakes(self) -> float | None:
        """When there is something to do; None: never."""
        if self._ready:
            return self._world.now
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        return scheduled[0]._when if scheduled else None

    def turn(self) -> None:
        """What asyncio does in one turn: timers that are due become ready, then what is ready runs."""
        now = self._world.now
        while self._scheduled and self._scheduled[0]._when <= now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)
        outside = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            asyncio._set_running_loop(outside)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _write_to_self(self) -> None:
        """There is no selector to wake."""

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.alive and (error := context.get("exception")) is not None:
            self.errors.append(f"{self.name}: {context['message']}: {error!r}")


class World:
    """Time, chance, processes, and what happens at which time."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.processes: list[Process] = []
        self.trace: list[str] | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        """Seconds, as time.monotonic gives them in every process."""
        return self.now

    def milliseconds(self) -> int:
        """Unix time in ms."""
        return int((EPOCH_S + self.now) * 1000)

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Have `callback` happen outside of all processes."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), callback))

    def process(self, name: str) -> Process:
        """A new process."""
        process = Process(self, name)
        self.processes.append(process)
        return process

    def remove(self, process: Process) -> None:
        """Its callbacks never run again."""
        process.alive = False
        self.processes.remove(process)

    def say(self, text: str) -> None:
        """Write down what happens, if anybody wants to know."""
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f} {text}")

    def run(self, until: Callable[[], bool], deadline: float, every: float = 0.25) -> bool:
        """Let time go on until `until` holds, which is looked at now and then; False at `deadline`."""
        look, turns = self.now, 0
        while True:
            if self.now >= look:
                if until():
                    return True
                look = self.now + every
            awake = [p for p in self.processes if not p.paused and (at := p.wakes()) is not None and at <= self.now]
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            elif awake:
                (awake[0] if len(awake) == 1 else self.random.choice(awake)).turn()
            else:
                turns = 0
                times = [at for p in self.processes if not p.paused and (at := p.wakes()) is not None]
                if self._events:
                    times.append(self._events[0][0])
                following = min([*times, look])
                if following > deadline:
                    return until()
                self.now = max(self.now, following)
            turns += 1
            if turns > _CIRCLES:
                raise Runaway(f"at {self.now}")
