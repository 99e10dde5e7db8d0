"""Entries that were given to several owners and never settled, against a real redis-server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import cast

import pytest

from runtime.bus.lanes import one_by_one
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.quarantine import Quarantine
from runtime.bus.settle import Settler
from runtime.settings import Settings
from schemas.keys import Keys
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


async def done(bus: Bus) -> bool:
    return await bus.backlog() == 0


async def given_to_owners(bus: Bus, log: str, owners: int) -> None:
    """Let as many owners have read all of `log`, none of whom settled anything."""
    await bus.observer.xgroup_create(log, "g", id="0", mkstream=True)
    await bus.observer.xreadgroup("g", "owner", {log: ">"})
    for _ in range(owners - 1):
        await bus.observer.xreadgroup("g", "owner", {log: "0"})


async def test_what_several_owners_left_is_first_handled_together(bus: Bus) -> None:
    """Owners that ended one after the other, for whatever reason, leave all that they had in hand. One by one, each
    counted and settled before the next, it would take longer than the next owner may have."""
    for n in range(200):
        await bus.write("s", n)
    await given_to_owners(bus, bus.keys.inbound_of("s"), 5)
    batches: list[list[Received]] = []

    async def handle(batch: Sequence[Received]) -> Sequence[Outcome]:
        batches.append(list(batch))
        return [Outcome.done()] * len(batch)

    await bus.batches(handle, 100)
    await eventually(lambda: done(bus), 10)
    assert [one.entry.payload()["frame"]["n"] for batch in batches for one in batch] == list(range(200))
    assert all(one.suspect for batch in batches for one in batch)
    assert len(batches) == 2
    assert await bus.observer.hgetall(Keys.attempts(bus.keys.inbound_of("s"), "g")) == {}


async def test_what_was_given_together_and_not_tried_is_not_counted(bus: Bus) -> None:
    """The one that fails is counted; those behind it in its batch are not, nor is anything that has to wait."""
    log = bus.keys.inbound_of("s")
    for n in range(6):
        await bus.write("s", n)
    await given_to_owners(bus, log, 5)
    attempts = Keys.attempts(log, "g")
    answers: list[tuple[list[int], dict[int, int]]] = []
    verdicts = [Outcome.later("away"), Outcome.again("fails")]

    async def counts() -> dict[int, int]:
        ids = [stream_id for stream_id, _ in await bus.stored(log)]
        found = cast("dict[bytes, bytes]", await bus.observer.hgetall(attempts))
        return {ids.index(stream_id): int(count) for stream_id, count in found.items()}

    async def handle(batch: Sequence[Received]) -> Sequence[Outcome]:
        numbers = [one.entry.payload()["frame"]["n"] for one in batch]
        answers.append((numbers, await counts()))
        if len(answers) <= len(verdicts):
            return [Outcome.done(), Outcome.done(), *[verdicts[len(answers) - 1]] * (len(batch) - 2)]
        return [Outcome.done()] * len(batch)

    await bus.batches(handle, 100)
    await eventually(lambda: done(bus), 10)
    assert answers == [
        ([0, 1, 2, 3, 4, 5], dict.fromkeys(range(6), 1)),
        ([2, 3, 4, 5], dict.fromkeys(range(2, 6), 1)),
        ([4], {4: 2}),
        ([5], {5: 1}),
    ]
    assert await bus.observer.hgetall(attempts) == {}


async def test_a_count_that_was_undone_twice_is_none(bus: Bus) -> None:
    """Nobody knows whether a count was made whose answer was lost; that there are fewer than none holds nothing up."""
    log = bus.keys.inbound_of("s")
    await bus.write("s", 0)
    await given_to_owners(bus, log, 5)
    [(stream_id, _)] = await bus.stored(log)
    await bus.observer.hset(Keys.attempts(log, "g"), stream_id.decode(), "-1")
    attempts = []

    async def handle(received: Received) -> Outcome:
        attempts.append(received.attempt)
        return Outcome.done()

    await bus.group(handle)
    await eventually(lambda: done(bus), 10)
    assert attempts == [1]


async def test_an_attempt_that_was_made_with_others_is_never_the_last(server: RedisServer) -> None:
    """However few there may be: what a process had in hand as it ended is not put aside for that."""
    async with running_bus(bus_settings(server.url).model_copy(update={"max_attempts": 1})) as bus:
        log, handled = bus.keys.inbound_of("s"), list[int]()
        for n in range(20):
            await bus.write("s", n)
        await given_to_owners(bus, log, 5)
        for stream_id, _ in await bus.stored(log):
            await bus.observer.hset(Keys.attempts(log, "g"), stream_id.decode(), "1")

        async def handle(received: Received) -> Outcome:
            handled.append(received.entry.payload()["frame"]["n"])
            return Outcome.done()

        await bus.group(handle)
        await eventually(lambda: done(bus), 10)
        assert handled == list(range(20))


async def test_what_waited_to_be_counted_is_not_begun_if_its_partition_is_lost(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting an attempt can take longer than a lease lasts: the next owner has begun by then."""
    log, handled = bus.keys.inbound_of("s"), list[int]()
    await bus.write("s", 0)
    await given_to_owners(bus, log, 5)
    count = Settler.count_attempts
    doubt = asyncio.Event()

    async def slowly(settler: Settler, batch: Sequence[Received], by: int = 1) -> None:
        if by == 1 and not doubt.is_set():
            doubt.set()
            monkeypatch.setattr(group._lanes, "_begins", lambda partition: False)
        await count(settler, batch, by)

    async def handle(received: Received) -> Outcome:
        handled.append(received.attempt)
        return Outcome.done()

    monkeypatch.setattr(Settler, "count_attempts", slowly)
    group = await bus.group(handle)
    begins = group._lanes._begins
    await eventually(lambda: doubt.is_set() and not group._lanes._count, 10)
    assert handled == []
    assert await bus.observer.hgetall(Keys.attempts(log, "g")) == {}
    monkeypatch.setattr(group._lanes, "_begins", begins)
    group._reader.gained(range(len(bus.logs)))
    await eventually(lambda: done(bus), 10)
    assert handled == [1]


async def test_what_waits_for_its_turn_is_dropped_when_its_partition_is_lost(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else of this process is alone, for as long as that takes. The partition is given up meanwhile, and the
    next owner begins with what waited."""
    log, handled = bus.keys.inbound_of("s"), list[int]()
    await bus.write("s", 0)
    await given_to_owners(bus, log, 5)

    async def handle(received: Received) -> Outcome:
        handled.append(received.attempt)
        return Outcome.done()

    quarantine = Quarantine()
    turn = await quarantine.ask(alone=True)
    group = await bus.batches(one_by_one(handle), 1, quarantine=quarantine)
    await eventually(lambda: group._lanes._places, 10)
    monkeypatch.setattr(group._lanes, "_begins", lambda partition: False)
    group._lanes.ownership_changed()
    await eventually(lambda: not group._lanes._count, 10)
    monkeypatch.undo()
    group._reader.gained(range(len(bus.logs)))
    await eventually(lambda: group._lanes._places, 10)
    assert handled == []
    assert turn is not None
    turn.end()
    await eventually(lambda: done(bus), 10)
    assert handled == [1]


async def test_a_batch_that_fails_as_a_whole_is_no_attempt_of_all_of_it(server: RedisServer) -> None:
    """However few there may be: those that do not fail by themselves are not put aside."""
    async with running_bus(bus_settings(server.url).model_copy(update={"max_attempts": 1})) as bus:
        log, handled = bus.keys.inbound_of("s"), list[int]()
        for n in range(9):
            await bus.write("s", n)

        async def handle(batch: Sequence[Received]) -> Sequence[Outcome]:
            numbers = [one.entry.payload()["frame"]["n"] for one in batch]
            if 6 in numbers:
                raise ValueError(numbers)
            handled.extend(numbers)
            return [Outcome.done()] * len(batch)

        await bus.batches(handle, 100)
        await eventually(lambda: done(bus), 20)
        assert handled == [0, 1, 2, 3, 4, 5, 7, 8]
        [(_, letter)] = await bus.stored(Keys.dead(log))
        assert (letter[b"id"], letter[b"dead_error"]) == (b"s-6", b"ValueError")


async def test_what_a_process_reads_again_in_doubt_is_no_suspect(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubts come together, where a machine is busy. What was dropped in many of them is not handled alone for that, as
    if it had ended its owners: it would take so long that doubts never end."""
    sessions, inside, released, doubt = {"a", "b", "c"}, set[str](), asyncio.Event(), asyncio.Event()

    async def slow(received: Received) -> Outcome:
        inside.add(received.entry.session)
        await released.wait()
        inside.discard(received.entry.session)
        return Outcome.done()

    group = await bus.group(slow)
    for owner, name in ((group._leases, "holds"), (group._lanes, "_held")):
        monkeypatch.setattr(owner, name, lambda partition: not doubt.is_set())
    for session in sessions:
        await bus.write(session, 0)
    for _ in range(6):
        await eventually(lambda: inside == sessions, 10)
        doubt.set()
        released.set()
        await eventually(lambda: not group._lanes._count, 10)
        released.clear()
        doubt.clear()
        group._reader.gained(range(len(bus.logs)))
    released.set()
    await eventually(lambda: done(bus), 10)


async def test_an_entry_that_kills_its_process_becomes_a_dead_letter(bus: Bus, settings: Settings) -> None:
    """Its neighbours are handled, each process that it kills is counted, and in the end it is put aside."""
    for n in range(40):
        await bus.write(f"s{n % 4}", n)
    deaths = 0
    while deaths < 20:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.mortal", settings.redis_url, "17", stdout=asyncio.subprocess.DEVNULL
        )
        if await process.wait() == 0:
            break
        deaths += 1
    assert 4 <= deaths <= 10
    assert await bus.backlog() == 0
    (letter,) = await bus.stored(Keys.dead(bus.keys.inbound_of("s1")))
    assert (letter[1][b"id"], letter[1][b"dead_error"]) == (
        b"s1-17",
        b"its process ended 3 times while handling it",
    )
    for log in bus.logs:
        assert await bus.observer.hgetall(Keys.attempts(log, "g")) == {}
    handled = await bus.observer.lrange("handled", 0, -1)
    for session in range(4):
        numbers = [int(n) for n in handled if int(n) % 4 == session]
        assert list(dict.fromkeys(numbers)) == [n for n in range(session, 40, 4) if n != 17]
