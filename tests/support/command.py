"""The `headgate` command as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Of one command, its replay or its rewriting of a log included (seconds).
TIMEOUT_S = 90


@asynccontextmanager
async def headgate(*arguments: str, env: dict[str, str], cwd: Path, typed: str = "") -> AsyncIterator[Process]:
    """`headgate ARGUMENTS` with only these settings, ended with the block; `typed`: what its standard input has."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.cli"),
        *arguments,
        env=clean | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | env,
        cwd=cwd,
        stdin=PIPE if typed else None,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=_as_in_a_terminal,
    )
    if process.stdin is not None:
        process.stdin.write(typed.encode())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _as_in_a_terminal() -> None:
    """Ctrl-C counts, also where the tests run in the background: what a shell starts there ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def outcome(*arguments: str, env: dict[str, str], cwd: Path) -> tuple[int, str, str]:
    """The exit status, output and errors of `headgate ARGUMENTS`."""
    async with headgate(*arguments, env=env, cwd=cwd) as process:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()
