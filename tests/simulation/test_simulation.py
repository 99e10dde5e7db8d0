"""The promises of docs/architecture.md hold in every schedule, and the simulation notices when they do not."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.simulation.mutations import MUTATIONS

#: Schedules that are run, in about 30 seconds.
SCHEDULES = 1000
#: Schedules in which each broken rule is noticed: the rarest shows in one of some 500.
WITHIN = 2000


async def _simulate(*arguments: str) -> tuple[int, str]:
    """Exit status and output of `python -m tests.simulation`: in a process of its own, since it replaces clocks."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.simulation",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_nothing_is_lost_repeated_or_swapped() -> None:
    """Every session sees what was sent once and in order, and nothing is left over, whatever goes wrong on the way."""
    status, output = await _simulate("--seeds", f"0:{SCHEDULES}")
    assert status == 0, output


async def test_a_schedule_is_the_same_each_time() -> None:
    """A seed gives the same schedule, the same interleaving and the same words, run after run."""
    first, second = await asyncio.gather(_simulate("7"), _simulate("7"))
    assert first == second


@pytest.mark.parametrize("name", sorted(MUTATIONS))
async def test_a_broken_rule_is_noticed(name: str) -> None:
    """With any one rule broken some schedule fails, and says which seed shows it."""
    status, output = await _simulate("--mutation", name, "--seeds", f"0:{WITHIN}")
    assert status == 1, output
    assert "is wrong:" in output
    assert "again: .venv/bin/python -m tests.simulation" in output
