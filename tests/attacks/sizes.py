"""How large an attack is: large enough to bite in every run of the tests, and in full with ATTACKS=full."""

from __future__ import annotations

import os
from typing import Final, TypeVar

Number = TypeVar("Number", int, float)

#: `make attacks` says so.
FULL: Final = os.environ.get("ATTACKS") == "full"


def size(quick: Number, full: Number) -> Number:
    """The one or the other."""
    return full if FULL else quick
