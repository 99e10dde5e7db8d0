"""HEADGATE_ACK against real servers: nothing is confirmed before it is where it was to be."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from console.embedded import find_server
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import check_server
from runtime.bus.outcomes import Outcome, Verdict
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError, LogUnavailable
from schemas.events import MessageReceived
from tests.integration.processors_world import HANDLE, echo, processors_world, running
from tests.integration.processors_world import message as said
from tests.integration.router_world import ROOM, World, grant, message, places, world_on
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually

ENTRY = Entry.of(MessageReceived(frame={}), id="i", ts=1)


@asynccontextmanager
async def appending(url: str, mode: str) -> AsyncIterator[Appender]:
    """An appender with the assurance that HEADGATE_ACK=`mode` asks for, on a server that was checked for it."""
    settings = Settings(redis_url=url, ack=mode, _env_file=None)
    client = connect(settings)
    await check_server(client, settings)
    appender = Appender(client, assurance=Assurance.of(mode))
    await appender.start()
    try:
        yield appender
    finally:
        await appender.stop()
        await client.aclose()


async def _appended(appender: Appender) -> bool:
    """Whether it was confirmed: a disk that others use may take longer than the wait for it."""
    try:
        await appender.append("log", ENTRY)
    except LogUnavailable:
        return False
    return True


async def test_fsynced_is_on_disk_whatever_the_server_does_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a server that syncs once a second, an append is confirmed when that has happened."""
    monkeypatch.setenv("PATH", "")
    async with (
        redis_server(binary=str(find_server()), appendfsync="everysec") as server,
        appending(server.url, "fsynced") as appender,
    ):
        await eventually(lambda: _appended(appender))
        client = connect(Settings(redis_url=server.url, _env_file=None))
        assert await client.xlen("log") >= 1
        await client.config_set("appendonly", "no")
        with pytest.raises(LogUnavailable):
            await appender.append("log", ENTRY)
        await client.aclose()


async def test_a_server_that_cannot_say_so_is_refused() -> None:
    """Redis before 7.2 has no WAITAOF: the operator learns at the start what to do."""
    async with redis_server() as server:
        with pytest.raises(ConfigurationError, match=r"Redis 7\.2"):
            async with appending(server.url, "fsynced"):
                pass


async def test_replicated_is_held_by_a_replica() -> None:
    """While the replica answers, appends are confirmed; while it does not, they are not; afterwards they are again."""
    async with (
        redis_server() as master,
        redis_server(replicaof=f"127.0.0.1 {master.port}") as replica,
        appending(master.url, "replicated:1") as appender,
    ):

        async def confirmed() -> bool:
            try:
                await appender.append("log", ENTRY)
            except LogUnavailable:
                return False
            return True

        await eventually(confirmed, 20)
        os.kill(replica.pid, signal.SIGSTOP)
        assert not await confirmed()
        os.kill(replica.pid, signal.SIGCONT)
        await eventually(confirmed, 20)


async def test_nothing_is_delivered_before_its_topic_is_replicated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that took over would else give an offset to another publication than the one that gateways have by it.

    Neither a repeat nor another router learns sooner what became of it: Valkey waits for a connection's own writes
    alone, and a repeat has nothing to write but its mark.
    """
    monkeypatch.setenv("PATH", "")
    valkey = str(find_server())
    async with (
        redis_server(binary=valkey) as master,
        redis_server(binary=valkey, replicaof=f"127.0.0.1 {master.port}") as replica,
        world_on(master, ack="replicated:1") as w,
        world_on(master, ack="replicated:1") as other,
    ):
        granted, batch = grant(ROOM, "a", "g1"), [message(ROOM, 1), message(ROOM, 2)]

        async def routes(router: World, *entries: Entry) -> bool:
            return {one.verdict for one in await router.route(*entries)} == {Verdict.DONE}

        await eventually(lambda: routes(w, granted), 20)
        await w.take("g1")
        os.kill(replica.pid, signal.SIGSTOP)
        assert await w.route(*batch) == [Outcome.later("NotAssured")] * 2
        assert await w.route(*batch) == [Outcome.later("NotAssured")] * 2
        assert await other.route(batch[0]) == [Outcome.later("NotAssured")]
        assert await w.raw("g1") == []
        os.kill(replica.pid, signal.SIGCONT)
        await eventually(lambda: routes(other, *batch), 20)
        assert places(await w.take("g1")) == [(1, 1), (2, 2)]


async def test_what_follows_is_replicated_before_its_cause_is_acknowledged(tmp_path: Path) -> None:
    """A processor appends what follows from an entry until a replica has it too, and is done with the entry then."""
    async with processors_world(tmp_path) as w, redis_server(replicaof=f"127.0.0.1 {w.redis.port}") as replica:
        w.settings = w.settings.model_copy(update={"ack": "replicated:1"})
        w.app.replies[HANDLE] = echo

        async def followed(times: int) -> bool:
            return len(await w.entries([w.keys.outbound_of("session:s")])) >= times

        async with running(w, "laravel"):
            await w.append("s", said("one"))
            await eventually(lambda: w.settled("laravel"), 20)
            before = len(await w.entries([w.keys.outbound_of("session:s")]))
            os.kill(replica.pid, signal.SIGSTOP)
            await w.append("s", said("two"))
            await eventually(lambda: followed(before + 2), 20)
            assert await w.pending("laravel") == 1
            os.kill(replica.pid, signal.SIGCONT)
            await eventually(lambda: w.settled("laravel"), 20)


@pytest.mark.parametrize("mode", ["replicated", "replicated:0", "replicated:x", "written", ""])
def test_other_modes_are_refused(mode: str) -> None:
    """What HEADGATE_ACK may be is checked at the start."""
    with pytest.raises(ValueError, match="ack"):
        Settings(ack=mode, _env_file=None)
