"""`headgate replay` on the command line: what it prints, files, writes, and refuses."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse

from console.operators import OperatorsLog
from schemas.entry import Entry
from schemas.events import MessagePublished
from tests.integration.processors_world import HANDLE, World, message, recorded_world, running
from tests.support.command import headgate, outcome
from tests.support.waiting import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Ten messages of two sessions, handled."""
    async with recorded_world(tmp_path) as made:
        yield made


async def add(world: World, log: str, entry: Entry, stream_id: str) -> None:
    fields = entry.fields()
    pairs: Any = dict(zip(fields[::2], fields[1::2], strict=True))
    await world.client.xadd(log, pairs, id=stream_id)


def env(world: World) -> dict[str, str]:
    return {
        "HEADGATE_REDIS_URL": world.settings.redis_url,
        "HEADGATE_SECRET": world.settings.secret.get_secret_value(),
        "HEADGATE_LARAVEL_URL": "http://127.0.0.1:9",
    }


async def test_it_prints_what_the_log_holds_in_order(world: World, tmp_path: Path) -> None:
    """By default nothing is written: lines in the order of their appends, those that were chosen."""
    arguments = ("replay", "--json", "--type", "message.received", "--session", "s1")
    status, output, errors = await outcome(*arguments, env=env(world), cwd=tmp_path)
    assert status == 0, errors
    frames = [json.loads(line)["entry"]["data"]["frame"]["text"] for line in output.splitlines()]
    assert frames == ["1", "3", "5", "7", "9"]


async def test_a_file_is_gone_on_with_after_an_interruption(world: World, tmp_path: Path) -> None:
    """At the original speed it takes its time; interrupted, the same command goes on from where it was."""
    seconds, _ = await world.client.time()
    for n, earlier in enumerate((60_000, 55_000)):
        entry = Entry.of(message(f"old {n}"), id=f"old-{n}", ts=1, session="s1")
        key = "hg:{in:0}:old"  # Moved to where a log without entries of this time is.
        await add(world, key, entry, f"{seconds * 1000 - earlier}-0")
    empty = next(
        log for log in map(world.keys.inbound, range(4)) if log not in map(world.keys.inbound_of, ("s0", "s1"))
    )
    await world.client.rename(key, empty)
    whole, parts, mark = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl", tmp_path / "mark.json"
    chosen = ("replay", "--target", "file", "--type", "message.received")
    status, _, errors = await outcome(*chosen, "--output", str(whole), env=env(world), cwd=tmp_path)
    assert status == 0, errors
    slowly = (*chosen, "--output", str(parts), "--checkpoint", str(mark), "--speed", "original")
    async with headgate(*slowly, env=env(world), cwd=tmp_path) as process:
        await eventually(lambda: parts.exists() and parts.stat().st_size > 0, 20)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 20)
    assert len(parts.read_text().splitlines()) == 1
    status, _, errors = await outcome(*slowly[:-2], env=env(world), cwd=tmp_path)
    assert status == 0, errors
    assert parts.read_text() == whole.read_text()
    assert len(whole.read_text().splitlines()) == 12
    assert {stat.S_IMODE(one.stat().st_mode) for one in (whole, parts)} == {0o600}
    assert not mark.exists()


async def test_a_sandbox_ends_in_order(world: World, tmp_path: Path) -> None:
    """Programs are told how far it is. At SIGTERM its server is ended, and its directory removed."""
    seconds, _ = await world.client.time()
    empty = next(
        log for log in map(world.keys.inbound, range(4)) if log not in map(world.keys.inbound_of, ("s0", "s1"))
    )
    await add(world, empty, Entry.of(message("old"), id="old", ts=1, session="s1"), f"{seconds * 1000 - 600_000}-0")
    folder = tmp_path / "temporary"
    folder.mkdir()
    arguments = ("replay", "--target", "sandbox", "--json", "--speed", "original")
    async with headgate(*arguments, env=env(world) | {"TMPDIR": str(folder)}, cwd=tmp_path) as process:
        assert process.stderr is not None
        told = await asyncio.wait_for(process.stderr.readline(), 30)
        assert json.loads(told).keys() == {"read", "total"}
        assert len(list(folder.iterdir())) == 1
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []


async def test_a_sandbox_says_how_it_went(world: World, tmp_path: Path) -> None:
    """Figures for people and as JSON; status 0 where nothing differs, on a server of its own."""
    status, output, errors = await outcome("replay", "--target", "sandbox", env=env(world), cwd=tmp_path)
    assert status == 0, output + errors
    assert "20 identical, 0 changed, 0 missing, 0 new" in output
    assert "a second" in output


async def test_what_differs_is_status_one(world: World, tmp_path: Path) -> None:
    """A published reply that is not what the rules make of the answer: shown with both values, and filed."""
    log = world.keys.outbound_of("session:s0")
    found: Any = await world.client.xrange(log)
    await world.client.delete(log)
    for stream_id, fields in found:
        first = Entry.from_fields(fields)
        event = first.event()
        assert isinstance(event, MessagePublished)
        other = Entry.of(event.model_copy(update={"stream": 99}), id=first.id, ts=first.ts, topic=first.topic)
        other = replace(first, data=other.data)
        await add(world, log, other if stream_id == found[0][0] else first, "*")
    file = tmp_path / "differences.jsonl"
    arguments = ("replay", "--target", "sandbox", "--session", "s0", "--output", str(file))
    status, output, errors = await outcome(*arguments, env=env(world), cwd=tmp_path)
    assert status == 1, errors
    assert "data.stream: 99 -> 4" in output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    changed = [one for one in map(json.loads, file.read_text().splitlines()) if one["result"] == "changed"]
    assert [one["changes"] for one in changed] == [{"data.stream": {"recorded": 99, "now": 4}}]


async def test_into_the_log_only_with_the_sentence(world: World, tmp_path: Path) -> None:
    """Without `--live`, or with another sentence, nothing is written; with it the messages are there again, marked."""
    log = world.keys.inbound_of("s1")
    before = len(await world.entries([log]))

    async def live(typed: str, *options: str) -> tuple[int, str]:
        arguments = ("replay", "--target", "live", "--session", "s1", "--type", "message.received", *options)
        async with headgate(*arguments, env=env(world), cwd=tmp_path, typed=f"{typed}\n") as process:
            output, errors = await asyncio.wait_for(process.communicate(), 30)
            return process.returncode or 0, (output + errors).decode()

    status, said = await live("replay into hg:")
    assert (status, "--live" in said) == (2, True)
    status, said = await live("yes", "--live")
    assert (status, "nothing was written" in said) == (2, True)
    assert len(await world.entries([log])) == before
    status, said = await live("replay into hg:", "--live")
    assert (status, "appended 5 entries" in said) == (0, True), said
    again = (await world.entries([log]))[before:]
    assert [one.payload()["frame"]["text"] for one in again] == ["1", "3", "5", "7", "9"]
    assert all(one.payload()["replayed"] and one.cause for one in again)
    (record,) = await OperatorsLog(world.client, world.keys).newest(10)
    assert (record.who.address, record.operation, record.failure) == ("cli", "replay into log", "")
    assert record.target == "log, session s1, type message.received"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "sandbox", "--on-log", "--checkpoint", "mark"), "--on-log"),
        (("--target", "file"), "--output"),
        (("--keep",), "sandbox"),
        (("--target", "sandbox", "--keep"), "--on-log"),
        (("--from", "yesterday"), "no time"),
    ],
)
async def test_what_makes_no_sense_is_status_two(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """It is refused with words before anything is read."""
    status, _, errors = await outcome("replay", *arguments, env={}, cwd=tmp_path)
    assert (status, says in errors) == (2, True), errors


async def test_what_the_archive_has_in_part_is_not_replayed_into_the_log(tmp_path: Path) -> None:
    """Where a rule takes fields out of messages, the application would be given others than it was."""
    live = ("replay", "--target", "live", "--live", "--source", "archive")
    redact = {"HEADGATE_ARCHIVE_REDACT": "message.*:frame.data.card=drop"}
    status, _, errors = await outcome(*live, env=redact, cwd=tmp_path)
    assert (status, "--source log" in errors) == (2, True), errors


async def aged(world: World) -> None:
    """Let all but the last entry of each log and trail be five seconds older, and the first outputs other ones."""
    for log in await world.client.keys("hg:{*"):
        if await world.client.type(log) != b"stream":
            continue
        found: Any = await world.client.xrange(log)
        await world.client.delete(log)
        for stream_id, fields in found:
            ms, _, number = stream_id.decode().partition("-")
            back = 0 if found[-1][0] == stream_id else 5_000
            if stream_id == found[0][0] and b"{out:" in log:
                fields[b"data"] = fields[b"data"].replace(b"echo", b"Echo")
            await world.client.xadd(log, fields, id=f"{int(ms) - back}-{number}")


async def test_a_sandbox_goes_on_after_an_interruption(world: World, tmp_path: Path) -> None:
    """Every entry is decided once, and every difference told once, in the file too."""
    await aged(world)
    whole, parts, mark = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl", tmp_path / "mark"
    chosen = ("replay", "--target", "sandbox", "--json")
    status, output, errors = await outcome(*chosen, "--output", str(whole), env=env(world), cwd=tmp_path)
    assert status == 1, errors
    figures = json.loads(output.splitlines()[-1])
    assert figures["changed"] == 2
    slowly = (*chosen, "--output", str(parts), "--checkpoint", str(mark), "--speed", "original")
    async with headgate(*slowly, env=env(world), cwd=tmp_path) as process:
        await eventually(lambda: parts.exists() and parts.read_text(), 20)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 20)
    assert (mark / "dump.rdb").exists()
    status, _, errors = await outcome(*chosen, "--checkpoint", str(mark), "--user", "0", env=env(world), cwd=tmp_path)
    assert status == 2
    assert "of a replay of something else" in errors
    status, output, errors = await outcome(*slowly[:-2], env=env(world), cwd=tmp_path)
    assert status == 1, errors
    assert "Traceback" not in errors, errors
    again = json.loads(output.splitlines()[-1])
    assert {name: again[name] for name in ("read", "identical", "changed")} == {
        name: figures[name] for name in ("read", "identical", "changed")
    }
    assert sorted(parts.read_text().splitlines()) == sorted(whole.read_text().splitlines())
    assert not mark.exists()


async def test_a_sandbox_takes_the_sessions_with_what_was_chosen(world: World, tmp_path: Path) -> None:
    """Whole: with all that they sent."""
    world.app.replies[HANDLE] = lambda call: JSONResponse({})
    async with running(world, "laravel"):
        await world.append("s7", message("here", channel="news"), user="7")
        await world.append("s7", message("there"), user="7")
        await eventually(lambda: world.settled("laravel"))
    for chosen in (("--channel", "news"), ("--type", "message.received", "--user", "7")):
        status, output, errors = await outcome(
            "replay", "--target", "sandbox", "--json", *chosen, env=env(world), cwd=tmp_path
        )
        assert status == 0, errors
        assert json.loads(output)["identical"] == 4
    arguments = ("replay", "--target", "sandbox", "--channel", "nowhere")
    status, _, errors = await outcome(*arguments, env=env(world), cwd=tmp_path)
    assert status == 2
    assert "no session" in errors
