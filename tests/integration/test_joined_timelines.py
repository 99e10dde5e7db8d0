"""Timelines of what the log has and what only the archive has, over a real Redis and both databases."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from console.web import shown
from console.web.archive_source import ArchiveSource
from console.web.joined import Joined
from console.web.log_source import BLOCK, LogSource
from console.web.timeline import PAGE, Located, NoSuchEntry, Page, Place, Query
from processors.persistence import rules
from processors.persistence.reader import ArchiveReader
from processors.persistence.rules import Row
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.servers import connect
from runtime.bus.trail import handled
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import MessagePublished, MessageReceived
from schemas.keys import Keys, partition_of
from schemas.topics import session_topic
from tests.support.archives import database, erase, filled
from tests.support.postgres import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.waiting import PATIENCE

SESSION, OTHER = "0191d5e0-0000-7000-8000-000000000001", "0191d5e0-0000-7000-8000-000000000002"
START_MS = 1_700_000_000_000
#: So many that the order of their names as text is not that of their keys.
PARTITIONS = 12
IN = f"in:{partition_of(SESSION, PARTITIONS)}"


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer) -> str:
    """Of an empty database of each kind."""
    return await database(request.param, tmp_path, postgres)


class Both:
    """A log and an archive that entries are put into."""

    def __init__(self, client: aioredis.Redis, keys: Keys, url: str) -> None:
        self.client, self.keys = client, keys
        self.log, self.archive = LogSource(client, keys), ArchiveSource(url, keys)
        self.timelines = Joined(self.log, self.archive)
        self.rows: list[Row] = []

    async def put(self, stream: str, stream_id: str, entry: Entry, *, log: bool = True, archive: bool = True) -> Place:
        """An entry in either or both; the archive has it once its rows are kept."""
        if log:
            fields: Any = dict(zip(entry.names(), entry.values(), strict=True))
            await self.client.xadd(stream, fields, id=stream_id)
        if archive:
            self.rows.append(rules.row(stream, stream_id, entry))
        return Place(stream.removeprefix("hg:{").replace("}", ""), stream_id)

    async def everything(self, query: Query, size: int = PAGE) -> list[Located]:
        """All pages of a timeline, one after the other."""
        found: list[Located] = []
        after = None
        while True:
            page = await self.timelines.page(query, after, size)
            assert len(page.entries) <= size
            assert page.missing == ""
            found += page.entries
            if page.next is None:
                return found
            after = page.next


@pytest.fixture
async def both(server: RedisServer, url: str) -> AsyncIterator[Both]:
    client = connect(Settings(redis_url=server.url, partitions=PARTITIONS, _env_file=None))
    made = Both(client, Keys("hg:", PARTITIONS), url)
    yield made
    await made.archive.stop()
    await client.aclose()


def received(number: int, session: str = SESSION) -> Entry:
    return Entry.of(MessageReceived(frame={"n": number}), id=f"r{session[-1]}-{number}", ts=number, session=session)


def published(id: str, topic: str = "channel:c", session: str = SESSION, cause: str = "") -> Entry:
    return Entry.of(MessagePublished(frame={}), id=id, ts=1, topic=topic, session=session, cause=cause)


async def conversation(both: Both) -> list[Place]:
    """Entries of all logs, many of one id, with trails and another session's; the places of what is the session's."""
    chance = random.Random(3)
    places: list[Place] = []
    for at in range(START_MS, START_MS + 40):
        for number in range(chance.choice((0, 1, 2))):
            stream_id = f"{at}-{number}"
            entry = received(len(places))
            places.append(await both.put(both.keys.inbound_of(SESSION), stream_id, entry))
            trail = handled("laravel", Received(0, stream_id, entry, 1), Outcome.done(), Verdict.DONE, 0.01)
            await both.put(Keys.trail(both.keys.inbound_of(SESSION)), stream_id, trail)
            await both.put(both.keys.inbound_of(OTHER), f"{at}-{number}", received(len(places), OTHER))
            for log in chance.sample(range(PARTITIONS), 4):
                of = {"session": SESSION} if log % 2 else {"session": "", "topic": session_topic(SESSION)}
                places.append(await both.put(both.keys.outbound(log), stream_id, published(f"p{len(places)}", **of)))
    return sorted(places, key=lambda place: Located(place, {}).place.order)


@pytest.mark.parametrize(("newest_first", "block", "trips"), [(False, BLOCK, 40), (True, BLOCK, 40), (False, 3, 1)])
async def test_one_timeline_without_holes_and_repeats(
    both: Both, url: str, monkeypatch: pytest.MonkeyPatch, newest_first: bool, block: int, trips: int
) -> None:
    """Whatever was trimmed of each log and whatever the archive has not taken yet, from either end, in any pages, also
    where the log has to be looked through in parts."""
    monkeypatch.setattr("console.web.log_source.BLOCK", block)
    monkeypatch.setattr("console.web.log_source.MOST_TRIPS", trips)
    wanted = await conversation(both)
    if newest_first:
        wanted.reverse()
    chance = random.Random(4)
    late = [row for row in both.rows if row.at >= START_MS + 30 and row.seq]
    async with filled(url, [row for row in both.rows if row not in late]):
        for stream in [make(n) for make in (both.keys.inbound, both.keys.outbound) for n in range(PARTITIONS)]:
            await both.client.xtrim(stream, minid=f"{START_MS + chance.randrange(30)}", approximate=False)
        for size in (1, 3, 7, 1000):
            found = await both.everything(Query(SESSION, newest_first), size)
            assert [one.place for one in found] == wanted, size
        assert {one.held_by for one in found} == {("log",), ("archive",), ("log", "archive")}
        middle = wanted[len(wanted) // 2]
        page = await both.timelines.page(Query(SESSION, newest_first), middle, 5)
        assert [one.place for one in page.entries] == wanted[len(wanted) // 2 + 1 :][: len(page.entries)]


async def test_every_place_opens(both: Both, url: str) -> None:
    """An entry has the same fields, chain and trail wherever it is read, and one that is nowhere is not there."""
    places = await conversation(both)
    async with filled(url, both.rows):
        before = [await both.timelines.story(place) for place in places[:40]]
        await both.client.xtrim(both.keys.inbound_of(SESSION), minid=f"{START_MS + 30}", approximate=False)
        await both.client.delete(Keys.trail(both.keys.inbound_of(SESSION)))
        after = [await both.timelines.story(place) for place in places[:40]]
        assert {one.located.held_by for one in after} == {("archive",), ("log", "archive")}
        for was, now in zip(before, after, strict=True):
            assert (was.located.fields, was.trail) == (now.located.fields, now.trail)
            assert [one.place for one in was.chain] == [one.place for one in now.chain]
            assert [one.said.processor for one in now.trail] == ["laravel"] * now.located.place.log.startswith("in")
        for place in (Place(IN, "1-0"), Place("in:99", "1-0"), Place("gw:a", "1-0")):
            with pytest.raises(NoSuchEntry):
                await both.timelines.story(place)


async def test_a_chain_goes_through_both(both: Both, url: str) -> None:
    """Its links are found whichever of the two has each, from any of them; what came an hour later is left out."""
    keys = both.keys
    root = received(1)
    id = root.id
    places = [
        await both.put(keys.inbound_of(SESSION), f"{START_MS}-0", root, log=False),
        await both.put(keys.outbound(1), f"{START_MS}-1", published("a", cause=id), archive=False),
        await both.put(keys.outbound(2), f"{START_MS + 1}-0", published("b", cause="a"), log=False),
        await both.put(keys.outbound(3), f"{START_MS + 2}-0", published("c", cause="b"), archive=False),
        await both.put(keys.outbound(4), f"{START_MS + 3}-0", published("d", cause=id), log=False),
    ]
    await both.put(keys.outbound(5), f"{START_MS + 3_600_000}-0", published("e", cause=id), log=False)
    async with filled(url, both.rows):
        for place in (places[0], places[4]):
            story = await both.timelines.story(place)
            assert [one.place for one in story.chain] == places
        await both.put(keys.inbound_of(SESSION), f"{START_MS}-0", root, archive=False)
        story = await both.timelines.story(places[1])
        assert [one.place for one in story.chain] == places


async def test_what_was_erased_stays_erased(both: Both, url: str) -> None:
    """Also where the log still has the payload, as it has until it is trimmed."""
    place = await both.put(both.keys.inbound_of(SESSION), f"{START_MS}-0", received(42))
    async with filled(url, both.rows):
        await erase(url)
        for _ in range(2):
            (row,) = await both.everything(Query(SESSION))
            story = await both.timelines.story(place)
            for one in (row, story.located):
                assert shown.payload(one) == "(erased)"
                assert "42" not in shown.preview(one)
                assert one.text("type") == "message.received"
            await both.client.delete(both.keys.inbound_of(SESSION))


async def test_a_long_session_of_the_archive_opens_at_once(both: Both, url: str) -> None:
    """5,000 entries that only the archive has, among as many of others: a page costs what its rows cost."""
    for number in range(5_000):
        for session in (SESSION, OTHER):
            await both.put(
                both.keys.inbound_of(session), f"{START_MS + number}-0", received(number, session), log=False
            )
    async with filled(url, both.rows):
        await both.everything(Query(OTHER), 1000)  # So that the schema was looked at.
        for newest_first in (False, True):
            began = time.perf_counter()
            page = await both.timelines.page(Query(SESSION, newest_first), None)
            took = time.perf_counter() - began
            print(f"the first of 5,000 entries of the archive: {1000 * took:.0f} ms")
            assert len(page.entries) == PAGE
            assert page.next == page.entries[-1].place
            assert took < PATIENCE
        assert len(await both.everything(Query(SESSION))) == 5_000


async def test_what_the_log_trims_while_a_page_is_read_is_there(both: Both, url: str) -> None:
    """An entry that goes into the archive and out of the log meanwhile is found in the archive."""
    stream = both.keys.inbound_of(SESSION)
    for number in (1, 3):
        await both.put(stream, f"{START_MS + number}-0", received(number), log=False)
    between = received(2)
    async with filled(url, both.rows):

        class Trimming(LogSource):
            async def page(self, *arguments: Any) -> Page:
                async with filled(url, [rules.row(stream, f"{START_MS + 2}-0", between)]):
                    return await super().page(*arguments)

        page = await Joined(Trimming(both.client, both.keys), both.archive).page(Query(SESSION), None, 3)
        assert [one.place.ms - START_MS for one in page.entries] == [1, 2, 3]


def silent_urls(folder: Path) -> Sequence[tuple[str, str]]:
    broken = folder / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    return (
        (f"sqlite+aiosqlite:///{folder}/none.db", "was not asked: there is no archive"),
        (f"sqlite+aiosqlite:///{broken}", "did not answer"),
        ("mysql://user:secret@host/archive", "was not asked: HEADGATE_ARCHIVE_URL"),
        ("postgresql+asyncpg://user:secret@127.0.0.1:9/archive", "did not answer"),
    )


async def test_without_an_archive_the_log_is_shown(both: Both, tmp_path: Path) -> None:
    """One that was never made, is no database, cannot be opened or does not answer: it says so, without a password."""
    place = await both.put(both.keys.inbound_of(SESSION), f"{START_MS}-0", received(1))
    for url, words in silent_urls(tmp_path):
        archive = ArchiveSource(url, both.keys)
        timelines = Joined(both.log, archive)
        page = await timelines.page(Query(SESSION), None)
        story = await timelines.story(place)
        assert [one.place for one in page.entries] == [story.located.place] == [place]
        assert words in page.missing
        assert words in story.missing
        assert "secret" not in page.missing
        assert await timelines.ends(SESSION) == []
        with pytest.raises(NoSuchEntry, match="archive"):
            await timelines.story(Place(IN, "1-0"))
        await archive.stop()


async def test_an_archive_that_hangs_is_waited_for_once(both: Both, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it owes an answer it is not asked again; once it gives it, it is."""
    monkeypatch.setattr("console.web.archive_source.ANSWER_S", 0.05)
    goes_on, asked = asyncio.Event(), 0
    real = ArchiveReader.page

    async def hangs(self: ArchiveReader, *arguments: Any, **more: Any) -> list[Row]:
        nonlocal asked
        asked += 1
        await goes_on.wait()
        return await real(self, *arguments, **more)

    monkeypatch.setattr(ArchiveReader, "page", hangs)
    await both.put(both.keys.inbound_of(SESSION), f"{START_MS}-0", received(1))
    async with filled(url, both.rows):
        for words in ("did not answer within", "has yet to answer"):
            page = await both.timelines.page(Query(SESSION), None)
            assert len(page.entries) == 1
            assert words in page.missing
        assert asked == 1
        goes_on.set()
        monkeypatch.setattr("console.web.archive_source.ANSWER_S", 10)
        while (page := await both.timelines.page(Query(SESSION), None)).missing:
            assert "yet to answer" in page.missing
        assert [one.held_by for one in page.entries] == [("log", "archive")]


async def test_names_that_a_database_cannot_hold(both: Both, url: str) -> None:
    """PostgreSQL has no text with NUL: such a session is nobody's, and no error of ours."""
    async with filled(url, []):
        page = await both.timelines.page(Query("a\x00b"), None)
        assert page.entries == []
