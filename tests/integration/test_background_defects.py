"""What works behind everybody's back goes on after a defect, and says so: what settles, what handles, what writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio.client import Pipeline
from structlog.testing import capture_logs

from runtime.bus.lanes import Lanes
from runtime.bus.outcomes import Outcome, Received
from runtime.bus.reader import Reader
from runtime.bus.settle import Settler
from runtime.bus.writer import Writer
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from tests.support.bus import Bus
from tests.support.defects import broken_once
from tests.support.waiting import eventually


async def done(bus: Bus) -> bool:
    return await bus.backlog() == 0


async def handle(_: Received) -> Outcome:
    return Outcome.done()


async def test_acknowledgements_go_on(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not written is written with the next attempt."""
    await bus.group(handle)
    broken, well = broken_once(Pipeline.execute), Pipeline.execute

    async def execute(pipeline: Pipeline, raise_on_error: bool = True) -> Any:
        acknowledges = any(arguments[0] == "XACK" for arguments, _ in pipeline.command_stack)
        return await (broken if acknowledges else well)(pipeline, raise_on_error)

    monkeypatch.setattr(Pipeline, "execute", execute)
    with capture_logs() as logs:
        await bus.write("s", 0)
        await eventually(lambda: any(one["event"] == "log.ack_broken" for one in logs), 10)
        await eventually(lambda: done(bus), 10)


async def test_a_lane_goes_on(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry that it happened at is handled again, and those behind it wait for that."""
    handled = []

    async def order(received: Received) -> Outcome:
        handled.append(received.entry.payload()["frame"]["n"])
        return Outcome.dead("no")

    monkeypatch.setattr(Settler, "bury", broken_once(Settler.bury))
    await bus.group(order)
    with capture_logs() as logs:
        for n in range(3):
            await bus.write("s", n)
        await eventually(lambda: done(bus), 10)
    assert handled == [0, 0, 1, 2]
    assert [one["id"] for one in logs if one["event"] == "lane.failed"] == ["s-0"]


async def test_counts_go_on(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that failed is not counted then, and the entry is tried again all the same."""
    handled = []

    async def fails_once(received: Received) -> Outcome:
        handled.append(received.attempt)
        return Outcome.done() if len(handled) > 1 else Outcome.again("no")

    group = await bus.group(fails_once)
    monkeypatch.setattr(group._settler, "_count", broken_once(group._settler._count))
    with capture_logs() as logs:
        await bus.write("s", 0)
        await eventually(lambda: done(bus), 10)
    assert handled == [1, 2]
    assert [one["log_level"] for one in logs if one["event"] == "log.attempt_not_counted"] == ["error"]


async def test_a_trail_that_cannot_be_left_ends_no_acknowledgement(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and what waited for it is acknowledged."""
    monkeypatch.setattr(Settler, "_leave", broken_once(Settler._leave))
    await bus.group(handle)
    with capture_logs() as logs:
        await bus.write("s", 0)
        await eventually(lambda: done(bus), 10)
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["log.ack_broken"]


async def test_a_reader_goes_on(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group says what is wrong until it reads again."""
    problems: list[str | None] = []
    group = await bus.group(handle)
    recover = Reader._recover

    async def recovered(reader: Reader, error: Exception) -> None:
        await recover(reader, error)
        problems.append(group.problem())

    monkeypatch.setattr(Reader, "_recover", recovered)
    monkeypatch.setattr(Reader, "_turn", broken_once(Reader._turn))
    await bus.write("s", 0)
    await eventually(lambda: bool(problems), 10)
    await eventually(lambda: done(bus), 10)
    assert problems == ["group g: AttributeError while reading"]
    await eventually(lambda: group.problem() is None, 10)


async def test_a_lane_that_never_gets_past_a_defect_puts_the_entry_aside(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that a handler fails on: what comes after it is not held up for ever."""

    async def emit(lanes: Lanes, entries: Sequence[Entry]) -> None:
        raise RuntimeError("cannot be packed")

    async def emits(received: Received) -> Outcome:
        entry = received.entry
        return Outcome.done(entry) if entry.id == "s-0" else Outcome.done()

    monkeypatch.setattr(Lanes, "_emit", emit)
    await bus.group(emits)
    for n in range(2):
        await bus.write("s", n)
    await eventually(lambda: done(bus), 20)
    [(_, letter)] = await bus.stored(bus.keys.dead(bus.keys.inbound_of("s")))
    assert letter[b"dead_error"].startswith(b"it was tried 3 times")


async def test_a_writer_goes_on(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had is not confirmed, and who appended is told."""
    monkeypatch.setattr(Writer, "_write", broken_once(Writer._write))
    with capture_logs() as logs:
        with pytest.raises(LogUnavailable):
            await bus.write("s", 0)
        await bus.write("s", 1)
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["append.broken"]
