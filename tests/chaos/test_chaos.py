"""A short run of the fault injection; `make chaos` runs longer ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.faults import FAULTS, schedule
from tests.chaos.run import run

#: All kinds would take longer; which ones come is the seed's to say.
FAULTS_TAKEN = 24
SEED = int(os.environ.get("CHAOS_SEED", "7"))


@pytest.mark.timeout(420)
async def test_nothing_is_lost_repeated_or_reordered(tmp_path: Path) -> None:
    """Processes die and sleep; network, log, application and archive fail; what must hold does."""
    planned = schedule(SEED, FAULTS_TAKEN)
    result = await run(SEED, planned, tmp_path, clients=10, rate=2.0, quiet=2.0)
    print(report.text(result))
    assert not result.violations, report.text(result)
    assert len(list(result.history.of("fault"))) == FAULTS_TAKEN
    assert len(list(result.history.of("ok"))) > 100


def test_a_seed_gives_the_same_schedule() -> None:
    """So a run can be made again; another seed gives another one."""
    assert schedule(1, 50) == schedule(1, 50)
    assert schedule(1, 50) != schedule(2, 50)


def test_a_long_schedule_has_every_kind() -> None:
    """Kinds come in turns: none waits for chance."""
    kinds = sum(kind.weight for kind in FAULTS.values())
    assert {one.name for one in schedule(1, kinds)} == set(FAULTS)
