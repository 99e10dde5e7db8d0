"""The schedules of `make chaos`, which runs them against real processes."""

from __future__ import annotations

from tests.chaos.schedule import FAULTS, schedule


def test_a_seed_gives_the_same_schedule() -> None:
    """So a run can be made again; another seed gives another one."""
    assert schedule(1, 50) == schedule(1, 50)
    assert schedule(1, 50) != schedule(2, 50)


def test_a_long_schedule_has_every_kind() -> None:
    """Kinds come in turns: none waits for chance."""
    kinds = sum(kind.weight for kind in FAULTS.values())
    assert {one.name for one in schedule(1, kinds)} == set(FAULTS)
