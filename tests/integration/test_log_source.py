"""Timelines out of the log of a real Redis."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from console.web.archive_source import ArchiveSource
from console.web.joined import Joined
from console.web.log_source import BLOCK, LogSource
from console.web.timeline import Located, NoSuchEntry, Place, Query
from schemas.entry import Entry
from schemas.events import MessagePublished, MessageReceived
from schemas.keys import partition_of
from schemas.topics import channel_topic, session_topic
from tests.support.bus import Bus

SESSION = "0191d5e0-0000-7000-8000-000000000001"
OTHER = "0191d5e0-0000-7000-8000-000000000002"


async def put(bus: Bus, log: str, stream_id: str, entry: Entry) -> None:
    """Append an entry under an id of our choice."""
    await bus.observer.xadd(log, dict(zip(entry.names(), entry.values(), strict=True)), id=stream_id)


def received(number: int, session: str = SESSION) -> Entry:
    return Entry.of(MessageReceived(frame={"n": number}), id=f"r{number}", ts=number, session=session)


def published(number: int, topic: str, session: str = "", cause: str = "") -> Entry:
    event = MessagePublished(frame={"n": number})
    return Entry.of(event, id=f"p{number}", ts=number, topic=topic, session=session, cause=cause)


async def everything(source: LogSource, query: Query, size: int) -> list[Located]:
    """All pages of a timeline, one after the other."""
    found: list[Located] = []
    after = None
    while True:
        page = await source.page(query, after, size)
        assert len(page.entries) <= size
        found += page.entries
        if page.next is None:
            return found
        after = page.next


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(("block", "trips"), [(3, 1), (3, 40), (BLOCK, 40)])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_have_everything_once_and_in_order(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, size: int, block: int, trips: int, newest_first: bool
) -> None:
    """Whatever is read at once: entries of several logs, many with the same id, among those of other sessions."""
    monkeypatch.setattr("console.web.log_source.BLOCK", block)
    monkeypatch.setattr("console.web.log_source.MOST_TRIPS", trips)
    keys = bus.keys
    for number in range(1, 40):
        at = f"{1000 + number // 4}-{number % 2}"
        channel = channel_topic(f"c{number % 7}")
        if number % 4 < 2:
            await put(bus, keys.inbound_of(SESSION), f"{1000 + number}-0", received(number))
            await put(bus, keys.inbound_of(OTHER), f"{1000 + number}-1", received(number, OTHER))
        if number % 4 == 3:
            for log in range(keys.partitions):
                await put(bus, keys.outbound(log), at, published(10 * number + log, channel, SESSION))
    await put(bus, keys.outbound_of(session_topic(SESSION)), "2000-0", published(1, session_topic(SESSION)))
    found = await everything(LogSource(bus.client, keys), Query(SESSION, newest_first), size)
    orders = [one.place.order for one in found]
    assert orders == sorted(orders, reverse=newest_first)
    assert len(set(orders)) == len(orders) == 19 + 4 * 10 + 1


async def test_a_long_session_costs_no_more_than_its_page(bus: Bus) -> None:
    """The first page of 5,000 entries is one round trip of one block for each log, from either end."""
    pipeline = bus.observer.pipeline(transaction=False)
    for number in range(5_000):
        entry = received(number)
        pipeline.xadd(bus.keys.inbound_of(SESSION), dict(zip(entry.names(), entry.values(), strict=True)))
    await pipeline.execute()
    source = LogSource(bus.client, bus.keys)
    for newest_first in (False, True):
        began = time.perf_counter()
        page = await source.page(Query(SESSION, newest_first), None)
        print(f"the first of 5,000 entries: {1000 * (time.perf_counter() - began):.0f} ms")
        assert (len(page.entries), page.trips, page.read) == (200, 1, BLOCK)
        assert page.next == page.entries[-1].place


async def test_a_needle_is_looked_for_in_bounded_parts(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that finds nothing among many others ends, and says where to go on."""
    monkeypatch.setattr("console.web.log_source.BLOCK", 10)
    monkeypatch.setattr("console.web.log_source.MOST_READ", 50)
    log = bus.keys.inbound_of(SESSION)
    for number in range(1, 200):
        await put(bus, log, f"{number}-0", received(number, OTHER))
    await put(bus, log, "300-0", received(300))
    source, query = LogSource(bus.client, bus.keys), Query(SESSION)
    first = await source.page(query, None)
    assert (first.entries, first.read) == ([], 50)
    assert first.next is not None
    (found,) = await everything(source, query, 10)
    assert found.place.stream_id == "300-0"


async def test_datagrams_are_asked_for(bus: Bus) -> None:
    """They have logs of their own, and are in their places among the rest only on demand."""
    log = bus.keys.inbound_of(SESSION)
    for stream_id, place in (("1-0", log), ("2-0", bus.keys.datagrams(log)), ("3-0", log)):
        await put(bus, place, stream_id, received(1))
    source = LogSource(bus.client, bus.keys)
    for datagrams, wanted in ((False, ["1-0", "3-0"]), (True, ["1-0", "2-0", "3-0"])):
        page = await source.page(Query(SESSION, datagrams=datagrams), None)
        assert [one.place.stream_id for one in page.entries] == wanted


async def test_a_session_is_read_from_where_it_began(bus: Bus) -> None:
    """What was appended long before is not looked at."""
    log = bus.keys.inbound_of(SESSION)
    await put(bus, log, "1000-0", received(1))
    await put(bus, log, "90000-0", received(2))
    page = await LogSource(bus.client, bus.keys).page(Query(SESSION, since_ms=90_000), None)
    assert ([one.place.stream_id for one in page.entries], page.read) == (["90000-0"], 1)


async def test_a_chain_leads_up_and_down(bus: Bus, tmp_path: Path) -> None:
    """From a delivery to the message that led to it, and to the other things that followed from that."""
    keys, topic = bus.keys, channel_topic("lobby")
    await bus.observer.zadd(keys.gateways(), {"gateway-a": 1})
    await put(bus, keys.inbound_of(SESSION), "1000-0", received(1))
    await put(bus, keys.outbound_of(topic), "1010-0", published(2, topic, SESSION, "r1"))
    await put(
        bus, keys.outbound_of(session_topic(SESSION)), "1011-0", published(3, session_topic(SESSION), SESSION, "r1")
    )
    await put(bus, keys.delivery("gateway-a"), "1010-0", published(4, topic, SESSION, "p2"))
    await put(bus, keys.outbound_of(topic), "1020-0", published(5, topic, SESSION, "another"))
    timelines = Joined(LogSource(bus.client, keys), ArchiveSource(f"sqlite+aiosqlite:///{tmp_path}/none.db", keys))
    wanted = ["r1", "p2", "p3", "p4"]
    for log, stream_id in (
        (f"in:{partition_of(SESSION, keys.partitions)}", "1000-0"),
        (f"out:{partition_of(topic, keys.partitions)}", "1010-0"),
        ("gw:gateway-a", "1010-0"),
    ):
        story = await timelines.story(Place(log, stream_id))
        assert sorted(one.text("id") for one in story.chain) == sorted(wanted), log


@pytest.mark.parametrize(("most", "found"), [(10_000, 300), (200, 200)])
async def test_what_followed_is_read_a_part_at_a_time(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, most: int, found: int
) -> None:
    """All of it, some of each log at once, until that is enough: what came first is found in either case."""
    monkeypatch.setattr("console.web.log_source._FOLLOWS_BLOCK", 50)
    monkeypatch.setattr("console.web.log_source.MOST_FOLLOWS", most)
    await put(bus, bus.keys.inbound_of(SESSION), "1000-0", received(1))
    for number in range(150):
        for log in (0, 1):
            await put(bus, bus.keys.outbound(log), f"{1000 + number}-1", published(number, "t", SESSION, "r1"))
    root = Located(Place(f"in:{partition_of(SESSION, bus.keys.partitions)}", "1000-0"), {b"session": SESSION.encode()})
    followed = await LogSource(bus.client, bus.keys).effects(root, {"r1"})
    places = [one.place for one in followed]
    assert (len(places), len(set(places))) == (found, found)
    assert {place.ms for place in places} == set(range(1000, 1000 + found // 2))


async def test_an_entry_that_is_not_there(bus: Bus) -> None:
    """Trimmed entries and logs that do not exist are named."""
    source = LogSource(bus.client, bus.keys)
    for place in (Place("in:0", "1-0"), Place("in:9", "1-0"), Place("gw:nobody", "1-0")):
        with pytest.raises(NoSuchEntry):
            await source.entry(place)
