"""The time, and what is made of it."""

from __future__ import annotations

import os
import time

from ingress.session import Now
from schemas.ids import uuid7


def now() -> Now:
    """The time on both clocks."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)


def new_id() -> str:
    """A new time-ordered id."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
