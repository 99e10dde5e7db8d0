"""Children: started, restarted, ended, and never left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from console import supervisor
from console.supervisor import Child, Program, restart_delay
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
#: Says its process id, then waits; ends at SIGTERM.
WAITS = "import os, signal; print('pid', os.getpid(), flush=True); signal.pause()"
#: The same, but stays at SIGTERM.
STAYS = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('stays', flush=True)\n" + (
    "while True: signal.pause()"
)
#: Stays at SIGTERM too, and writes more than a pipe holds.
TALKS = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: print('y' * 99, flush=True)"
#: Starts a child that waits, and waits itself.
PARENT = f"""
import asyncio, sys
from console.supervisor import Child, Program

async def main():
    child = Child(Program("inner", [sys.executable, "-c", {WAITS!r}]), lambda name, text: print(text, flush=True))
    await child.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Children:
    """Makes children of Python code and remembers what they say."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.unsayable: Callable[[str], Exception | None] = lambda text: None
        """Why a line cannot be said."""
        self._made: list[Child] = []

    async def start(self, code: str, *, stop_seconds: float = 10.0, gives_up: bool = False) -> Child:
        """A started child."""
        program = Program("child", [sys.executable, "-c", code], stop_seconds=stop_seconds)
        child = Child(program, self._say, gives_up=lambda status: gives_up)
        self._made.append(child)
        await child.start()
        return child

    async def stop(self) -> None:
        """End all of them."""
        for child in self._made:
            await child.stop()

    def heard(self, text: str) -> bool:
        """Whether a line with `text` was said."""
        return any(text in line for line in self.said)

    def _say(self, _: str, text: str) -> None:
        if error := self.unsayable(text):
            raise error
        self.said.append(text)


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    """Children that are ended with the test."""
    made = Children()
    yield made
    await made.stop()


def ended(pid: int) -> bool:
    """Whether the process is no more; one that only waits for its parent to notice counts as ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def test_a_child_keeps_the_id_it_was_started_with(children: Children) -> None:
    """The process that is signalled is the program itself, not something around it."""
    child = await children.start(WAITS)
    await eventually(lambda: children.heard(f"pid {child.pid}"))


async def test_a_child_that_dies_is_started_again(children: Children) -> None:
    """A killed child runs again under another process id, and it is said how it ended."""
    child = await children.start(WAITS)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: child.pid not in (None, first))
    assert children.heard("was ended by SIGKILL: starting it again in 0.5 s")
    await eventually(lambda: children.heard(f"pid {child.pid}"))


async def test_a_pointless_restart_is_not_tried(children: Children) -> None:
    """A child whose status says that it cannot work is left, with its last words kept."""
    child = await children.start("import sys; sys.exit('it cannot work')", gives_up=True)
    await asyncio.wait_for(child.gave_up.wait(), 10)
    assert child.pid is None
    assert child.last_line == "it cannot work"


async def test_stopping_ends_it_for_good(children: Children) -> None:
    """A stopped child is gone, and stays so."""
    child = await children.start(WAITS)
    pid = child.pid
    assert pid is not None
    await child.stop()
    assert ended(pid)
    assert child.pid is None
    assert not children.heard("again")


async def test_a_child_that_ignores_sigterm_is_killed(children: Children) -> None:
    """After its time to stop, a child is killed, and that is said."""
    child = await children.start(STAYS, stop_seconds=0.2)
    await eventually(lambda: children.heard("stays"))
    await child.stop()
    assert child.pid is None
    assert children.heard("did not end within 0.2 s: killed")


async def test_stopping_between_two_lives_is_possible(children: Children) -> None:
    """A child that waits for its restart is not started any more once it is stopped."""
    child = await children.start("raise SystemExit(3)")
    await eventually(lambda: children.heard("ended with status 3"))
    await child.stop()
    assert child.pid is None


def no_process(*_: object, **__: object) -> asyncio.subprocess.Process:
    """As `create_subprocess_exec` where there is no room for one."""
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


async def test_a_restart_that_fails_is_tried_again(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for a process it is said, and once there is it runs again."""
    child = await children.start(WAITS)
    first = child.pid
    assert first is not None
    with monkeypatch.context() as full:
        full.setattr(asyncio, "create_subprocess_exec", no_process)
        os.kill(first, signal.SIGKILL)
        unavailable = "cannot be started: Resource temporarily unavailable: starting it again in 1 s"
        await eventually(lambda: children.heard(unavailable))
    await eventually(lambda: children.heard(f"pid {child.pid}") and child.pid != first)


async def test_one_that_cannot_be_started_is_stopped_at_once(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is not waited for, as it has come, and no error of the attempts comes out of it."""
    monkeypatch.setattr(supervisor, "restart_delay", lambda deaths: 0.0 if deaths == 1 else 600.0)
    child = await children.start("raise SystemExit(3)")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process)
    await eventually(lambda: children.heard("starting it again in 600 s"))
    await child.stop()
    assert child.pid is None
    assert not children.heard("killed")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a closed file")])
async def test_a_line_that_cannot_be_said_is_dropped(children: Children, error: Exception) -> None:
    """Those after it are said nevertheless: otherwise the child would stop where it writes."""
    children.unsayable = lambda text: error if text.startswith("y") else None
    await children.start("for n in range(20_000): print('y' * 99)\n" + WAITS)
    await eventually(lambda: children.heard("pid"))


async def test_one_that_cannot_be_heard_is_ended(children: Children) -> None:
    """Where nothing can be said at all, a child that writes without an end and ignores SIGTERM is killed."""
    heard = asyncio.Event()

    def unsayable(_: str) -> Exception:
        heard.set()
        return OSError(errno.EPIPE, "Broken pipe")

    children.unsayable = unsayable
    child = await children.start(TALKS, stop_seconds=0.2)
    await heard.wait()
    async with asyncio.timeout(10):
        await child.stop()
    assert child.pid is None


async def test_lines_are_made_printable(children: Children) -> None:
    """A child's line breaks no terminal: colours are dropped, control characters shown, long lines cut in pieces."""
    await children.start("print('\\x1b[31mred\\x1b[0m\\tx\\x07'); print('y' * 200_000, flush=True)\n" + WAITS)
    await eventually(lambda: children.heard("pid"))
    assert children.said[0] == "red     x\\x07"
    assert all(len(line) <= 2 * 65_536 for line in children.said)
    assert sum(line.count("y") for line in children.said) == 200_000


async def test_children_do_not_survive_their_parent() -> None:
    """When the parent is killed, without a chance to do anything, its child ends too."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=-1
    )
    try:
        assert parent.stdout is not None
        line = await asyncio.wait_for(parent.stdout.readline(), 10)
        pid = int(line.split()[1])
        assert not ended(pid)
    finally:
        parent.kill()
        await parent.wait()
    await eventually(lambda: ended(pid))


def test_restarts_wait_longer_each_time() -> None:
    """Delays double up to a bound."""
    assert [restart_delay(deaths) for deaths in (1, 2, 3, 6, 50)] == [0.5, 1.0, 2.0, 15.0, 15.0]
