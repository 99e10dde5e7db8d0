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
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
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
    _number: int

    def __hash__(self) -> int:
        # asyncio asks for it when it makes the task: before anything could be set.
        try:
            return self._number
        except AttributeError:
            self._number = next(self._numbers)
            return self._number


class Handle:
    """A callback of a process; called by the world when its time has come."""

    __slots__ = ("_process", "args", "callback", "cancelled", "context")

    def __init__(self, process: Process, callback: Callable[..., object], args: Any, context: Context | None) -> None:
        self._process = process
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context  # An empty one is false.
        self.cancelled = False

    def cancel(self) -> None:
        """It is passed over when its turn comes."""
        self.cancelled = True

    def __call__(self) -> None:
        if not self.cancelled:
            self._process.ready(self)


class Process(asyncio.AbstractEventLoop):
    """The event loop of one process: as much of one as is needed. It is run by `World`, one turn at a time."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._ready: deque[Handle] = deque()
        self._awake = False
        self.name = name
        self.alive = True
        self.paused = False
        self.errors: list[str] = []
        """What no task took: exceptions of callbacks and of tasks that nobody awaited."""

    def pause(self) -> None:
        """Run nothing more, from the next callback on."""
        self.paused = True

    def resume(self) -> None:
        """Go on; what was to happen meanwhile happens now."""
        self.paused = False
        self._wake()

    def rest(self) -> None:
        """Have no turn for now."""
        if self._awake:
            self._awake = False
            self._world.awake.remove(self)

    def ready(self, handle: Handle) -> None:
        """Have it run in the next turn."""
        self._ready.append(handle)
        self._wake()

    def receive(self, look: Callable[[], None]) -> None:
        """Something arrived, and is looked at as soon as the process runs."""
        if self.paused:
            self.call_soon(look)
        elif self.alive:
            look()

    def turn(self) -> None:
        """What asyncio does in one turn: what is ready now runs."""
        ready = self._ready
        outside = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(ready)):
                if self.paused or not self.alive:
                    break
                handle = ready.popleft()
                if handle.cancelled:
                    continue
                try:
                    handle.context.run(handle.callback, *handle.args)
                except (SystemExit, KeyboardInterrupt, Runaway):
                    raise
                except BaseException as error:  # As asyncio does: it ends the callback, not the loop.
                    self.call_exception_handler({"message": f"in {handle.callback!r}", "exception": error})
        finally:
            asyncio._set_running_loop(outside)
        if self.paused or not ready:
            self.rest()

    def _wake(self) -> None:
        if not self._awake and self._ready and self.alive and not self.paused:
            self._awake = True
            self._world.awake.append(self)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._world.now

    def call_soon(  # type: ignore[override]  # its handles are our own
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(self, callback, args, context)
        self._ready.append(handle)
        if not self._awake:
            self._wake()
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_at(self._world.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(self, callback, args, context)
        self._world.at(when, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> Any:  # type: ignore[override]
        task = SimulatedTask(coro, loop=self, **options)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a process that dies takes its tasks along
        return task

    def get_debug(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return not self.alive

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.alive and (error := context.get("exception")) is not None:
            self.errors.append(f"{self.name}: {context['message']}: {error!r}")


class World:
    """Time, chance, processes, and what happens at which time."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.processes: list[Process] = []
        self.awake: list[Process] = []
        """Those that have something to run now."""
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
        process = Process(self, name)  # type: ignore[abstract]  # it has what is asked of it
        self.processes.append(process)
        return process

    def remove(self, process: Process) -> None:
        """Its callbacks never run again."""
        process.alive = False
        self.processes.remove(process)
        process.rest()

    def say(self, text: str) -> None:
        """Write down what happens, if anybody wants to know."""
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f} {text}")

    def run(self, until: Callable[[], bool], deadline: float, every: float = 0.25) -> bool:
        """Let time go on until `until` holds, which is looked at now and then; False at `deadline`."""
        look, turns, events, awake, chance = self.now, 0, self._events, self.awake, self.random.random
        while True:
            if self.now >= look:
                if until():
                    return True
                look = self.now + every
            if events and events[0][0] <= self.now:
                heapq.heappop(events)[2]()
            elif awake:
                awake[int(chance() * len(awake)) if len(awake) > 1 else 0].turn()
            else:
                turns = 0
                following = min(events[0][0], look) if events else look
                if following > deadline:
                    return until()
                self.now = max(self.now, following)
            turns += 1
            if turns > _CIRCLES:
                raise Runaway(f"at {self.now}")
