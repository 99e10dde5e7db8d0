"""What happened is the same wherever it is read: in the log, in the archive, or in both after the log was trimmed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from console.recordings import ArchiveRecording, Together, opened
from console.replay.options import between
from console.sources import Source
from processors.persistence import rules
from processors.persistence.reader import ArchiveReader
from runtime.bus.servers import connect
from runtime.recording import LogRecording, Record, Recording, Selection, recorded
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import MessagePublished, MessageReceived
from schemas.topics import channel_topic
from tests.support.archives import filled
from tests.support.redis_server import redis_server

START_MS = 1_700_000_000_000
SELECTIONS = [
    Selection(),
    Selection(sessions=frozenset({"s1"})),
    Selection(sessions=frozenset({"s1", "s2"}), types=frozenset({MessageReceived.TYPE})),
    Selection(user="u0"),
    Selection(channel="room"),
    Selection(types=frozenset({MessagePublished.TYPE, MessageReceived.TYPE})),
    Selection(since=START_MS + 400, until=START_MS + 900),
    Selection(since=START_MS + 400, since_seq=1, until=START_MS + 900, until_seq=2),
]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[aioredis.Redis]:
    made = connect(settings)
    yield made
    await made.aclose()


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    async with redis_server(appendonly="no") as server:
        url = f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}"
        yield Settings(redis_url=server.url, partitions=2, archive_url=url, _env_file=None)


@pytest.fixture
async def reader(settings: Settings, client: aioredis.Redis) -> AsyncIterator[ArchiveReader]:
    """Some 3,000 entries on logs and trails, many of them of one ms, all of them archived."""
    chance, rows = random.Random(1), []
    for at in range(START_MS, START_MS + 1000):
        for number in range(chance.choice((0, 1, 3, 8))):
            stream = chance.choice(recorded(settings.keys))
            entry = _entry(f"{at}/{number}", chance.randrange(4))
            fields: Any = dict(zip(entry.names(), entry.values(), strict=True))
            added: Any = await client.xadd(stream, fields, id=f"{at}-*")
            stream_id = added.decode()
            rows.append(rules.row(stream, stream_id, entry))
    async with filled(settings.archive_url, rows) as made:
        yield made


def _entry(id: str, n: int) -> Entry:
    if n == 3:
        event: Any = MessagePublished(frame={"n": n})
        return Entry.of(event, id=id, ts=START_MS, topic=channel_topic("room"))
    received = MessageReceived(frame={"n": n}, channel="room" if n else None)
    return Entry.of(received, id=id, ts=START_MS, session=f"s{n}", user=f"u{n % 2}")


async def read(recording: Recording, settings: Settings, wanted: Selection) -> list[Record]:
    return [one async for batch in recording.read(recorded(settings.keys), wanted) for one in batch]


@pytest.mark.parametrize("wanted", SELECTIONS, ids=range(len(SELECTIONS)))
async def test_the_same_from_everywhere(
    settings: Settings, client: aioredis.Redis, reader: ArchiveReader, wanted: Selection
) -> None:
    """In the same order, whole and once, also when Redis holds a part of it alone."""
    log, archive = LogRecording(client), ArchiveRecording(reader)
    expected = await read(log, settings, wanted)
    assert len(expected) > 100
    assert await read(archive, settings, wanted) == expected
    chance = random.Random(2)
    for stream in recorded(settings.keys):
        await client.xtrim(stream, minid=f"{START_MS + chance.randrange(1000)}", approximate=False)
    assert len(await read(log, settings, wanted)) < len(expected)
    assert await read(Together(archive, log), settings, wanted) == expected
    cut = expected[len(expected) // 2]
    behind = Selection(
        **{name: getattr(wanted, name) for name in wanted.__slots__} | {"after": {cut.stream: cut.stream_id}}
    )
    later = [one for one in expected if one.stream != cut.stream or expected.index(one) > expected.index(cut)]
    assert await read(Together(archive, log), settings, behind) == later


async def test_what_the_archive_has_not_taken_yet_is_read_from_the_log(
    settings: Settings, client: aioredis.Redis, reader: ArchiveReader
) -> None:
    """Together they have the newest entry, too; a host without an archive has the log."""
    entry = _entry("new", 1)
    fields: Any = dict(zip(entry.names(), entry.values(), strict=True))
    await client.xadd(settings.keys.inbound(0), fields)
    async with opened(Source.ALL, settings, client) as both:
        assert (await read(both, settings, Selection()))[-1].entry == entry
    async with opened(Source.ARCHIVE, settings, client) as archive:
        assert (await read(archive, settings, Selection()))[-1].entry != entry
    elsewhere = settings.model_copy(update={"archive_url": f"{settings.archive_url}.none"})
    async with opened(Source.ALL, elsewhere, client) as log:
        assert (await read(log, settings, Selection()))[-1].entry == entry


@pytest.mark.parametrize("kind", ["log", "archive"])
async def test_a_stream_id_is_a_place_within_its_millisecond(
    settings: Settings, client: aioredis.Redis, reader: ArchiveReader, kind: str
) -> None:
    """From an id on, and before one: those of the same ms are told apart by their second number."""
    source: Recording = LogRecording(client) if kind == "log" else ArchiveRecording(reader)
    ids = [one.stream_id for one in await read(source, settings, Selection())]
    crowded = next(id for id in ids if id.endswith("-1"))
    for wanted in (between(crowded, ""), between("", crowded)):
        found = [one.stream_id for one in await read(source, settings, wanted)]
        assert found == [id for id in ids if wanted.within(*map(int, id.split("-")))]
        assert 0 < len(found) < len(ids)
    at = crowded.partition("-")[0]
    within = [one.stream_id for one in await read(source, settings, between(f"{at}-1", f"{at}-2"))]
    assert set(within) == {crowded}
