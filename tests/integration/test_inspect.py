"""`headgate inspect` over what processors and router really did."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from sqlalchemy import Select

from console.inspection.command import timeline_of
from console.inspection.kinds import Kind
from console.inspection.places import Places
from console.inspection.waiting import Waiting
from processors.persistence import rules
from processors.persistence.reader import ArchiveReader
from processors.persistence.rules import Row
from runtime.recording import LogRecording, Selection, recorded
from schemas.entry import Entry
from schemas.events import AuthRequested, SubscribeRequested, WhisperReceived
from schemas.keys import Keys
from tests.integration.processors_world import (
    AUTHORIZE,
    HANDLE,
    VERIFY,
    World,
    message,
    processors_world,
    running,
)
from tests.integration.test_replay import ROOM, routed, settled
from tests.support.archives import conversation, filled
from tests.support.command import outcome
from tests.support.waiting import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Ada is in the room and Bob is not let in; a whisper, a message that is answered and one that is not."""
    async with processors_world(tmp_path) as made:
        made.app.replies[VERIFY] = lambda call: JSONResponse({"user": {"id": call.headers["authorization"][-3:]}})
        made.app.replies[AUTHORIZE] = lambda call: (
            Response(status_code=403) if call.body["user"] == "bob" else JSONResponse({})
        )
        made.app.replies[HANDLE] = lambda call: (
            PlainTextResponse("what?") if call.body["text"] == "odd" else JSONResponse({"echo": call.body["text"]})
        )
        async with running(made, "auth", "channels", "laravel"), routed(made):
            for user in ("ada", "bob"):
                await made.append(user, AuthRequested(token=made.sealed(user, f"token-of-{user}"), protocol=1))
            await eventually(lambda: settled(made), 30)
            for user in ("ada", "bob"):
                await made.append(user, SubscribeRequested(channel=ROOM, frame_id="1"), user=user)
            await eventually(lambda: settled(made), 30)
            whisper = WhisperReceived(event="client-x", channel=ROOM, data={"n": 1}, member=True)
            await made.append("eve", whisper, user="eve", id="whisper-1")
            await made.append("ada", message("hello", frame_id="2"), user="ada")
            await made.append("ada", message("odd", frame_id="3"), user="ada")
            await eventually(lambda: settled(made), 30)
        yield made


async def inspected(world: World, tmp_path: Path, *arguments: str, **more: str) -> list[dict[str, Any]]:
    """What the command says as JSON; `more` are settings."""
    status, output, errors = await outcome("inspect", *arguments, "--json", env=env(world) | more, cwd=tmp_path)
    assert status == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def env(world: World) -> dict[str, str]:
    return {"HEADGATE_REDIS_URL": world.settings.redis_url, "COLUMNS": "200"}


async def test_why_somebody_got_it_and_somebody_did_not(world: World, tmp_path: Path) -> None:
    """Ada's timeline has the whisper, on her gateway; Bob's has the refusal in its place."""
    ada = await inspected(world, tmp_path, "user", "ada")
    (whisper,) = [one for one in ada if one["entry"]["cause"] == "whisper-1"]
    assert whisper["delivered"].startswith("publication to gw at offset 1")
    bob = await inspected(world, tmp_path, "user", "bob")
    assert not any(one["entry"]["cause"] == "whisper-1" for one in bob)
    (asked,) = [one for one in bob if one["entry"]["type"] == "channel.subscribe_requested"]
    assert [(one["processor"], one["outcome"], one["asked"]["status"]) for one in asked["handled"]] == [
        ("channels", "done", 403)
    ]


async def test_what_every_processor_did_with_an_entry_and_how_long_it_took(world: World, tmp_path: Path) -> None:
    """Of a message: when it was settled, by whom, after how many attempts, and what the application said."""
    steps = await inspected(world, tmp_path, "session", "ada")
    messages = [one for one in steps if one["entry"]["type"] == "message.received"]
    good, odd = [one["handled"][0] for one in messages]
    assert (good["outcome"], good["attempts"], good["asked"]["route"], good["asked"]["status"]) == (
        "done",
        1,
        HANDLE,
        200,
    )
    assert good["ms"] > 0
    assert good["at"] >= messages[0]["at"]
    assert (odd["outcome"], odd["attempts"], odd["asked"]["status"]) == ("dead", 3, 200)
    assert all(one["waits_for"] == [] for one in steps)


async def test_an_event_with_what_led_to_it_and_what_followed(world: World, tmp_path: Path) -> None:
    """Named by any of its entries, the whole of it is shown: the frame and the publication."""
    (received, published) = await inspected(world, tmp_path, "event", "whisper-1")
    assert (received["entry"]["type"], published["entry"]["type"]) == ("whisper.received", "message.published")
    assert await inspected(world, tmp_path, "event", published["entry"]["id"]) == [received, published]


async def test_people_read_it_too(world: World, tmp_path: Path) -> None:
    """Of a channel, as text: who asked, what was answered, who was delivered what."""
    status, output, errors = await outcome("inspect", "channel", ROOM, env=env(world), cwd=tmp_path)
    assert status == 0, errors
    assert "whisper.received" in output
    assert "channels: done at" in output
    assert "/api/webtransport/authorize answered 403" in output
    assert "publication to gw at offset 1" in output


async def test_what_nobody_has_settled_is_said(world: World, tmp_path: Path) -> None:
    """An entry that still waits shows for whom."""
    await world.append("ada", message("later"), user="ada", id="later-1")
    (step,) = await inspected(world, tmp_path, "event", "later-1")
    assert step["waits_for"] == ["laravel"]
    status, _, errors = await outcome("inspect", "event", "nothing", env=env(world), cwd=tmp_path)
    assert status == 2
    assert "nothing" in errors


async def test_what_no_trail_tells_of_is_said_to_be_that(world: World, tmp_path: Path) -> None:
    """Where trails are off, or trimmed, nobody waits for what was settled long ago; only what is not settled waits."""
    for log in world.logs():
        await world.client.delete(Keys.trail(log))
    steps = await inspected(world, tmp_path, "session", "ada")
    assert all(one["waits_for"] == [] for one in steps)
    (message_, *_) = [one for one in steps if one["entry"]["type"] == "message.received"]
    assert message_["unrecorded"] == ["laravel"]
    assert {one["delivered"] for one in steps if "delivered" in one} == {"nothing is recorded of who got it"}
    status, output, _ = await outcome("inspect", "session", "ada", env=env(world), cwd=tmp_path)
    assert status == 0
    assert "nothing is recorded of laravel" in output
    assert "not settled" not in output
    assert "not routed yet" not in output
    await world.append("ada", message("later"), user="ada", id="later-1")
    (step,) = await inspected(world, tmp_path, "event", "later-1")
    assert (step["waits_for"], step["unrecorded"]) == (["laravel"], [])


async def test_nobody_waits_for_whom_there_is_not(world: World, tmp_path: Path) -> None:
    """Where the application reads the log itself, and where an operator has removed the group."""
    await world.append("ada", message("later"), user="ada", id="later-1")
    (step,) = await inspected(world, tmp_path, "event", "later-1", HEADGATE_LARAVEL_VIA="log")
    assert (step["waits_for"], step["unrecorded"]) == ([], [])
    await world.client.sadd(world.keys.removed_groups(), "laravel")
    (step,) = await inspected(world, tmp_path, "event", "later-1")
    assert step["waits_for"] == []


async def test_an_entry_without_what_redaction_took_is_no_obstacle(world: World, tmp_path: Path) -> None:
    """A request to resume that has lost its token still leads from one session to the other."""
    redacted = Entry(id="a", type=AuthRequested.TYPE, v=1, ts=1, session="ada-2", data=b'{"resume":{"session":"ada"}}')
    await world.write(world.keys.inbound_of("ada-2"), redacted.fields())
    steps = await inspected(world, tmp_path, "session", "ada")
    assert "ada-2" in {one["entry"]["session"] for one in steps}


async def copied(world: World) -> list[Row]:
    """The rows of all that logs and trails hold."""
    rows = []
    for stream in recorded(world.keys):
        stored: Any = await world.client.xrange(stream)
        rows += [rules.row(stream, at.decode(), Entry.from_fields(fields)) for at, fields in stored]
    return rows


ASKED = [(Kind.USER, "ada"), (Kind.SESSION, "bob"), (Kind.EVENT, "whisper-1"), (Kind.CHANNEL, ROOM)]


async def told(world: World, kind: Kind, name: str, places: Places) -> list[dict[str, Any]]:
    """Every step of a timeline as plain values, in one list."""
    steps = list((await timeline_of(kind, name, Selection(), places, world.keys, Waiting())).roots)
    for step in steps:
        steps += step.led_to
    return [step.plain() for step in steps]


async def test_the_archive_tells_the_same_as_the_log(world: World, tmp_path: Path) -> None:
    """Alone, together with the log, and when a part of everything is in one of them alone."""
    url, log = f"sqlite+aiosqlite:///{tmp_path}/all.db", LogRecording(world.client)
    wanted = [await told(world, *one, Places(log, None)) for one in ASKED]
    assert all(wanted)
    async with filled(url, await copied(world)) as reader:
        for places in (Places(None, reader), Places(log, reader)):
            assert [await told(world, *one, places) for one in ASKED] == wanted
        for stream in recorded(world.keys)[::2]:
            await world.client.delete(stream)
        assert [await told(world, *one, Places(log, reader)) for one in ASKED] == wanted


async def test_an_archive_is_not_read_from_end_to_end(world: World, tmp_path: Path) -> None:
    """An event, a session and a user are found by its indexes, whatever else it holds."""
    read = 0

    class Counting(ArchiveReader):
        """Counts the rows that it gives."""

        async def _rows(self, statement: Select[Any]) -> list[Row]:
            nonlocal read
            rows = await super()._rows(statement)
            read += len(rows)
            return rows

    url = f"sqlite+aiosqlite:///{tmp_path}/all.db"
    rows = await copied(world)
    async with filled(url, rows + conversation(3_000)):
        reader = Counting(url)
        try:
            for kind, name in ((Kind.EVENT, "whisper-1"), (Kind.SESSION, "ada"), (Kind.USER, "ada")):
                read = 0
                assert await told(world, kind, name, Places(None, reader))
                # A row is found as one of a session, of a topic, and as what followed from another.
                assert 0 < read <= 3 * len(rows) < 3_000, (kind, read, len(rows))
        finally:
            await reader.close()


async def test_while_the_archive_is_away_the_log_is_looked_at(world: World, tmp_path: Path) -> None:
    """And that is said, not on standard output; who asks for the archive alone gets its error."""
    away = {"HEADGATE_ARCHIVE_URL": "postgresql+asyncpg://headgate:secret@127.0.0.1:9/headgate"}
    for arguments, ended in ((("--json",), 0), (("--json", "--source", "archive"), 1)):
        status, output, errors = await outcome(
            "inspect", "event", "whisper-1", *arguments, env=env(world) | away, cwd=tmp_path
        )
        assert (status != 0, bool(output)) == (ended, not ended), errors
        assert ("without the archive" in errors) == (not ended)
        assert "secret" not in errors
