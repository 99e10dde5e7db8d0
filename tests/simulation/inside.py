"""The clock and the chance that the project's modules find when they look for them."""

from __future__ import annotations

import logging
import random
from types import SimpleNamespace

import structlog

import egress.topics.store
import runtime.backoff
import runtime.bus.group
import runtime.bus.reader
import runtime.leases
from tests.simulation.client import lighten
from tests.simulation.world import World


def enter(world: World, chance: random.Random) -> None:
    """From now on it is `world` that they are in."""
    clock = SimpleNamespace(monotonic=world.monotonic)
    secrets = SimpleNamespace(token_hex=lambda size: chance.randbytes(size).hex())
    for module, name, value in (
        (runtime.bus.group, "time", clock),
        (runtime.bus.reader, "time", clock),
        (runtime.backoff, "random", chance),
        (runtime.leases, "secrets", secrets),
        (egress.topics.store, "secrets", secrets),
    ):
        setattr(module, name, value)


def be_quiet() -> None:
    """Nothing is logged or measured from now on; it must come before the first schedule."""
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet, cache_logger_on_first_use=True)
    lighten()
