"""The log behind Sentinels, and a log that is lost: against real servers."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from runtime.bus.connection import LogConnection
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from tests.support.bus import bus_settings, running_bus
from tests.support.redis_server import redis_server
from tests.support.sentinel import Watched, watched_pair
from tests.support.waiting import eventually


@pytest.fixture
async def pair() -> AsyncIterator[Watched]:
    async with watched_pair() as running:
        yield running


class Seen:
    """Writes down what it handled."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def __call__(self, received: Received) -> Outcome:
        self.numbers.append(received.entry.payload()["frame"]["n"])
        return Outcome.done()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_failover_is_followed(pair: Watched, number: signal.Signals) -> None:
    """When the master dies or hangs, appending and reading go on at its successor, in order; a former master that wakes
    up changes nothing."""
    settings = bus_settings(pair.url)
    async with running_bus(settings) as bus:
        seen = Seen()
        await bus.group(seen)
        for n in range(20):
            await bus.write("s", n)
        await eventually(lambda: seen.numbers == list(range(20)), 20)
        former = await pair.fail_over(number)
        n = 20
        while n < 40:
            n += await bus.writes("s", n)
        if number == signal.SIGSTOP:
            os.kill(former.pid, signal.SIGCONT)
        while n < 60:
            n += await bus.writes("s", n)
        await eventually(lambda: set(seen.numbers) == set(range(60)), 30)
        assert list(dict.fromkeys(seen.numbers)) == list(range(60))


async def test_a_lost_log_is_told() -> None:
    """A server that lost its data is found out within seconds: a counter, a line that says so, and work goes on."""
    async with redis_server() as server:
        settings = bus_settings(server.url)
        async with running_bus(settings) as bus:
            told: list[list[str]] = []
            connection = LogConnection(connect(settings), settings, lambda places: told.append(list(places)))
            await connection.start()
            seen = Seen()
            await bus.group(seen)
            await bus.write("s", 0)
            await eventually(lambda: seen.numbers == [0], 10)
            before = lost()
            with capture_logs() as logs:
                await bus.observer.flushall()
                await eventually(lambda: lost() == before + 1, 10)
            (line,) = [line for line in logs if line["event"] == "log.lost"]
            assert line["was"] != line["now"]
            assert told == [[settings.keys.meta()]]
            assert connection.problem() is None
            assert await bus.observer.hget(bus.keys.meta(), "partitions") == b"4"
            await bus.write("s", 1)
            await eventually(lambda: seen.numbers == [0, 1], 20)
            await connection.stop()


async def test_a_restart_is_no_loss(bus_url: str) -> None:
    """The epoch belongs to the data, not to the process or the connection."""
    settings = bus_settings(bus_url)
    epochs = []
    for _ in range(2):
        connection = LogConnection(connect(settings), settings)
        await connection.start()
        epochs.append(connection._epochs[settings.keys.meta()])
        await connection.stop()
    assert epochs[0] == epochs[1] != ""


@pytest.fixture
async def bus_url() -> AsyncIterator[str]:
    async with redis_server() as server:
        yield server.url


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://127.0.0.1:26379",
        "redis+sentinel://127.0.0.1:26379/",
        "redis+sentinel://127.0.0.1:x/log",
        "redis+sentinel://127.0.0.1:26379/log/x",
        "redis+sentinel://,/log",
        "redis+cluster://",
        "redis+cluster://127.0.0.1:x",
        "redis+cluster://127.0.0.1:6379,/0",
        "rediss+cluster://127.0.0.1:6379/1",
        "gopher://127.0.0.1",
    ],
)
async def test_a_url_that_cannot_be_used_is_named(url: str) -> None:
    """The operator is told what is wrong with HEADGATE_REDIS_URL, without what may be a password in it."""
    with pytest.raises(ConfigurationError, match="HEADGATE_REDIS_URL"):
        connect(Settings(redis_url=url, _env_file=None))


def lost() -> float:
    return REGISTRY.get_sample_value("headgate_log_lost_total") or 0.0
