"""What is done to the system. Each fault lasts while its block is entered, and is healed at its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from runtime.tasks import cancel
from tests.chaos.clocks import Clock
from tests.chaos.dying import arm
from tests.chaos.links import Weather
from tests.chaos.processes import Supervised
from tests.chaos.world import World
from tests.support.waiting import eventually

#: What a fault does to one of two targets: 0 or 1.
Fault = Callable[[World, int], AbstractAsyncContextManager[None]]
#: No archive can be written with files of this size, in bytes.
_FULL: Final = 4096
TWO_HOURS: Final = 7200
#: A line that is passed at every message is passed within this time, in seconds, also after another fault.
REACHED_S: Final = 60.0
#: How far a clock that steps is off, in seconds, one after the other: more and less than a lease, a window of repeats
#: and the tolerance of signatures.
_STEPS: Final = (2, -2, 60, -60, 0, 290, -290, TWO_HOURS, -TWO_HOURS, 3 * TWO_HOURS)


def _process(world: World, kind: str, target: int) -> Supervised:
    return world.application if kind == "application" else world.services[kind][target]


def killed(kind: str) -> Fault:
    """SIGKILL; started again at the end."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        process = _process(world, kind, target)
        process.hold()
        process.signal(signal.SIGKILL)
        try:
            yield
        finally:
            process.release()

    return fault


def killed_at(kind: str, point: str) -> Fault:
    """SIGKILL at one of tests.chaos.dying.POINTS, of whichever process of a kind comes to it; started again at the end.

    The target is how many times two they pass it unharmed.
    """

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        processes, trap = world.services[kind], world.trap(kind)

        def sprung() -> bool:
            return not trap.exists() and any(process.pid is None for process in processes)

        # One that was ended before is on its way.
        await eventually(lambda: all(process.pid is not None for process in processes), REACHED_S)
        for process in processes:
            process.hold()
        try:
            arm(trap, point, 2 * target)
            await eventually(sprung, REACHED_S)
            yield
        finally:
            trap.unlink(missing_ok=True)
            for process in processes:
                process.release()

    return fault


def stopped(kind: str) -> Fault:
    """SIGTERM: it drains and ends; started again at the end."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        process = _process(world, kind, target)
        process.hold()
        process.signal(signal.SIGTERM)
        try:
            yield
        finally:
            process.release()

    return fault


def asleep(kind: str) -> Fault:
    """SIGSTOP, and SIGCONT at the end."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        process = _process(world, kind, target)
        process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.signal(signal.SIGCONT)

    return fault


@asynccontextmanager
async def redis_killed(world: World, _: int) -> AsyncIterator[None]:
    """SIGKILL of Redis; it comes back with what it had written."""
    await world.redis.kill()
    try:
        yield
    finally:
        await world.redis.start()


@asynccontextmanager
async def redis_asleep(world: World, _: int) -> AsyncIterator[None]:
    """SIGSTOP of Redis."""
    pid = world.redis.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def failed_over(world: World, _: int) -> AsyncIterator[None]:
    """SIGKILL of the master; its replica takes over, and at the end the former master becomes the replica."""
    assert world.watched is not None
    former = await world.watched.fail_over(signal.SIGKILL)
    try:
        yield
    finally:
        await former.restart()
        await eventually(lambda: _follows(former.port), 30)


async def _follows(port: int) -> bool:
    """Whether a server is a replica that has all of its master."""
    async with aioredis.Redis(port=port) as client:
        info: Any = await client.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up" and not info["master_sync_in_progress"])


@asynccontextmanager
async def clients_killed(world: World, _: int) -> AsyncIterator[None]:
    """Redis ends every connection, some times over."""
    for _ in range(3):
        with contextlib.suppress(RedisError):
            await world.log.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.1)
    yield


def redis_paused(commands: bool) -> Fault:
    """CLIENT PAUSE: all `commands`, or only those that write, wait."""

    @asynccontextmanager
    async def fault(world: World, _: int) -> AsyncIterator[None]:
        with contextlib.suppress(RedisError):
            await world.log.client_pause(20_000, all=commands)
        try:
            yield
        finally:
            with contextlib.suppress(RedisError):
                await world.log.client_unpause()

    return fault


def _links(world: World, kind: str, target: int) -> list[str]:
    return [process.name for process in world.services[kind]][target : target + 1]


def redis_unreachable(kind: str) -> Fault:
    """One process of a kind is cut off from Redis: connections end, none can be made."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        for name in _links(world, kind, target):
            world.redis_links[name].weather = Weather(cut=True)
            world.redis_links[name].reset()
        try:
            yield
        finally:
            for name in _links(world, kind, target):
                world.redis_links[name].weather = Weather()

    return fault


def redis_silent(kind: str) -> Fault:
    """Nothing passes between one process of a kind and Redis; then all of it, late, or the connections end."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        names = _links(world, kind, target)
        for name in names:
            world.redis_links[name].hold()
        try:
            yield
        finally:
            for name in names:
                world.redis_links[name].release()

    return fault


def redis_link(weather: Weather) -> Fault:
    """Bad weather between every process and Redis."""

    @asynccontextmanager
    async def fault(world: World, _: int) -> AsyncIterator[None]:
        for link in world.redis_links.values():
            link.weather = weather
        try:
            yield
        finally:
            for link in world.redis_links.values():
                link.weather = Weather()

    return fault


@asynccontextmanager
async def network_cut(world: World, target: int) -> AsyncIterator[None]:
    """No client reaches one gateway; WebSockets end."""
    front = world.fronts[target]
    front.udp.weather, front.tcp.weather = Weather(cut=True), Weather(cut=True)
    front.tcp.reset()
    try:
        yield
    finally:
        front.udp.weather, front.tcp.weather = Weather(), Weather()


def network(weather: Weather) -> Fault:
    """Bad weather between clients and both gateways."""

    @asynccontextmanager
    async def fault(world: World, _: int) -> AsyncIterator[None]:
        for front in world.fronts:
            front.udp.weather = weather
            front.tcp.weather = Weather(delay=weather.delay)
        try:
            yield
        finally:
            for front in world.fronts:
                front.udp.weather, front.tcp.weather = Weather(), Weather()

    return fault


def application(mode: str, share: float = 1.0) -> Fault:
    """The application fails at a share of what it is asked."""

    @asynccontextmanager
    async def fault(world: World, _: int) -> AsyncIterator[None]:
        world.behave(mode, share)
        try:
            yield
        finally:
            world.behave("fine")

    return fault


@asynccontextmanager
async def archive_locked(world: World, _: int) -> AsyncIterator[None]:
    """Somebody else holds the archive's database."""
    connection = sqlite3.connect(world.archive, timeout=0.5, isolation_level=None)
    try:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@asynccontextmanager
async def archive_full(world: World, _: int) -> AsyncIterator[None]:
    """No file that processors write may grow."""
    processes = world.services["processors"]
    for process in processes:
        process.limit_files(_FULL)
    try:
        yield
    finally:
        for process in processes:
            process.limit_files(-1)


def clock_off(kind: str, seconds: int) -> Fault:
    """The wall clock of one process steps, and steps back at the end."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        clock = world.clocks[_process(world, kind, target).name]
        clock.set(seconds)
        try:
            yield
        finally:
            clock.set(0)

    return fault


def clock_stepping(kind: str) -> Fault:
    """The wall clock of one process steps back and forth, five times a second."""

    @asynccontextmanager
    async def fault(world: World, target: int) -> AsyncIterator[None]:
        clock = world.clocks[_process(world, kind, target).name]
        stepping = asyncio.create_task(_step(clock))
        try:
            yield
        finally:
            await cancel(stepping)
            clock.set(0)

    return fault


async def _step(clock: Clock) -> None:
    for seconds in itertools.cycle(_STEPS):
        clock.set(seconds)
        await asyncio.sleep(0.2)
