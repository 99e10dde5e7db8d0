"""HEADGATE_ACK against real servers: nothing is confirmed before it is where it was to be."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from console.embedded import find_server
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import check_server
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError, LogUnavailable
from schemas.events import MessageReceived
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


@pytest.mark.parametrize("mode", ["replicated", "replicated:0", "replicated:x", "written", ""])
def test_other_modes_are_refused(mode: str) -> None:
    """What HEADGATE_ACK may be is checked at the start."""
    with pytest.raises(ValueError, match="ack"):
        Settings(ack=mode, _env_file=None)
