"""Logs are trimmed behind every group, against a real redis-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from runtime.bus.outcomes import Outcome, Received
from runtime.bus.trim import Lag, Trimmer
from runtime.settings import Settings
from schemas.groups import FORWARDER, INBOUND
from schemas.keys import Keys
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.defects import Defect
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually

#: Approximate trimming removes whole nodes of a stream, of at most this many entries.
NODE = 100
DAY_MS = 86_400_000


@pytest.fixture
async def settings() -> AsyncIterator[Settings]:
    async with redis_server() as running:
        yield bus_settings(running.url)


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[Bus]:
    async with running_bus(settings) as made:
        yield made


class Clock:
    """Unix ms, as Redis has it and `ahead`."""

    def __init__(self, now: int) -> None:
        self.now, self.ahead = now, 0

    def __call__(self) -> int:
        return self.now + self.ahead


@pytest.fixture
async def clock(bus: Bus) -> Clock:
    seconds, _ = await bus.observer.time()
    return Clock(int(seconds) * 1000)


def trimmer(bus: Bus, clock: Clock | None, **settings: object) -> Trimmer:
    """One over every partition."""
    made = bus.settings.model_copy(update=settings)
    return Trimmer(bus.client, made, lambda: range(made.partitions), clock)


async def fill(bus: Bus, count: int) -> str:
    """Append entries of one session; gives its log."""
    for n in range(count):
        await bus.write("s", n)
    return bus.keys.inbound_of("s")


async def read(bus: Bus, log: str, group: str, count: int, *, ack: bool = True) -> None:
    """Have `group` read the next entries, and acknowledge them."""
    answer: Any = await bus.observer.xreadgroup(group, "owner", {log: ">"}, count=count)
    if ack:
        await bus.observer.xack(log, group, *[stream_id for stream_id, _ in answer[0][1]])


async def create(bus: Bus, log: str, *groups: str) -> None:
    for group in groups:
        await bus.observer.xgroup_create(log, group, id="0", mkstream=True)


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_what_every_group_has_handled_goes_and_nothing_else(bus: Bus, clock: Clock) -> None:
    """The slowest group decides: what it has not read, or read and not acknowledged, stays."""
    log = await fill(bus, 1000)
    await create(bus, log, *INBOUND)
    for group in INBOUND[:-1]:
        await read(bus, log, group, 1000)
    trim = trimmer(bus, clock, log_seconds=0)
    clock.ahead = DAY_MS
    await trim.trim()
    assert await bus.observer.xlen(log) == 1000

    await read(bus, log, INBOUND[-1], 300)
    await read(bus, log, INBOUND[-1], 100, ack=False)
    await read(bus, log, INBOUND[-1], 600)
    before = counted("headgate_trimmed_total")
    behind = await trim.trim()
    left = await bus.observer.xlen(log)
    assert 700 <= left < 700 + NODE
    assert counted("headgate_trimmed_total") == before + 1000 - left
    assert behind[INBOUND[-1]].backlog == 100
    assert behind[INBOUND[0]] == Lag(0, 0.0)
    pending: Any = await bus.observer.xreadgroup(INBOUND[-1], "owner", {log: "0"}, count=1000)
    assert [fields[b"id"] for _, fields in pending[0][1]] == [b"s-%d" % n for n in range(300, 400)]


async def test_the_forwarder_is_not_waited_for_where_the_application_reads_the_log(bus: Bus, clock: Clock) -> None:
    """Neither when it never was there, nor when it was and its group is left."""
    log = await fill(bus, 500)
    groups = [group for group in INBOUND if group != FORWARDER]
    await create(bus, log, *groups)
    for group in groups:
        await read(bus, log, group, 500)
    clock.ahead = DAY_MS
    await trimmer(bus, clock, log_seconds=0).trim()
    assert await bus.observer.xlen(log) == 500
    trim = trimmer(bus, clock, log_seconds=0, laravel_via="log")
    await trim.trim()
    assert await bus.observer.xlen(log) < NODE
    await create(bus, log, FORWARDER)
    await fill(bus, 500)
    for group in groups:
        await read(bus, log, group, 1000)
    assert FORWARDER not in await trim.trim()
    assert await bus.observer.xlen(log) < NODE


async def test_a_group_that_was_never_started_is_waited_for(bus: Bus, clock: Clock) -> None:
    """Processors that start for the first time find everything since the beginning, unless the group was removed."""
    log = await fill(bus, 500)
    await create(bus, log, *INBOUND[:-1])
    for group in INBOUND[:-1]:
        await read(bus, log, group, 500)
    clock.ahead = DAY_MS
    trim = trimmer(bus, clock, log_seconds=0)
    await trim.trim()
    assert await bus.observer.xlen(log) == 500
    await bus.observer.sadd(bus.keys.removed_groups(), INBOUND[-1])
    await trim.trim()
    assert await bus.observer.xlen(log) < NODE


async def test_a_group_of_somebody_elses_is_waited_for(bus: Bus, clock: Clock) -> None:
    """An application that consumes the log itself is a group like all others."""
    log = await fill(bus, 500)
    await create(bus, log, *INBOUND, "theirs")
    for group in INBOUND:
        await read(bus, log, group, 500)
    clock.ahead = DAY_MS
    behind = await trimmer(bus, clock, log_seconds=0).trim()
    assert await bus.observer.xlen(log) == 500
    assert behind["theirs"].backlog == 500


async def test_handled_entries_stay_for_a_while(bus: Bus, clock: Clock) -> None:
    """HEADGATE_LOG_SECONDS is for people who look, and for replay."""
    log = await fill(bus, 300)
    await create(bus, log, *INBOUND)
    for group in INBOUND:
        await read(bus, log, group, 300)
    trim = trimmer(bus, clock, log_seconds=60)
    clock.ahead = 30_000
    await trim.trim()
    assert await bus.observer.xlen(log) == 300
    clock.ahead = 90_000
    await trim.trim()
    assert await bus.observer.xlen(log) < NODE


async def test_what_is_old_is_so_by_the_clock_of_redis(bus: Bus) -> None:
    """It made the ids: a process' clock that steps takes no entry before its time, keeps none, and ages no group."""
    log = await fill(bus, 300)
    await create(bus, log, *INBOUND)
    for group in INBOUND:
        await read(bus, log, group, 300)
    await bus.observer.xadd(log, {"id": "last"})
    behind = await trimmer(bus, None, log_seconds=60).trim()
    assert await bus.observer.xlen(log) == 301
    assert 0 <= behind[INBOUND[0]].age < 30
    await trimmer(bus, None, log_seconds=0).trim()
    assert await bus.observer.xlen(log) < 301


async def test_the_ceiling_drops_the_oldest_and_counts_what_nobody_handled(bus: Bus, clock: Clock) -> None:
    """Memory has an end where the operator says so, and the price is told: handled entries go first, uncounted."""
    log = await fill(bus, 1000)
    await create(bus, log, *INBOUND)
    for group in INBOUND:
        await read(bus, log, group, 500)
    before = counted("headgate_dropped_total")
    await trimmer(bus, clock, log_max_entries=600).trim()
    assert await bus.observer.xlen(log) == 500
    assert counted("headgate_dropped_total") == before
    await trimmer(bus, clock, log_max_entries=200).trim()
    left = await bus.observer.xlen(log)
    assert 200 <= left < 200 + NODE
    assert counted("headgate_dropped_total") == before + 500 - left


@pytest.mark.parametrize("beside", [str, Keys.trail, Keys.datagrams])
@pytest.mark.parametrize("of", [Keys.inbound, Keys.outbound])
async def test_dead_letters_expire_and_are_counted(
    bus: Bus, clock: Clock, of: Callable[[Keys, int], str], beside: Callable[[str], str]
) -> None:
    """They are kept for HEADGATE_DEAD_SECONDS, whatever their log, and dropping them is never silent."""
    log = beside(of(bus.keys, 0))
    await bus.observer.xadd(log, {"id": "x"}, id="1-0")
    for at in (clock.now - 3 * DAY_MS, clock.now - DAY_MS):
        await bus.observer.xadd(Keys.dead(log), {"id": "x"}, id=f"{at}-0")
    before = counted("headgate_dead_letters_expired_total")
    await trimmer(bus, clock, dead_seconds=0).trim()
    assert await bus.observer.xlen(Keys.dead(log)) == 2
    await trimmer(bus, clock, dead_seconds=2 * DAY_MS // 1000).trim()
    assert await bus.observer.xlen(Keys.dead(log)) == 1
    assert counted("headgate_dead_letters_expired_total") == before + 1
    assert await bus.observer.xlen(log) == 1


async def test_a_group_that_stalls_raises_an_alarm(bus: Bus, clock: Clock) -> None:
    """Its backlog and age are gauges, and the service warns of it until it has caught up."""
    blocked = True

    async def handle(received: Received) -> Outcome:
        return Outcome.later("away") if blocked else Outcome.done()

    await bus.group(handle, "laravel")
    await fill(bus, 5)
    made = trimmer(bus, clock, stall_seconds=60.0)
    made._observe(await made.trim())
    assert REGISTRY.get_sample_value("headgate_group_backlog", {"group": "laravel"}) == 5
    assert made.warning() is None
    clock.ahead = 120_000
    made._observe(await made.trim())
    age = REGISTRY.get_sample_value("headgate_group_age_seconds", {"group": "laravel"})
    assert age is not None
    assert 110 < age < 130
    assert made.warning() == "groups do not keep up: laravel"
    blocked = False

    async def caught_up() -> bool:
        made._observe(await made.trim())
        return made.warning() is None

    await eventually(caught_up, 20)
    assert REGISTRY.get_sample_value("headgate_group_age_seconds", {"group": "laravel"}) == 0


async def test_a_defect_does_not_end_the_trimmer(bus: Bus, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and what was not trimmed is by the next look; a trimmer that ended is a problem."""
    monkeypatch.setattr("runtime.bus.trim.TICK_S", 0.01)
    log = await fill(bus, 300)
    await create(bus, log, *INBOUND)
    for group in INBOUND:
        await read(bus, log, group, 300)
    made = trimmer(bus, clock, log_seconds=0)
    with capture_logs() as logs, monkeypatch.context() as broken:
        broken.setattr("runtime.bus.trim.removed_groups", Defect())
        await made.start()
        await eventually(lambda: any(one["event"] == "log.trim_broken" for one in logs))
    clock.ahead = DAY_MS

    async def trimmed() -> bool:
        return await bus.observer.xlen(log) < NODE

    await eventually(trimmed)
    assert made.problem() is None
    await made.stop()
    assert made.problem() == "the trimmer ended"
