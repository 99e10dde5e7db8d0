"""What a real load recorded, decided again by the same code: nothing differs, and nobody is asked or told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from runtime.recording import recorded
from schemas.channel_auth import channel_auth
from tests.support.command import outcome
from tests.support.system import SECRET, System, environment, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = "presence-replayed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """A recorded load: two gateways, sessions that talk, are resumed and end, and services that are killed."""
    async with system(gateways=2, resume_seconds="10") as made:
        await load(made)
        await eventually(lambda: over(made), 60)
        yield made


async def load(running: System) -> None:
    ada, bob = [await running.laravel.token(name) for name in ("ada", "bob")]
    async with running.client(0) as a, running.client(1) as b:
        greeting = await a.authenticate(ada.token)
        await b.authenticate(bob.token)
        for client in (a, b):
            assert (await client.subscribe(ROOM))["type"] == "subscribed"
        assert (await a.subscribe("private-forbidden"))["type"] == "error"
        for n in range(5):
            await a.message(ROOM, f"before {n}")
        await b.send({"type": "client-wave", "channel": ROOM, "data": {"hand": "left"}})
        await a.wait_type("client-wave")
        await running.services["processors"].kill()
        for n in range(5):
            await a.message(ROOM, f"while nobody handles {n}")
        await running.services["processors"].start()
        await b.wait(lambda frame: frame.get("data", {}).get("content") == "while nobody handles 4")
        await running.services["egress"].kill()
        await a.message(ROOM, "while nobody routes")
        await running.services["egress"].start()
        await b.wait(lambda frame: frame.get("data", {}).get("content") == "while nobody routes")
        await running.post("/broadcast-to-channel", {"channel": ROOM, "message": {"n": 1}})
        await b.wait_type("channel_broadcast", data={"n": 1})
        a.transport.close(3000, "gone for a moment")
        await a.closed()
        resume = {"session": greeting["sessionId"], "secret": greeting["resumeSecret"], "offsets": {}}
        async with running.client(1) as again:
            await again.authenticate(ada.token, resume=resume)
            await again.message(ROOM, "after")
            user = {"userId": ada.user_id}
            auth = channel_auth("default", SECRET.encode(), again.session, "private-signed")
            await again.send({"type": "subscribe", "channel": "private-signed", "auth": auth, "id": "signed"})
            await again.wait_type("subscribed", channel="private-signed")
            await running.post("/unsubscribe", user | {"channel": "private-signed"})
            await again.wait_type("unsubscribed")
            await running.post("/disconnect", user)
            await again.closed()
    async with running.client(0) as stranger:
        await stranger.send({"type": "auth", "token": "nobody's", "protocol": 1})
        await stranger.closed()


async def over(running: System) -> bool:
    """Whether every session has ended, and every end was handled."""
    await running.settled()
    entries = await running.entries()
    ends = {entry.session for entry in entries if entry.type == "session.closed"}
    return ends == {entry.session for entry in entries if entry.type == "session.opened"}


async def replayed(running: System, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and JSON lines of a replay in a sandbox by the command; the application can be reached."""
    env = environment(running.folder, running.redis.url, running.laravel.url)
    arguments = ("replay", "--target", "sandbox", "--json", *options)
    status, output, errors = await outcome(*arguments, env=env, cwd=running.folder)
    assert status in (0, 1), errors
    return status, [json.loads(line) for line in output.splitlines()]


async def test_a_real_load_replays_identically(running: System) -> None:
    """Every output of processors and router is what it was."""
    status, lines = await replayed(running)
    assert (status, lines[:-1]) == (0, []), lines
    figures = lines[-1]
    assert figures["identical"] > 80
    assert (figures["changed"], figures["missing"], figures["new"]) == (0, 0, 0)
    assert not any(why.startswith(("not answered", "not settled")) for why in figures["not_judged"]), figures


async def test_a_replay_asks_nobody_and_writes_nothing(running: System) -> None:
    """The application hears nothing a second time, though it is there and could; no stream of the log was given
    anything: not even on its server.

    What counts is every entry ever added, which trimming, whose time may come meanwhile, leaves as it is.
    """

    async def state() -> tuple[int, dict[bytes, int]]:
        streams = [key async for key in running.log.scan_iter(_type="stream")]
        added = {key: (await running.log.xinfo_stream(key))["entries-added"] for key in streams}
        return await running.laravel.told(), added

    before = await state()
    assert before[0] > 0
    status, _ = await replayed(running, "--on-log")
    assert status == 0
    assert await state() == before
    assert [key async for key in running.log.scan_iter("hg-replay-*")] == []


async def test_one_session_can_be_replayed(running: System) -> None:
    """Of one session alone the processors decide again; the router is left out."""
    session = next(entry.session for entry in await running.entries() if entry.type == "session.resumed")
    status, lines = await replayed(running, "--session", session)
    assert (status, len(lines)) == (0, 1), lines
    _, whole = await replayed(running)
    assert 0 < lines[0]["identical"] < whole[0]["identical"]


async def test_the_archive_replays_what_the_log_has_forgotten(running: System) -> None:
    """Every log and trail is trimmed away: the archive alone is decided identically, and inspected, too."""
    await running.settled()
    _, from_the_log = await replayed(running)
    for stream in recorded(running.keys):
        await running.log.xtrim(stream, maxlen=0, approximate=False)
    status, lines = await replayed(running, "--source", "archive")
    assert (status, lines[:-1]) == (0, []), lines
    both, together = await replayed(running, "--source", "all")
    assert (both, together[:-1]) == (0, [])
    assert from_the_log[-1]["identical"] == lines[-1]["identical"] == together[-1]["identical"]
    login = await running.laravel.token("ada")
    env = environment(running.folder, running.redis.url, "http://127.0.0.1:9")
    status, output, errors = await outcome("inspect", "user", str(login.user_id), "--json", env=env, cwd=running.folder)
    assert (status, errors) == (0, "")
    assert "while nobody routes" in output
