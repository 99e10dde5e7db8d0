"""The order of the tests when several processes share them (scripts/test.sh), and how Hypothesis looks for examples.

It takes the same in each run, however long that is: a pause of the machine is no finding, and what fails fails again.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import HealthCheck, settings

#: What takes longest begins first, so that no process ends long before the others.
_ORDER: Final = ("simulation", "e2e", "fuzz", "integration")

settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them; those of one folder stay as they are. Of several with one id, other processes would run one."""
    for item in items:
        # What Schemathesis makes of the operations of a document has names of its own, and one id.
        if label := getattr(item, "operation_label", None):
            item._id = item.id.with_params(label)
    if len({item.nodeid for item in items}) < len(items):
        raise pytest.UsageError("several tests have the same id")
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return next((n for n, folder in enumerate(_ORDER) if folder in item.path.parts), len(_ORDER))
