"""Delays between attempts."""

from __future__ import annotations

import random


def backoff(attempt: int, *, base: float = 0.05, ceiling: float = 5.0) -> float:
    """Seconds before the attempt after the `attempt`-th failure (1 or more): exponential with full jitter.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(base / 2, min(ceiling, base * 2.0 ** min(attempt - 1, 16)))
