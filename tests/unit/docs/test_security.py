"""docs/security.md names tests that there are."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.unit.docs.reading import ROOT, rows, section, text
from tests.unit.docs.test_conformance import TEST, defined

HOLES: Final = rows(section(text("security.md"), "## Former holes"))[1:]


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole[0][:60])
def test_each_former_hole_has_a_test(hole: list[str]) -> None:
    """Every row names tests that exist, and nothing besides."""
    _, closed_by, tests = hole
    assert closed_by
    assert TEST.findall(tests)
    assert not re.sub(TEST, "", tests).strip(", ")
    for file, name in TEST.findall(tests):
        assert name in defined(ROOT / file), (file, name)


def test_all_former_holes_are_there() -> None:
    """The page has what the test above looks for."""
    assert len(HOLES) >= 9
