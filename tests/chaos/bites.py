"""Three mistakes that the harness must find: `pytest tests/chaos/bites.py`.

A zero from a harness that has never found anything is worth nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.run import Result, run
from tests.chaos.schedule import FAULTS, Kind, schedule
from tests.chaos.world import World

pytestmark = pytest.mark.timeout(240)

#: How long it takes to see that a run does not come to rest: what is looked for is wrong by then.
DRAIN_S = 14.0
#: What `everysec` leaves out at most, without counting a disk that is busy.
EVERY_S = 1.0


async def _run(tmp_path: Path, kind: Kind, count: int, **options: Any) -> Result:
    planned = schedule(1, count, {"the fault": kind})
    return await run(1, planned, tmp_path, clients=12, rate=6.0, quiet=1.0, drain=DRAIN_S, **options)


@asynccontextmanager
async def power_cut(world: World, _: int) -> AsyncIterator[None]:
    """Redis ends, and the file has only what was in it a second ago: `everysec` promises no more.

    A killed process leaves what it wrote to the kernel, which a power cut does not. Which part of it was on disk
    cannot be asked, so all of the last second is taken to be missing.
    Source: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
    """
    folder: Any = await world.log.config_get("dir")
    (log,) = (Path(folder["dir"]) / "appendonlydir").glob("*.incr.aof")
    size = log.stat().st_size
    await asyncio.sleep(EVERY_S)
    await world.redis.kill()
    os.truncate(log, size)
    try:
        yield
    finally:
        await world.redis.start()


async def test_a_log_that_is_synced_every_second_loses_what_it_acknowledged(tmp_path: Path) -> None:
    """With `appendfsync everysec` a power cut takes acknowledged messages with it, and they are found missing."""
    result = await _run(tmp_path, Kind(power_cut, 0.1, 0.2), 1, appendfsync="everysec")
    lost = [one.text for one in result.found["acknowledged_is_handled"] if "is not in the log" in one.text]
    assert lost


async def test_a_client_that_retries_by_itself_is_found(tmp_path: Path) -> None:
    """With redis-py's default retries lost answers leave entries behind that are handled after later ones."""
    commands = {kind: ("-m", "tests.chaos.spoilt", "retries", kind) for kind in ("ingress", "processors", "egress")}
    result = await _run(tmp_path, FAULTS["Redis' answers lost"], 4, commands=commands)
    assert "reordered" in {one.sort for one in result.found["application_sees_the_order"]}


@asynccontextmanager
async def killed_in_the_middle(world: World, target: int) -> AsyncIterator[None]:
    """SIGKILL of processors while they wait for a slow application, with messages in hand."""
    async with FAULTS["application slow"].fault(world, 0):
        await asyncio.sleep(EVERY_S)
        async with FAULTS["processors killed"].fault(world, target):
            yield


async def test_a_reclaimer_that_ignores_the_order_is_found(tmp_path: Path) -> None:
    """If what an owner left pending is handled after what came later, sessions are seen out of order."""
    commands = {"processors": ("-m", "tests.chaos.spoilt", "newest_first", "processors")}
    result = await _run(tmp_path, Kind(killed_in_the_middle, 3.0, 4.0), 3, commands=commands)
    assert "reordered" in {one.sort for one in result.found["application_sees_the_order"]}


async def test_without_the_mistakes_nothing_is_found(tmp_path: Path) -> None:
    """The same faults on services and log as they are."""
    kinds = {name: FAULTS[name] for name in ("Redis killed", "Redis' answers lost")}
    planned = schedule(1, 6, kinds | {"killed in the middle": Kind(killed_in_the_middle, 3.0, 4.0)})
    result = await run(1, planned, tmp_path, clients=12, rate=6.0, quiet=1.0)
    assert not result.violations
