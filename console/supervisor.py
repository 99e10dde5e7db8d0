"""A tree of processes: children that are started, restarted when they die, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from console.printable import printable

#: Says a line for somebody: (name of the child, text).
Say = Callable[[str, str], None]

#: A child that ran so many seconds has recovered: its next restart waits as little as the first.
SETTLED_S: Final = 30.0
#: The longest line of a child that is passed on in one piece, in bytes.
LINE_LIMIT: Final = 65_536
_RESTART_BASE_S: Final = 0.5
_RESTART_CEILING_S: Final = 15.0
_LAST_WORDS_S: Final = 1.0
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_TIED: Final = str(Path(__file__).with_name("tied.py"))


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs."""

    name: str
    command: Sequence[str]
    """The first is the path of the executable."""
    environment: Mapping[str, str] | None = None
    """All of it; None for the parent's."""
    stop_seconds: float = 10.0
    """How long it may take after SIGTERM before it gets SIGKILL."""
    inherits: Sequence[int] = field(default=())
    """File descriptors that it keeps open."""


def headgate(*arguments: str) -> list[str]:
    """`headgate ARGUMENTS` of this very code, to be run in `environment`."""
    # -P: what lies in the working directory is not imported.
    return [sys.executable, "-P", "-m", "console.cli", *arguments]


def environment(**changes: str) -> dict[str, str]:
    """Ours with `changes`, in which this very code is found wherever a command is started."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


def tied(command: Sequence[str]) -> list[str]:
    """`command`, as a process that ends with this one, even when this one is killed (console.tied)."""
    return [sys.executable, "-I", "-S", _TIED, str(os.getpid()), *command]


def restart_delay(deaths: int) -> float:
    """Seconds before the restart after the `deaths`-th death in a row (1 or more)."""
    return min(_RESTART_CEILING_S, _RESTART_BASE_S * 2.0 ** min(deaths - 1, 10))


class Child:
    """One child; a Component. It ends with this process, even when that is killed (console.tied)."""

    def __init__(
        self,
        program: Program,
        say: Say,
        *,
        report: Say | None = None,
        gives_up: Callable[[int], bool] = lambda status: False,
    ) -> None:
        """`say` gets the child's lines; `report` what there is to say about it, by default `say` does.

        `gives_up` is asked with the exit status whether a restart is pointless.
        """
        self.program = program
        self._say = say
        self._report = report or say
        self._gives_up = gives_up
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.gave_up = asyncio.Event()
        """Set when it ended and is not started again."""
        self.last_line = ""
        """What it said last, for whoever explains its end."""

    @property
    def pid(self) -> int | None:
        """Of the running process, None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it; from now on it is started again whenever it dies."""
        self._stopping.clear()
        self._process = await self._spawn()
        self._watching = asyncio.create_task(self._watch(self._process), name=f"child-{self.program.name}")

    async def stop(self) -> None:
        """SIGTERM, wait, and SIGKILL when it takes longer than `stop_seconds`."""
        self._stopping.set()
        self.signal(signal.SIGTERM)
        if self._watching is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._watching), self.program.stop_seconds)
        except TimeoutError:
            self._tell(self._report, f"did not end within {self.program.stop_seconds:g} s: killed")
            self.signal(signal.SIGKILL)
            await self._watching

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to the process, if it runs."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _spawn(self) -> asyncio.subprocess.Process:
        # A process group of its own: Ctrl-C in a terminal is for the parent, which ends them in order.
        return await asyncio.create_subprocess_exec(
            *tied(self.program.command),
            env=self.program.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
            pass_fds=self.program.inherits,
        )

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        loop, deaths = asyncio.get_running_loop(), 0
        while True:
            started = loop.time()
            talking = asyncio.create_task(self._pass_on(process))
            status = await process.wait()
            # A process that it left behind may keep its output open for long.
            await asyncio.wait({talking}, timeout=_LAST_WORDS_S)
            talking.cancel()
            if self._stopping.is_set():
                return
            if self._gives_up(status):
                self.gave_up.set()
                return
            deaths = 1 if loop.time() - started >= SETTLED_S else deaths + 1
            restarted = await self._restart(how_it_ended(status), deaths)
            if restarted is None:
                return
            process = restarted

    async def _restart(self, why: str, deaths: int) -> asyncio.subprocess.Process | None:
        """Start it again, with as many attempts as that takes; None when it is to stop meanwhile."""
        for failures in itertools.count(deaths):
            delay = restart_delay(failures)
            self._tell(self._report, f"{why}: starting it again in {delay:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            if self._stopping.is_set():
                break
            try:
                process = self._process = await self._spawn()
            except OSError as error:  # No memory or no more processes now, say, or its executable is being replaced.
                why = f"cannot be started: {error.strerror}"
                continue
            if self._stopping.is_set():  # Asked while it was being made.
                self.signal(signal.SIGTERM)
            return process
        return None

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        """Say what it writes, line by line, until it closes its output."""
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(LINE_LIMIT):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) >= LINE_LIMIT:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._say_line(line)
        self._say_line(rest)

    def _say_line(self, raw: bytes) -> None:
        text = printable(_COLOURS.sub("", raw.decode(errors="replace")).rstrip().expandtabs())
        if text:
            self.last_line = text
            self._tell(self._say, text)

    def _tell(self, say: Say, text: str) -> None:
        # What cannot be said is dropped (a disk is full, a terminal gone): a child that nobody reads from any more
        # stops where it writes.
        with contextlib.suppress(OSError, ValueError):
            say(self.program.name, text)


def how_it_ended(status: int) -> str:
    """In words, after the name of the process."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
