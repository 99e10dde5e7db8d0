"""What leaves the archive after its time, and what does not enter it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from fastapi.responses import JSONResponse

from processors.persistence.reader import ArchiveReader, Query
from processors.persistence.redaction import Redaction
from processors.persistence.retention import BATCH, EXPIRED, Retention, RetentionRules
from processors.persistence.rules import Row
from processors.persistence.store import Archive
from runtime.recording import LogRecording, Record, Selection
from schemas.events import MessageReceived
from schemas.groups import INBOUND, OUTBOUND
from tests.integration import test_replay
from tests.integration.processors_world import HANDLE, echo, message, processors_world, running
from tests.support.archives import START_MS, conversation, database, filled
from tests.support.bus import Bus
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually


async def groups_on(bus: Bus) -> None:
    """Every group on every log, as services make them."""
    for partition in range(bus.settings.partitions):
        for log, names in ((bus.keys.inbound(partition), INBOUND), (bus.keys.outbound(partition), OUTBOUND)):
            for name in names:
                await bus.observer.xgroup_create(log, name, id="0", mkstream=True)


async def left(reader: ArchiveReader) -> list[Row]:
    return [row async for page in reader.pages(Query()) for row in page]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_is_too_old_goes_by_its_type(kind: str, bus: Bus, tmp_path: Path, postgres: PostgresServer) -> None:
    """Of each type what is older than its rule says; all of it, in small transactions; the rest stays."""
    await groups_on(bus)
    now = (await bus.observer.time())[0] * 1000
    old = [row._replace(id=f"{row.id}-{n}") for n in range(10) for row in conversation()]
    young = [row._replace(id=f"young-{row.id}", at=now, seq=row.seq) for row in conversation(10)]
    url = await database(kind, tmp_path, postgres)
    async with filled(url, [*old, *young]) as reader:
        archive = Archive(url)
        await archive.start()
        rules = RetentionRules(["message.received=1d", "message.*=36500d"])
        retention = Retention(rules, archive, ArchiveReader(url), bus.client, bus.settings)
        before = EXPIRED._value.get()
        assert len([row for row in old if row.type == "message.received"]) > BATCH
        assert await retention.look() == 600
        assert EXPIRED._value.get() - before == 600
        rows = await left(reader)
        assert sorted(row.id for row in rows) == sorted(
            row.id for row in [*old, *young] if row in young or row.type == "message.published"
        )
        assert await retention.look() == 0
        await retention.stop()
        await archive.stop()


async def test_what_a_group_has_not_handled_stays(bus: Bus, tmp_path: Path) -> None:
    """Nothing is removed that came after the oldest entry that a group needs; nor anything while a group is missing."""
    rows = sorted(conversation(), key=lambda row: row.place)
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
    async with filled(url, rows) as reader:
        archive = Archive(url)
        retention = Retention(RetentionRules(["*=1d"]), archive, ArchiveReader(url), bus.client, bus.settings)
        assert await retention.look() == 0
        await groups_on(bus)
        log = bus.keys.inbound(2)
        await bus.observer.xadd(log, {"a": "b"}, id=f"{START_MS + 5}-0")
        for name in INBOUND[:-1]:
            await bus.observer.xgroup_setid(log, name, "$")
        await bus.observer.xreadgroup(INBOUND[-1], "c", {log: ">"})
        assert await retention.look() == len([row for row in rows if row.at < START_MS + 5])
        assert await left(reader) == [row for row in rows if row.at >= START_MS + 5]
        await bus.observer.xack(log, INBOUND[-1], f"{START_MS + 5}-0")
        await retention.look()
        assert await left(reader) == []
        await retention.stop()
        await archive.stop()


async def test_entries_are_written_while_others_are_removed(bus: Bus, tmp_path: Path) -> None:
    """No removal holds the writer for longer than a batch of it takes."""
    await groups_on(bus)
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
    old = [row._replace(id=f"{row.id}-{n}") for n in range(60) for row in conversation()]
    async with filled(url, old) as reader:
        archive = Archive(url)
        await archive.start()
        retention = Retention(RetentionRules(["*=1d"]), archive, ArchiveReader(url), bus.client, bus.settings)
        removing = asyncio.create_task(retention.look())
        written = 0
        while not removing.done():
            await archive.insert([row._replace(id=f"new-{written}", at=2**50) for row in old[:1]])
            written += 1
        assert await removing == len(old)
        assert written > len(old) / BATCH
        assert len(await left(reader)) == written
        await retention.stop()
        await archive.stop()


async def test_the_services_settings_reach_the_archive(tmp_path: Path) -> None:
    """The persistence processor redacts what it writes, of the logs and of their trails."""
    async with processors_world(tmp_path) as world:
        world.app.replies[HANDLE] = lambda call: JSONResponse({"echo": call.body.get("text", "")})
        world.settings = world.settings.model_copy(
            update={"archive_redact": ("*:frame.text=hash", "message.*:frame.echo=drop")}
        )
        async with running(world):
            await world.append("s1", message("the card is 4111"))
            await world.append("s1", MessageReceived(frame={"type": "other", "n": 1}))
            await eventually(lambda: world.settled("laravel"), 20)
            await eventually(lambda: world.settled("persistence"), 20)
            await eventually(lambda: len(world.archived(trails=True)) >= 2, 20)
        kept = [bytes(data) for trails in (False, True) for (data,) in world.archived("data", trails=trails)]
        assert len(kept) >= 5
        assert not any(b"4111" in data for data in kept)
        assert any(b"hmac-sha256:" in data for data in kept)


async def test_what_was_redacted_is_replayed_without_its_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trails without digests are read and judged by what else they say: no digest is no difference."""

    class Redacted(LogRecording):
        async def read(self, streams: Sequence[str], wanted: Selection) -> AsyncIterator[Sequence[Record]]:
            redaction = Redaction(["message.received:frame.card=drop"], world.settings.secret_bytes)
            async for batch in super().read(streams, wanted):
                yield [one._replace(entry=redaction.of(one.entry)) for one in batch]

    async with processors_world(tmp_path) as world:
        world.app.replies[HANDLE] = echo
        async with running(world, "laravel"), test_replay.routed(world):
            for n in range(5):
                await world.append("s1", message(f"{n}"))
            await eventually(lambda: world.settled("laravel", "router"))
            await eventually(lambda: world.frames("session:s1"))
        monkeypatch.setattr(test_replay, "LogRecording", Redacted)
        tally, found = await test_replay.replayed(world)
        assert found == []
        assert tally.outputs["identical"] == 15
