"""The scenarios without sockets, processes or Redis."""

from __future__ import annotations

import pytest

from ingress import open_session
from tests.scenarios import ending, greeting, resuming, talking
from tests.scenarios.core import Clock, CoreWorld
from tests.scenarios.world import SCENARIOS, Scenario

ALL = (ending, greeting, resuming, talking)
assert {scenario.__module__ for scenario in SCENARIOS} == {module.__name__ for module in ALL}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_core(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence of each scenario holds for the cores alone."""
    clock = Clock()
    monkeypatch.setattr(open_session, "now", clock.now)
    await scenario(CoreWorld(clock))
