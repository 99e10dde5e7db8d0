"""What several files here begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from runtime.settings import Settings
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.redis_server import RedisServer, redis_server


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    """A Redis of the test's own."""
    async with redis_server() as running:
        yield running


@pytest.fixture
def settings(server: RedisServer) -> Settings:
    """Settings for the bus on it."""
    return bus_settings(server.url)


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[Bus]:
    """The bus on it."""
    async with running_bus(settings) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """One PostgreSQL for all tests; each makes a database of its own."""
    async with postgres_server() as running:
        yield running
