"""The `headgate` command as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def headgate(*arguments: str, env: dict[str, str], cwd: Path) -> AsyncIterator[Process]:
    """`headgate ARGUMENTS` with only these settings, ended with the block."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.cli"),
        *arguments,
        env=clean | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | env,
        cwd=cwd,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def outcome(*arguments: str, env: dict[str, str], cwd: Path) -> tuple[int, str, str]:
    """The exit status, output and errors of `headgate ARGUMENTS`."""
    async with headgate(*arguments, env=env, cwd=cwd) as process:
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()
