"""What is done to the system. Each fault lasts while its block is entered, and is healed at its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from tests.chaos.links import Weather
from tests.chaos.processes import Supervised
from tests.chaos.world import World
from tests.support.waiting import eventually

#: What a fault does to one of two targets: 0 or 1.
Fault = Callable[[World, int], AbstractAsyncContextManager[None]]
#: No archive can be written with files of this size, in bytes.
_FULL: Final = 4096


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    fault: Fault
    shortest: float
    """Seconds that it lasts at least and at most."""
    longest: float
    weight: int = 1
    """How often it comes in a turn of all kinds."""


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


#: Leases are 1 s (partitions) and 2 s (gateways) here.
FAULTS: Final[dict[str, Kind]] = {
    "gateway killed": Kind(killed("ingress"), 0.0, 3.0, 2),
    "gateway stopped": Kind(stopped("ingress"), 0.5, 2.0),
    "gateway asleep, within its lease": Kind(asleep("ingress"), 0.2, 1.2),
    "gateway asleep, past its lease": Kind(asleep("ingress"), 4.0, 7.0),
    "gateway cut off from Redis": Kind(redis_unreachable("ingress"), 0.2, 5.0),
    "gateway's Redis silent": Kind(redis_silent("ingress"), 0.5, 7.0),
    "processors killed": Kind(killed("processors"), 0.0, 3.0, 2),
    "processors stopped": Kind(stopped("processors"), 0.5, 2.0),
    "processors asleep, within the lease": Kind(asleep("processors"), 0.1, 0.7),
    "processors asleep, past the lease": Kind(asleep("processors"), 2.0, 5.0, 2),
    "processors cut off from Redis": Kind(redis_unreachable("processors"), 0.2, 4.0),
    "processors' Redis silent": Kind(redis_silent("processors"), 0.5, 7.0),
    "egress killed": Kind(killed("egress"), 0.0, 3.0, 2),
    "egress stopped": Kind(stopped("egress"), 0.5, 2.0),
    "egress asleep, within the lease": Kind(asleep("egress"), 0.1, 0.7),
    "egress asleep, past the lease": Kind(asleep("egress"), 2.0, 5.0, 2),
    "egress cut off from Redis": Kind(redis_unreachable("egress"), 0.2, 4.0),
    "egress' Redis silent": Kind(redis_silent("egress"), 0.5, 7.0),
    "Redis killed": Kind(redis_killed, 0.0, 2.0, 2),
    "Redis asleep": Kind(redis_asleep, 0.5, 6.0),
    "Redis slow": Kind(redis_link(Weather(delay=0.03)), 1.0, 4.0),
    "Redis' answers lost": Kind(redis_link(Weather(loss=0.05)), 1.0, 4.0, 2),
    "CLIENT KILL of all": Kind(clients_killed, 0.0, 0.1),
    "CLIENT PAUSE": Kind(redis_paused(True), 0.5, 6.0),
    "CLIENT PAUSE of writes": Kind(redis_paused(False), 0.5, 6.0),
    "network cut": Kind(network_cut, 0.5, 7.0, 2),
    "packets lost": Kind(network(Weather(loss=0.2)), 2.0, 5.0),
    "packets late and out of order": Kind(network(Weather(delay=0.05, jitter=0.1)), 2.0, 5.0),
    "packets repeated": Kind(network(Weather(repeat=0.3, jitter=0.02)), 2.0, 5.0),
    "packets corrupted": Kind(network(Weather(corrupt=0.1)), 2.0, 5.0),
    "application killed": Kind(killed("application"), 0.0, 3.0),
    "application asleep": Kind(asleep("application"), 1.0, 4.0),
    "application slow": Kind(application("slow"), 1.0, 4.0),
    "application answers 500": Kind(application("500"), 1.0, 4.0),
    "application answers 500 to some": Kind(application("500", 0.3), 2.0, 5.0),
    "application answers 503": Kind(application("503"), 1.0, 4.0),
    "application does not answer some": Kind(application("hang", 0.2), 2.0, 5.0),
    "application applies, then drops": Kind(application("drop", 0.5), 1.0, 4.0, 2),
    "application applies, then is silent": Kind(application("hang-after", 0.2), 2.0, 5.0),
    "archive locked": Kind(archive_locked, 1.0, 8.0),
    "archive's disk full": Kind(archive_full, 1.0, 4.0),
}
#: In a world under Sentinel, in the place of all that is done to the one server or on the way to it.
SENTINEL: Final = {name: kind for name, kind in FAULTS.items() if "Redis" not in name and "CLIENT" not in name} | {
    "Sentinel fails over": Kind(failed_over, 0.5, 3.0, 10)
}
#: Nothing but SIGKILL.
KILLS: Final = {name: kind for name, kind in FAULTS.items() if name.endswith(" killed")}


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a schedule."""

    name: str
    fault: Fault
    target: int
    seconds: float
    gap: float
    """Quiet after it, in seconds."""
    waits: bool
    """Whether the next one comes only after the system has recovered from this one."""


def schedule(seed: int, count: int, kinds: Mapping[str, Kind] = FAULTS) -> list[Planned]:
    """`count` faults: every kind in turns of random order as far as `count` reaches, weighted ones more often."""
    dice = random.Random(seed)
    bag: list[str] = []
    planned = []
    for _ in range(count):
        if not bag:
            bag = [name for name, kind in kinds.items() for _ in range(kind.weight)]
            dice.shuffle(bag)
        name = bag.pop()
        kind = kinds[name]
        seconds, gap = dice.uniform(kind.shortest, kind.longest), dice.uniform(0.2, 1.5)
        planned.append(Planned(name, kind.fault, dice.randrange(2), seconds, gap, dice.random() < 0.6))
    return planned
