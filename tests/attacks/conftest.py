from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.attacks.world import World, world
from tests.support.redis_server import RedisServer, redis_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis() -> AsyncIterator[RedisServer]:
    """One server for all: each gateway has keys of its own."""
    async with redis_server() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def attacked(redis: RedisServer) -> AsyncIterator[World]:
    """A gateway and an honest client of it."""
    async with world(redis) as made:
        yield made
