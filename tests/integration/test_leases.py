"""Partitions among the processes of a group, against a real redis-server: shared out, handed over, never shared."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from runtime.bus.group import ConsumerGroup
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.read_connection import ReadConnection
from runtime.bus.reader import Reader
from schemas.keys import Keys
from tests.support.bus import Bus
from tests.support.waiting import eventually


class Seen:
    """Writes down what was handled, by whom, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, int]] = []

    async def __call__(self, received: Received) -> Outcome:
        return self.by("one", received)

    async def second(self, received: Received) -> Outcome:
        """As another process."""
        return self.by("two", received)

    def by(self, who: str, received: Received) -> Outcome:
        self.all.append((who, received.entry.session, received.entry.payload()["frame"]["n"]))
        return Outcome.done()

    def of(self, session: str) -> list[int]:
        return [n for _, of, n in self.all if of == session]


async def done(bus: Bus) -> bool:
    return await bus.backlog() == 0


def owners(*groups: ConsumerGroup) -> list[int]:
    """How many partitions each has, the most first; checks that none is had twice."""
    every = [p for group in groups for p in group.owned()]
    assert len(every) == len(set(every))
    return sorted((len(group.owned()) for group in groups), reverse=True)


async def test_partitions_are_shared_out_evenly_as_processes_come_and_go(bus: Bus) -> None:
    """Whoever joins gets its share, whoever leaves gives its own back, and each session keeps its order throughout."""
    seen = Seen()
    one = await bus.group(seen)
    assert owners(one) == [4]
    writing = asyncio.create_task(write(bus, 400))
    two = await bus.group(seen.second)
    await eventually(lambda: owners(one, two) == [2, 2], 10)
    three = await bus.group(seen)
    await eventually(lambda: owners(one, two, three) == [2, 1, 1], 10)
    await one.stop()
    await eventually(lambda: owners(two, three) == [2, 2], 10)
    await writing
    await eventually(lambda: done(bus), 20)
    for session in range(8):
        assert list(dict.fromkeys(seen.of(f"s{session}"))) == list(range(400))


async def write(bus: Bus, count: int) -> None:
    for n in range(count):
        await asyncio.gather(*[bus.write(f"s{i}", n) for i in range(8)])


async def test_a_partition_is_given_up_only_when_nothing_of_it_is_in_hand(bus: Bus) -> None:
    """The next owner begins after the last one has ended what it was doing, and with what it had not begun."""
    release = asyncio.Event()
    handling: list[str] = []
    order: list[tuple[str, int]] = []

    async def slow(received: Received) -> Outcome:
        handling.append(received.entry.session)
        await release.wait()
        order.append(("one", received.entry.payload()["frame"]["n"]))
        return Outcome.done()

    async def quick(received: Received) -> Outcome:
        order.append(("two", received.entry.payload()["frame"]["n"]))
        return Outcome.done()

    session = next(f"s{i}" for i in range(100) if bus.keys.inbound_of(f"s{i}") == bus.logs[3])
    one = await bus.group(slow)
    for n in range(3):
        await bus.write(session, n)
    await eventually(lambda: handling == [session], 10)
    two = await bus.group(quick)
    await eventually(lambda: len(two.owned()) == 1, 10)
    assert 3 not in two.owned()
    release.set()
    await eventually(lambda: 3 in two.owned(), 10)
    await eventually(lambda: done(bus), 10)
    assert list(dict.fromkeys(order)) == [("one", 0), ("two", 1), ("two", 2)]
    assert 3 not in one.owned()


async def test_what_waits_for_another_attempt_goes_to_the_next_owner_at_once(bus: Bus) -> None:
    """An entry that is being retried without end does not keep its partition from moving."""

    async def never(received: Received) -> Outcome:
        return Outcome.later("away")

    seen = Seen()
    one = await bus.group(never)
    for i in range(20):
        await bus.write(f"s{i}", 0)
    await eventually(lambda: pending(bus, 20), 10)
    two = await bus.group(seen)
    await eventually(lambda: owners(one, two) == [2, 2], 10)
    mine = {f"s{i}" for i in range(20) if bus.logs.index(bus.keys.inbound_of(f"s{i}")) in two.owned()}
    await eventually(lambda: {session for _, session, _ in seen.all} == mine, 10)


async def pending(bus: Bus, count: int) -> bool:
    groups = [group for log in bus.logs for group in await bus.observer.xinfo_groups(log)]
    return bool(sum(group["pending"] for group in groups) == count)


def reader_of(group: ConsumerGroup) -> Reader:
    assert isinstance(group._reader, Reader)
    return group._reader


async def test_a_stale_owner_reads_nothing(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that slept over the end of its leases finds the connection that it reads with ended, and reads no
    entry that belongs to the new owner."""
    seen = Seen()
    one = await bus.group(seen)
    await bus.write("s", 0)
    await eventually(lambda: done(bus), 10)
    # It believes that it holds them and renews nothing: what a process knows that was stopped in between.
    monkeypatch.setattr(one._leases, "holds", lambda partition: True)
    monkeypatch.setattr(one, "_tend", asyncio.Event().wait)
    before = reader_of(one).identity
    two = await bus.group(seen.second)
    await eventually(lambda: len(two.owned()) == 4, 10)
    for n in range(1, 30):
        await bus.write("s", n)
    await eventually(lambda: done(bus), 10)
    assert list(dict.fromkeys(seen.all)) == [("one", "s", 0), *[("two", "s", n) for n in range(1, 30)]]
    await eventually(lambda: reader_of(one).identity not in ("", before), 10)
    monkeypatch.undo()


@pytest.mark.parametrize("pending", [False, True])
async def test_what_is_read_while_a_lease_is_in_doubt_waits_for_what_was_dropped(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, pending: bool
) -> None:
    """A process that is in doubt about its leases drops what it has in hand. What it reads then, new or pending, does
    not get in before that, even if the lease turns out to be its own before anybody looks at the entry."""
    seen, goes_on, doubt = Seen(), asyncio.Event(), asyncio.Event()

    async def slow(received: Received) -> Outcome:
        await goes_on.wait()
        return await seen(received)

    log = bus.keys.inbound_of("s")
    if pending:
        await bus.observer.xgroup_create(log, "g", id="0", mkstream=True)
        for n in range(3):
            await bus.write("s", n)
        await bus.observer.xreadgroup("g", "owner", {log: ">"})
        monkeypatch.setattr("runtime.bus.readers.Reader", partial(Reader, count=1))
    group = await bus.group(slow)
    monkeypatch.setattr(group, "_tend", asyncio.Event().wait)
    for key in bus.logs:
        await bus.observer.persist(Keys.lease(key, "g"))
    for owner, name in ((group._leases, "holds"), (group._lanes, "_held")):
        monkeypatch.setattr(owner, name, lambda partition: not doubt.is_set())

    def renewed() -> None:
        doubt.clear()
        group._reader.gained(range(len(bus.logs)))

    async def doubted(*arguments: Any, **options: Any) -> Any:
        answer = await last(*arguments, **options)
        if group._lanes._count == 2 and answer is not None and not goes_on.is_set():
            doubt.set()
            goes_on.set()
            await eventually(lambda: not group._lanes._count, 10)
            asyncio.get_running_loop().call_soon(renewed)
        return answer

    # The last that is waited for before what was read is delivered.
    reads: tuple[Any, str] = (group._settler, "attempts") if pending else (group._reader, "_read")
    last = getattr(*reads)
    monkeypatch.setattr(*reads, doubted)
    if not pending:
        for n in range(3):
            await bus.write("s", n)
            await eventually(lambda: all_read(bus, log), 10)
    await eventually(lambda: done(bus), 20)
    assert goes_on.is_set()
    assert list(dict.fromkeys(seen.of("s"))) == [0, 1, 2]


async def all_read(bus: Bus, log: str) -> bool:
    """Whether the group was given every entry."""
    (group,) = await bus.observer.xinfo_groups(log)
    stream = await bus.observer.xinfo_stream(log)
    return bool(group["last-delivered-id"] == stream["last-generated-id"])


async def test_what_was_dropped_for_another_process_comes_again_if_the_partition_stays(bus: Bus) -> None:
    """A partition that cannot be given up in time stays, and what was dropped for its next owner comes before anything
    new, also if the reader had no turn meanwhile."""
    seen, goes_on = Seen(), {"a": asyncio.Event(), same_partition(bus, "a"): asyncio.Event()}
    other = next(name for name in goes_on if name != "a")

    async def slow(received: Received) -> Outcome:
        await goes_on[received.entry.session].wait()
        return await seen(received)

    group = await bus.group(slow)
    await bus.write("a", 0)
    for n in range(4):
        await bus.write(other, n)
    await eventually(lambda: group._lanes._count == 5, 10)
    partition = bus.logs.index(bus.keys.inbound_of("a"))
    # As many are in flight as may be, by the entry that stays: the reader waits for room.
    group._lanes._window = 1
    group._lanes._room.clear()
    await eventually(lambda: not reader_of(group)._reading, 10)
    group._leaving[partition] = leaving = asyncio.create_task(group._give_up(partition))
    goes_on[other].set()
    await leaving
    goes_on["a"].set()
    await bus.write(other, 4)
    await eventually(lambda: done(bus), 20)
    assert list(dict.fromkeys(seen.of(other))) == [0, 1, 2, 3, 4]


def same_partition(bus: Bus, session: str) -> str:
    """Another session in the partition of `session`."""
    names = (f"{session}{n}" for n in range(1000))
    return next(name for name in names if bus.keys.inbound_of(name) == bus.keys.inbound_of(session))


async def test_what_a_lost_answer_left_behind_is_found(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that are pending and in nobody's hands are handled after a while, not only by the next owner."""
    monkeypatch.setattr("runtime.bus.reader.SWEEP_S", 0.5)
    seen = Seen()
    group = await bus.group(seen)
    await bus.write("s", 0)
    await eventually(lambda: done(bus), 10)
    group.pause(True)
    await eventually(lambda: not reader_of(group)._live, 10)
    group.pause(False)
    # Read in the owner's name by nobody.
    log = bus.keys.inbound_of("s")
    await eventually(lambda: len(reader_of(group)._live) == 4, 10)
    stolen = asyncio.create_task(steal(bus, log))
    await bus.write("s", 1)
    await bus.write("s", 2)
    await eventually(lambda: seen.of("s") == [0, 1, 2], 10)
    await stolen


async def steal(bus: Bus, log: str) -> None:
    await bus.observer.xreadgroup("g", "owner", {log: ">"}, count=1, block=1000)


async def test_who_connects_anew_ends_the_connection_before(bus: Bus) -> None:
    """What was asked for over a connection that hangs is on its way still, and would be read past the new one."""
    reading = ReadConnection(bus.observer, bus.keys.inbound(0))
    await reading.open()
    former = reading.identity.partition(":")[2]
    hangs, reading.client.connection = reading.client.connection, None
    await reading.open()
    connected = {one["id"] for one in await bus.observer.client_list()}
    assert reading.identity.partition(":")[2] in connected
    assert former not in connected
    await reading.close()
    assert hangs is not None
    await hangs.disconnect(nowait=True)


async def test_strays_in_every_partition_are_no_failure(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that finds something everywhere leaves nothing to read from: it goes on with what was found."""

    async def finds_all(self: Reader) -> None:
        self._swept = time.monotonic()
        self._cursors |= dict.fromkeys(self._live, "0")
        self._live.clear()

    monkeypatch.setattr("runtime.bus.reader.SWEEP_S", 0.05)
    monkeypatch.setattr(Reader, "_sweep", finds_all)
    seen = Seen()
    with capture_logs() as logs:
        await bus.group(seen)
        for n in range(20):
            await bus.write("s", n)
            await eventually(lambda: done(bus), 10)
    assert list(dict.fromkeys(seen.of("s"))) == list(range(20)), "what was not yet acknowledged may come again"
    assert [one for one in logs if one["event"] == "log.read_failed"] == []
