"""The order of the tests when several processes share them, a file at a time (scripts/test.sh)."""

from __future__ import annotations

from typing import Final

import pytest

#: What takes longest begins first, so that no process ends long before the others.
_ORDER: Final = ("simulation", "e2e", "fuzz", "integration")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them; those of one folder stay as they are."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return next((n for n, folder in enumerate(_ORDER) if folder in item.path.parts), len(_ORDER))
