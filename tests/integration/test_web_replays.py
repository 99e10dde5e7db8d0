"""Replays as jobs of the web console, over a real Redis, with the real command as a child."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from console.erasures import note_erasure
from console.web.replays import jobs
from schemas.keys import Keys
from tests.integration.processors_world import World, recorded_world
from tests.integration.test_web_console import HERE, SECRET, console, sign_in
from tests.support.waiting import eventually

VIEWER = "the secret of a viewer of this test too"
TOKENS = SecretStr(f"ada:operator:{SECRET},grace:viewer:{VIEWER}")
#: Seconds that a whole replay may take here: the command starts, and a server for it.
PATIENCE = 30


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Ten messages of two sessions, handled."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with recorded_world(tmp_path) as made:
        yield made


class Desk:
    """An operator at the console."""

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self.http = http
        self.key = key

    async def start(self, **form: str) -> httpx.Response:
        """Ask for a replay."""
        return await self.http.post("/replays", data={"form_key": self.key, "source": "log"} | form, headers=HERE)

    async def cancel(self, number: int) -> httpx.Response:
        """Ask for the end of one."""
        return await self.http.post(f"/replays/{number}/cancel", data={"form_key": self.key}, headers=HERE)

    async def state(self, number: int) -> str:
        """What its page says of it."""
        page = (await self.http.get(f"/replays/{number}")).text
        return str(re.findall(r'<dt>State</dt><dd><span class="state \w+">(\w+)</span>', page)[0])

    async def over(self, number: int) -> str:
        """Its page, once it has ended."""
        await eventually(lambda: self._ended(number), PATIENCE)
        return (await self.http.get(f"/replays/{number}")).text

    async def _ended(self, number: int) -> bool:
        return await self.state(number) != "running"


async def desk(http: httpx.AsyncClient) -> Desk:
    """Signed in as the operator."""
    await sign_in(http)
    page = (await http.get("/replays")).text
    return Desk(http, page.split('name="form_key" value="', 1)[1].split('"', 1)[0])


def children() -> list[int]:
    """Processes of `headgate replay` that this one has."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:  # Gone meanwhile.
            continue
        if parent == os.getpid() and b"console.cli\0replay" in command:
            found.append(int(folder.name))
    return found


def left() -> list[Path]:
    """Directories of replays that are there."""
    return list(Path(tempfile.gettempdir()).glob("headgate-replay-*"))


async def test_a_replay_runs_beside_the_console(world: World) -> None:
    """It is a process of its own, its result is on its page, and who asked for it is written down."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        answer = await ada.start()
        assert (answer.status_code, answer.headers["Location"]) == (303, "/replays/1")
        assert await eventually(children)
        page = await ada.over(1)
        assert '<strong class="percent">100 %</strong> of 20 outputs are identical' in page
        assert (children(), left()) == ([], [])
        one = (await ada.start(session="s0", user="0")).headers["Location"]
        assert "10 outputs are identical" in await ada.over(int(one.rpartition("/")[2]))
        listed = (await http.get("/live/replays")).text
        assert "log, session s0, user 0" in listed
        activity = (await http.get("/activity")).text
        assert "start replay" in activity
        assert "log, session s0, user 0" in activity
        assert (await http.get("/live/replays/1")).headers["HX-Refresh"] == "true"


async def test_what_differs_is_on_its_page(world: World) -> None:
    """An output that was taken out of the log is new, and can be filtered for."""
    log = world.keys.outbound_of("session:s0")
    found: Any = await world.client.xrange(log)
    # Written anew: of a log that has lost its first entries what they belong to is left out.
    await world.client.delete(log)
    for stream_id, fields in found[1:]:
        await world.client.xadd(log, fields, id=stream_id)
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start(session="s0")
        page = await ada.over(1)
        assert await ada.state(1) == "different"
        assert found[0][1][b"id"].decode() in page
        assert page.count("<article") == 1
        assert "<article" in (await http.get("/replays/1?kind=new")).text
        assert "<article" not in (await http.get("/replays/1?kind=changed")).text
        assert (await http.get("/replays/1?kind=new&start=50")).text.count("<article") == 0


async def test_replays_from_before_an_erasure_are_forgotten(world: World) -> None:
    """Their pages could show what was erased: those that are over go, one that runs is ended, later ones stay."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start(session="s0")
        await ada.over(1)
        await ada.start()
        assert await eventually(children)
        await note_erasure(world.client, world.keys)
        assert "session s0" not in (await http.get("/live/replays")).text
        assert (children(), left()) == ([], [])
        assert [(await http.get(f"/replays/{number}")).status_code for number in (1, 2)] == [404, 404]
        await ada.start(session="s1")
        assert "10 outputs are identical" in await ada.over(3)
        assert "session s1" in (await http.get("/live/replays")).text


async def test_one_runs_at_a_time_until_it_is_cancelled(world: World) -> None:
    """A second is refused in words; cancelled, the first ends with its server and leaves nothing."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start()
        refused = await ada.start(session="s1")
        assert refused.status_code == 409
        assert "replay 1 runs, and there is one at a time" in refused.text
        assert 'value="s1"' in refused.text
        assert (await ada.cancel(1)).status_code == 303
        assert await ada.state(1) == "cancelled"
        assert (children(), left()) == ([], [])
        assert (await ada.cancel(1)).status_code == 303
        assert "over already" in (await http.get("/replays/1")).text
        assert (await ada.cancel(7)).status_code == 404
        activity = (await http.get("/activity")).text
        assert activity.count("cancel replay") == 5  # Two of the three failed.
        await ada.start(session="s1")
        assert "10 outputs are identical" in await ada.over(2)


async def test_one_that_does_not_end_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process does not hear SIGTERM: the cancellation does not wait for it for ever."""
    monkeypatch.setattr(jobs, "STOP_S", 0.1)
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start()
        (child,) = await eventually(children)
        os.kill(child, signal.SIGSTOP)
        assert (await ada.cancel(1)).status_code == 303
        assert await ada.state(1) == "cancelled"
        assert (children(), left()) == ([], [])


async def test_a_replay_ends_with_the_console(world: World) -> None:
    """Nothing of it is left."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start()
        assert await eventually(children)
    assert (children(), left()) == ([], [])


@pytest.mark.parametrize(("line", "why"), [("what is this", "unexpected character"), ("{}", "result")])
async def test_one_that_cannot_be_heard_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    """It has failed once its process is gone, so that another one can be started."""
    waits = f"import signal; print({line!r}, flush=True); signal.pause()"
    monkeypatch.setattr(jobs, "headgate", lambda *_: [sys.executable, "-c", waits, "console.cli", "replay"])
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        for number in (1, 2):
            assert (await ada.start()).status_code == 303
            page = await ada.over(number)
            assert (children(), left()) == ([], [])
            assert await ada.state(number) == "failed"
            assert "cannot be taken, so it was ended" in page
            assert why in page


async def test_a_viewer_looks_and_starts_nothing(world: World) -> None:
    """The page has no form for them, and one that comes all the same is refused."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start()
        await ada.over(1)
        http.cookies.clear()
        await http.post("/sign-in", data={"token": VIEWER}, headers=HERE)
        page = (await http.get("/replays")).text
        assert "Start the replay" not in page
        assert "outputs are identical" in (await http.get("/replays/1")).text
        grace = Desk(http, page.split('name="form_key" value="', 1)[1].split('"', 1)[0])
        assert (await grace.start()).status_code == 403
        assert (await grace.cancel(1)).status_code == 403


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"since": "yesterday"}, "is no time"),
        ({"since": "²²²²²"}, "is no time"),
        ({"until": "9" * 40}, "no time that a log can have"),
        ({"since": "1960-01-01"}, "no time that a log can have"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "must be after"),
        ({"source": "the moon"}, "choose the log"),
        ({"session": "a\0b"}, "cannot be seen"),
        ({"user": "x" * 300}, "too long"),
    ],
)
async def test_what_makes_no_sense_is_said_on_the_form(world: World, form: dict[str, str], says: str) -> None:
    """Nothing is started then; what was filled in stays."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        answer = await ada.start(**form)
        assert (answer.status_code, says in answer.text) == (422, True), answer.text
        assert "Nothing was replayed yet" in answer.text


async def test_why_nothing_could_be_compared_is_on_its_page(world: World) -> None:
    """Without a trail the command says so; a session that there is not, too."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        ada = await desk(http)
        await ada.start(session="--nobody")
        assert "no session of that kind is in what is replayed" in await ada.over(1)
        for partition in range(world.keys.partitions):
            await world.client.delete(Keys.trail(world.keys.inbound(partition)))
        await ada.start()
        page = await ada.over(2)
        assert await ada.state(2) == "failed"
        assert "is there a trail (HEADGATE_TRAIL)" in page
        assert "not settled by laravel" in page


async def test_addresses_of_replays_that_cannot_be(world: World) -> None:
    """They are refused in words."""
    async with console(world.settings, console_tokens=TOKENS) as http:
        await desk(http)
        for path, status in (
            ("/replays/1", 404),
            ("/live/replays/1", 404),
            ("/replays/x", 422),
            ("/replays/1?start=-1", 422),
            ("/replays/1?kind=identical", 422),
            ("/replays?source=moon", 422),
        ):
            assert (await http.get(path)).status_code == status, path
