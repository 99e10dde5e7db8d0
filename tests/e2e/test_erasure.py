"""A user is erased: nothing that they sent is anywhere, everybody else's is everywhere that it was."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow.parquet
import pytest
import pytest_asyncio

from console.operators import OperatorsLog
from processors.persistence.reader import ArchiveReader, Query
from processors.persistence.rules import Row
from schemas.entry import Entry
from schemas.events import MessageReceived
from schemas.keys import Keys
from tests.support.archives import holding
from tests.support.client import Client
from tests.support.command import outcome
from tests.support.system import SECRET, System, system
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

CANARY: Final = "canary-of-ada"
OTHERS: Final = "words-of-bob"
ROOM: Final = "presence-room-1"
OPERATOR: Final = "the secret of an operator of this test"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """Everything, with gateways that count as lost, and sessions that end, after seconds."""
    tokens = f"grace:operator:{OPERATOR}"
    async with system(console=True, console_tokens=tokens, gateway_lease_seconds="4", resume_seconds="1") as made:
        yield made


async def speak(system: System, client: Client, words: str) -> str:
    """Say `words` in every way there is, as a user of that name; gives the user id."""
    login = await system.laravel.token(words)
    await client.authenticate(login.token)
    answer = await client.subscribe(ROOM)
    assert answer["type"] == "subscribed", answer
    await client.message(ROOM, f"{words} in a message")
    await client.ask({"type": "echo", "words": f"{words} echoed"})
    await client.send({"type": "client-wave", "channel": ROOM, "data": {"words": f"{words} waved"}, "id": "wave"})
    await client.wait_type("ack", id="wave")
    client.datagram({"type": "cursor", "room": ROOM, "words": f"{words} in a datagram"})
    return str(login.user_id)


def env(system: System) -> dict[str, str]:
    return {
        "HEADGATE_REDIS_URL": system.redis.url,
        "HEADGATE_ARCHIVE_URL": f"sqlite+aiosqlite:///{system.folder / 'archive.db'}",
        "HEADGATE_GATEWAY_LEASE_SECONDS": "4",
        "HEADGATE_SECRET": SECRET,
    }


async def archived(system: System) -> list[Row]:
    reader = ArchiveReader(env(system)["HEADGATE_ARCHIVE_URL"])
    try:
        return [row async for page in reader.pages(Query()) for row in page]
    finally:
        await reader.close()


async def in_redis(system: System, words: str) -> list[str]:
    """Keys whose values hold `words` in any of their bytes, deleted ones included; and files of the server."""
    found = []
    key: Any
    async for key in system.log.scan_iter(count=1000):
        if words.encode() in (await system.log.dump(key) or b"") or words.encode() in key:
            found.append(key.decode())
    return found + holding(Path(str((await system.log.config_get("dir"))["dir"])), "*", words)


def in_files(system: System, words: str) -> list[str]:
    """Files of the archive that hold `words`."""
    return holding(system.folder, "archive.db*", words)


async def shown(system: System, session: str) -> str:
    """The console's page of a session, with the pages of all its entries."""
    async with httpx.AsyncClient(base_url=system.console_url, trust_env=False, follow_redirects=True) as http:
        await http.post("/sign-in", data={"token": OPERATOR, "next": "/"}, headers={"Sec-Fetch-Site": "same-origin"})
        page = (await http.get(f"/sessions/{session}")).text
        entries = sorted(set(re.findall(r'href="(/entries/[^"?]+)', page)))
        assert len(entries) > 5
        return page + "".join([(await http.get(unescape(entry))).text for entry in entries])


async def exported(system: System, folder: Path, name: str) -> list[dict[str, Any]]:
    """What an export into a file of this kind has, entry by entry."""
    file = folder / name
    status, out, err = await outcome("archive", "export", str(file), env=env(system), cwd=folder)
    assert status == 0, out + err
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in file.read_text().splitlines()]
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    return found


async def test_a_user_is_erased(running: System, tmp_path: Path) -> None:
    """Archive, its files, exports, every key of Redis and its append-only file: no canary; the others' words stay."""
    await running.log.config_set("rdbcompression", "no")  # So that what there is can be seen in its files.
    async with running.client() as bob:
        other = await speak(running, bob, OTHERS)
        async with running.client() as ada:
            user = await speak(running, ada, CANARY)
            status, out, err = await outcome("erase", "user", user, "--yes", env=env(running), cwd=tmp_path)
            assert (status, "disconnect them first" in err) == (2, True), out + err
            session = ada.session
        letter = Entry.of(MessageReceived(frame={"words": f"{CANARY} died"}), id="letter", ts=1, session="s", user=user)
        mine = Entry.of(MessageReceived(frame={"words": f"{OTHERS} died"}), id="other", ts=1, session="s2", user=other)
        for entry in (letter, mine):
            fields = entry.fields()
            dead: Any = dict(zip(fields[::2], fields[1::2], strict=True)) | {b"dead_group": b"laravel"}
            await running.log.xadd(Keys.dead(running.keys.inbound(0)), dead)

        async def over() -> bool:
            return not await running.log.hlen(running.keys.topic(f"user:{user}", "subscribers"))

        await eventually(over, 20)
        await running.settled()
        assert len(await in_redis(running, CANARY)) > 3
        assert in_files(running, CANARY)
        assert CANARY in await shown(running, session)
        before = await archived(running)
        theirs = [row for row in before if row.user == other]
        assert theirs

        status, out, err = await outcome("erase", "user", user, env=env(running), cwd=tmp_path)
        assert (status, "Nothing was changed" in out) == (0, True), out + err
        assert await archived(running) == before
        status, out, err = await outcome("erase", "user", user, "--yes", env=env(running), cwd=tmp_path)
        assert status == 0, out + err

        assert await in_redis(running, CANARY) == []
        assert in_files(running, CANARY) == []
        assert CANARY not in await shown(running, session)
        assert OTHERS in await shown(running, bob.session)
        for name in ("all.jsonl", "all.parquet"):
            rows = await exported(running, tmp_path, name)
            assert CANARY not in str(rows)
            assert OTHERS in str(rows)
            erased = {row["id"] for row in rows if row.get("erased") is not None}
            assert erased >= {row.id for row in before if row.user == user}
        (record,) = await OperatorsLog(running.log, running.keys).newest(10)
        assert (record.operation, record.target, record.failure) == ("erase user", user, "")

        after = await archived(running)
        assert [row for row in after if row.user == other and row in before] == theirs
        for row in after:
            if row.erased is None:
                row.entry.event()
            else:
                assert (row.data, row.user in ("", user)) == (b"", True)
        letters: Any = await running.log.xrange(Keys.dead(running.keys.inbound(0)))
        assert [fields[b"id"] for _, fields in letters] == [b"other"]

        # The others go on as if nothing had happened.
        await bob.message(ROOM, f"{OTHERS} afterwards")
        assert (await bob.ask({"type": "echo", "n": 1}))["type"] == "echo"
    status, out, err = await outcome("erase", "user", user, "--yes", env=env(running), cwd=tmp_path)
    assert (status, "0 entries of the archive were emptied" in out) == (0, True), out + err
    # And what is left of both is decided as it was.
    await running.settled()
    for source in ("archive", "log", "all"):
        replay = ("replay", "--target", "sandbox", "--source", source, "--json")
        status, out, err = await outcome(*replay, env=env(running), cwd=tmp_path)
        *differences, figures = [json.loads(line) for line in out.splitlines()]
        assert (status, differences) == (0, []), (source, figures, err)
        assert figures["identical"] > 4, (source, figures)
    status, out, err = await outcome("erase", "user", "nobody", "--yes", env=env(running), cwd=tmp_path)
    assert (status, "Nothing is known" in out) == (0, True), out + err
