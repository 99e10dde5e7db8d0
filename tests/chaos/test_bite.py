"""A mistake that the harness must find: what a log that is synced every second loses. The others are in bites.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.chaos.run import Result, run
from tests.chaos.schedule import Kind, schedule
from tests.chaos.world import World

#: How long it takes to see that a run does not come to rest: what is looked for is wrong by then.
DRAIN_S: Final = 14.0
#: What `everysec` leaves out at most, without counting a disk that is busy.
EVERY_S: Final = 1.0


async def bitten(tmp_path: Path, kind: Kind, count: int, **options: Any) -> Result:
    """A run of one kind of fault, `count` times; `options` are the world's."""
    planned = schedule(1, count, {"the fault": kind})
    return await run(1, planned, tmp_path, clients=6, rate=5.0, quiet=1.0, drain=DRAIN_S, **options)


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
    result = await bitten(tmp_path, Kind(power_cut, 0.1, 0.2), 1, appendfsync="everysec")
    lost = [one.text for one in result.found["acknowledged_is_handled"] if "is not in the log" in one.text]
    assert lost
