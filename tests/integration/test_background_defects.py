"""What works behind everybody's back goes on after a defect, and says so: what settles, what handles, what writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio.client import Pipeline
from structlog.testing import capture_logs

from runtime.bus.outcomes import Outcome, Received
from runtime.bus.settle import Settler
from runtime.bus.writer import Writer
from schemas.errors import LogUnavailable
from tests.support.bus import Bus
from tests.support.waiting import eventually


def broken_once(well: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`well`, which the first time ends as code with a defect in it does."""
    calls = 0

    async def method(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise AttributeError("'NoneType' object has no attribute 'writelines'")
        return await well(*arguments, **options)

    return method


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


async def test_a_writer_goes_on(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had is not confirmed, and who appended is told."""
    monkeypatch.setattr(Writer, "_write", broken_once(Writer._write))
    with capture_logs() as logs:
        with pytest.raises(LogUnavailable):
            await bus.write("s", 0)
        await bus.write("s", 1)
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["append.broken"]
