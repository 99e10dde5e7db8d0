"""Consumer groups against a real redis-server: nothing lost, order kept, repeats recognisable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from runtime.bus.group import ConsumerGroup, by_partition
from runtime.bus.lanes import one_by_one
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.reader import LEAST
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import MessagePublished, MessageReceived
from tests.support.bus import Bus
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


class Recorder:
    """A handler that writes down what it handled, in order per session."""

    def __init__(self, answer: Callable[[Received], Outcome] | None = None) -> None:
        self.seen: dict[str, list[int]] = {}
        self.answer = answer or (lambda received: Outcome.done())

    async def __call__(self, received: Received) -> Outcome:
        outcome = self.answer(received)
        if outcome.verdict.value == "done":
            self.seen.setdefault(received.entry.session, []).append(received.entry.payload()["frame"]["n"])
        return outcome

    def count(self) -> int:
        return sum(map(len, self.seen.values()))


async def settled(bus: Bus, count: int = 0) -> bool:
    return await bus.backlog() == count


async def test_each_session_is_handled_in_order(bus: Bus) -> None:
    """Whatever the partitions and however many sessions, each session's entries come in its order, all of them."""
    recorder = Recorder()
    await bus.group(recorder)
    for n in range(50):
        await asyncio.gather(*[bus.write(f"s{i}", n) for i in range(8)])
    await eventually(lambda: recorder.count() == 400, 10)
    assert all(seen == list(range(50)) for seen in recorder.seen.values())
    await eventually(lambda: settled(bus), 10)


async def test_a_process_has_little_more_in_hand_than_its_window(bus: Bus) -> None:
    """However many logs it reads: a read may give what there is room for, shared among them, and little more."""
    goes_on, recorder = asyncio.Event(), Recorder()

    async def handle(received: Received) -> Outcome:
        await goes_on.wait()
        return await recorder(received)

    await fill(bus, 500)
    group = await bus.group(handle)
    await eventually(lambda: group._lanes.space() <= 0, 20)
    assert group._lanes.space() >= -LEAST * len(bus.logs)
    goes_on.set()
    await eventually(lambda: recorder.count() == 500 * len(bus.logs), 30)
    assert all(seen == list(range(500)) for seen in recorder.seen.values())


async def test_a_group_in_no_haste_reads_on_where_there_is_more(bus: Bus) -> None:
    """It waits between reads for batches to gather; a log that gave as much as it might is read on at once."""
    await fill(bus, 300)
    recorder = Recorder()
    group = ConsumerGroup(
        bus.settings,
        bus.client,
        bus.appender,
        Telemetry(None, "test"),
        logs=bus.logs,
        group="patient",
        handler=one_by_one(recorder),
        linger=3600.0,
    )
    bus.groups.append(group)
    await group.start()
    try:
        await eventually(lambda: recorder.count() == 300 * len(bus.logs), 20)
    finally:
        group._tasks[1].cancel()


async def fill(bus: Bus, count: int) -> None:
    """Append so many entries to each log, of a session of its own."""
    for partition, log in enumerate(bus.logs):
        pipeline = bus.client.pipeline(transaction=False)
        for n in range(count):
            entry = Entry.of(MessageReceived(frame={"n": n}), id=f"{partition}-{n}", ts=n, session=f"of-{partition}")
            fields: Any = dict(zip(entry.fields()[::2], entry.fields()[1::2], strict=True))
            pipeline.xadd(log, fields)
        await pipeline.execute()


async def test_what_came_before_the_group_is_delivered(bus: Bus) -> None:
    """A group begins at the beginning of the log, not at its end."""
    await bus.write("s", 0)
    recorder = Recorder()
    await bus.group(recorder)
    await eventually(lambda: recorder.seen == {"s": [0]}, 10)


async def test_emits_are_appended_before_the_acknowledgement_with_derived_ids(bus: Bus) -> None:
    """What follows from an entry is in the outbound log when the entry is acknowledged, the same on redelivery."""

    async def handle(received: Received) -> Outcome:
        return Outcome.done(received.entry.follow(0, MessagePublished(frame={"x": 1}), topic="user:1"))

    await bus.group(handle)
    await bus.write("s", 1)
    await eventually(lambda: settled(bus), 10)
    stored = await bus.stored(bus.keys.outbound_of("user:1"))
    cause = Entry.of(MessageReceived(frame={"n": 1}), id="s-1", ts=1, session="s")
    assert [fields[b"id"].decode() for _, fields in stored] == [cause.follow(0, MessagePublished(frame={})).id]


async def test_a_failing_entry_becomes_a_dead_letter_and_holds_only_its_own_session(bus: Bus) -> None:
    """After the last attempt the entry is kept with its error and attempts; other sessions never waited."""

    def answer(received: Received) -> Outcome:
        if received.entry.id == "bad-1":
            raise RuntimeError("secret text of a client")
        return Outcome.done()

    recorder = Recorder(answer)
    await bus.group(recorder)
    for n in range(3):
        await bus.write("bad", n)
        await bus.write("good", n)
    await eventually(lambda: recorder.seen == {"good": [0, 1, 2], "bad": [0, 2]}, 20)
    await eventually(lambda: settled(bus), 10)
    (letter,) = [fields for _, fields in await bus.stored(bus.keys.dead(bus.keys.inbound_of("bad")))]
    assert letter[b"id"] == b"bad-1"
    assert letter[b"dead_error"] == b"RuntimeError"
    assert letter[b"dead_attempts"] == b"3"
    assert letter[b"dead_group"] == b"g"


async def test_what_is_no_entry_becomes_a_dead_letter_at_once(bus: Bus) -> None:
    """A writer that puts something else on the log stops nothing."""
    log = bus.keys.inbound_of("s")
    await bus.client.xadd(log, {"hello": "world"})
    recorder = Recorder()
    await bus.group(recorder)
    await bus.write("s", 1)
    await eventually(lambda: recorder.seen == {"s": [1]}, 10)
    (letter,) = [fields for _, fields in await bus.stored(bus.keys.dead(log))]
    assert letter[b"hello"] == b"world"
    assert b"missing" in letter[b"dead_error"]


async def test_later_is_tried_for_as_long_as_it_takes(bus: Bus) -> None:
    """When a backend is away nothing is dead-lettered, however often it fails, and order is kept."""
    tries = 0

    def answer(received: Received) -> Outcome:
        nonlocal tries
        tries += 1
        return Outcome.later("away") if tries < 8 else Outcome.done()

    recorder = Recorder(answer)
    await bus.group(recorder)
    for n in range(3):
        await bus.write("s", n)
    await eventually(lambda: recorder.seen == {"s": [0, 1, 2]}, 20)
    assert await bus.observer.exists(bus.keys.dead(bus.keys.inbound_of("s"))) == 0


async def test_types_a_group_does_not_handle_are_passed_over(bus: Bus) -> None:
    """What is not for a group is acknowledged without a look, and holds nothing up."""
    recorder = Recorder()
    group = ConsumerGroup(
        bus.settings,
        bus.client,
        bus.appender,
        Telemetry(None, "test"),
        logs=bus.logs,
        group="g",
        handler=one_by_one(recorder),
        types={MessageReceived.TYPE},
    )
    bus.groups.append(group)
    await group.start()
    other = Entry.of(MessagePublished(frame={"n": 7}), id="other", ts=1, session="s")
    await bus.appender.append(bus.keys.inbound_of("s"), other)
    await bus.write("s", 1)
    await eventually(lambda: settled(bus), 10)
    assert recorder.seen == {"s": [1]}


async def test_a_new_owner_first_finishes_what_the_last_one_left(bus: Bus) -> None:
    """Entries that were read and never acknowledged are handled again, in order, before anything new."""
    for n in range(3):
        await bus.write("s", n)
    log = bus.keys.inbound_of("s")
    await bus.client.xgroup_create(log, "g", id="0")
    await bus.client.xreadgroup("g", "owner", {log: ">"}, count=2)
    attempts: list[int] = []

    def answer(received: Received) -> Outcome:
        attempts.append(received.attempt)
        return Outcome.done()

    recorder = Recorder(answer)
    await bus.group(recorder)
    await eventually(lambda: recorder.seen == {"s": [0, 1, 2]}, 10)
    assert set(attempts) == {1}


async def test_attempts_are_counted_across_owners(bus: Bus) -> None:
    """An entry that failed here is on its second attempt elsewhere; one that only waited is on its first."""
    outcomes = {"bad": Outcome.again("no")}
    one = await bus.group(Recorder(lambda received: outcomes.pop(received.entry.session, Outcome.later("away"))))
    await bus.write("bad", 0)
    await bus.write("waits", 0)
    await eventually(lambda: counted(bus, "bad"), 10)
    await one.stop()
    attempts: dict[str, int] = {}

    def answer(received: Received) -> Outcome:
        attempts[received.entry.session] = received.attempt
        return Outcome.done()

    await bus.group(Recorder(answer))
    await eventually(lambda: settled(bus), 10)
    assert attempts == {"bad": 2, "waits": 1}
    assert not await counted(bus, "bad")


async def counted(bus: Bus, session: str) -> bool:
    """Whether attempts at an entry of `session` are counted."""
    return bool(await bus.observer.hlen(bus.keys.attempts(bus.keys.inbound_of(session), "g")))


async def test_a_redis_restart_loses_nothing(bus: Bus, server: RedisServer) -> None:
    """The reader comes back by itself and handles everything that was appended, in order."""
    recorder = Recorder()
    await bus.group(recorder)
    await bus.write("s", 0)
    await eventually(lambda: recorder.count() == 1, 10)
    await server.restart()
    written = 1
    while written < 20:
        try:
            await bus.write("s", written)
            written += 1
        except LogUnavailable:
            await asyncio.sleep(0)
    await eventually(lambda: settled(bus), 20)
    assert list(dict.fromkeys(recorder.seen["s"])) == list(range(20))


async def test_paused_groups_read_nothing_until_resumed(bus: Bus) -> None:
    """Pausing leaves entries in the log; resuming picks them up."""
    recorder, other = Recorder(), Recorder()
    group = await bus.group(recorder)
    await bus.group(other, "other")
    group.pause(True)
    await asyncio.wait_for(group._reader.turned(), 10)
    await bus.write("s", 0)
    await eventually(lambda: other.count() == 1, 10)
    assert recorder.count() == 0
    group.pause(False)
    await eventually(lambda: recorder.count() == 1, 10)


async def test_batches_go_to_a_lane_together(bus: Bus) -> None:
    """A handler with a width gets what is queued, at most that many, in log order."""
    sizes: list[int] = []
    seen: list[int] = []

    async def handle(batch: Any) -> list[Outcome]:
        sizes.append(len(batch))
        seen.extend(received.entry.payload()["frame"]["n"] for received in batch)
        return [Outcome.done() for _ in batch]

    for n in range(30):
        await bus.write("s", n)
    group = ConsumerGroup(
        bus.settings,
        bus.client,
        bus.appender,
        Telemetry(None, "test"),
        logs=bus.logs,
        group="g",
        handler=handle,
        key=by_partition,
        max_batch=10,
    )
    bus.groups.append(group)
    await group.start()
    await eventually(lambda: len(seen) == 30, 10)
    assert seen == list(range(30))
    assert max(sizes) == 10
