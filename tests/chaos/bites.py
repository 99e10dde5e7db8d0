"""Mistakes that the harness must find, beside the one in test_bite.py: `make bites`.

A zero from a harness that has never found anything is worth nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.run import run
from tests.chaos.schedule import FAULTS, Kind, schedule
from tests.chaos.test_bite import bitten
from tests.chaos.world import World

pytestmark = pytest.mark.timeout(420)


async def test_a_client_that_retries_by_itself_is_found(tmp_path: Path) -> None:
    """With redis-py's default retries lost answers leave entries behind that are handled after later ones."""
    commands = {kind: ("-m", "tests.chaos.spoilt", "retries", kind) for kind in ("ingress", "processors", "egress")}
    result = await bitten(tmp_path, FAULTS["Redis' answers lost"], 4, commands=commands)
    assert "reordered" in {one.sort for one in result.found["application_sees_the_order"]}


@asynccontextmanager
async def killed_in_the_middle(world: World, target: int) -> AsyncIterator[None]:
    """SIGKILL of processors while they wait for a slow application, with messages in hand; it is fast again when others
    take over."""
    async with AsyncExitStack() as stack:
        async with FAULTS["application slow"].fault(world, 0):
            await asyncio.sleep(1.0)
            await stack.enter_async_context(FAULTS["processors killed"].fault(world, target))
        yield


async def test_a_reclaimer_that_ignores_the_order_is_found(tmp_path: Path) -> None:
    """If what an owner left pending is handled after what came later, sessions are seen out of order."""
    commands = {"processors": ("-m", "tests.chaos.spoilt", "newest_first", "processors")}
    result = await bitten(tmp_path, Kind(killed_in_the_middle, 3.0, 4.0), 3, commands=commands)
    assert "reordered" in {one.sort for one in result.found["application_sees_the_order"]}


async def test_without_the_mistakes_nothing_is_found(tmp_path: Path) -> None:
    """The same faults on services and log as they are."""
    kinds = {name: FAULTS[name] for name in ("Redis killed", "Redis' answers lost")}
    planned = schedule(1, 6, kinds | {"killed in the middle": Kind(killed_in_the_middle, 3.0, 4.0)})
    result = await run(1, planned, tmp_path, clients=6, rate=5.0, quiet=1.0)
    assert not result.violations
