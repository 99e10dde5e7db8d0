"""Which sessions and channels are listed, and what is told of them, on a real Redis."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable

import pytest

from egress.channels import Channels, Occupancy
from egress.directory import Directory
from egress.router import Router
from egress.routing.notes import Note
from schemas.entry import Entry
from schemas.events import SessionAuthenticated, SessionEnded
from schemas.keys import partition_of
from schemas.topics import channel_topic
from tests.integration.router_world import PRESENCE, ROOM, World, ended, entry, grant, message, world

ONE = [Occupancy("room", 1, None)]


class Sleepy(Directory):
    """A directory whose router fell asleep before it wrote its notes down."""

    def __init__(self, world: World) -> None:
        super().__init__(world.client, world.keys)
        self.notes: list[Note] = []

    async def take(self, notes: Iterable[Note]) -> None:
        self.notes += notes

    async def wake(self) -> None:
        await super().take(self.notes)


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world(history_size=5) as made:
        yield made


@pytest.fixture
def channels(w: World) -> Channels:
    return Channels(w.client, w.directory, w.settings)


async def listed(channels: Channels) -> list[Occupancy]:
    return (await channels.page(100))[0]


async def marks(w: World) -> dict[str, str]:
    """What the directory has, empty channels included."""
    found: dict[str, str] = {}
    for partition in range(w.settings.partitions):
        found |= await w.directory.channels(partition)
    return found


async def test_a_channel_is_listed_while_somebody_is_in_it(w: World, channels: Channels) -> None:
    """From the first subscriber to the last, with the number of sessions, and of users where that is known."""
    await w.route(grant(ROOM, "a", "g1"), grant(ROOM, "b", "g2"), message("channel:other", 1))
    await w.route(*(grant(PRESENCE, session, "g1", user) for session, user in (("a", "7"), ("b", "7"), ("c", "8"))))
    assert sorted(await listed(channels), key=lambda one: one.name) == [
        Occupancy("presence-room", 3, 2),
        Occupancy("room", 2, None),
    ]
    await w.route(ended(ROOM, "a", "g1"))
    assert Occupancy("room", 1, None) in await listed(channels)
    await w.route(ended(ROOM, "b", "g2"), *(ended(PRESENCE, session, "g1") for session in "abc"))
    assert await listed(channels) == []
    assert await marks(w) == {}


async def test_pages_are_exact(w: World, channels: Channels) -> None:
    """Every channel once, in pages of the asked size, by prefix where asked."""
    names = [f"{'even' if n % 2 == 0 else 'odd'}-{n}" for n in range(23)]
    await w.route(*(grant(f"channel:{name}", "a", "g1") for name in names))
    for prefix in ("", "even", "even-1", "none"):
        seen, sizes = list[str](), list[int]()
        position: tuple[int, str] | None = (0, "")
        while position is not None:
            page, position = await channels.page(4, *position, prefix)
            seen += [one.name for one in page]
            sizes.append(len(page))
        expected = sorted(name for name in names if name.startswith(prefix))
        assert sorted(seen) == expected
        assert len(sizes) == max(1, math.ceil(len(expected) / 4))


async def test_a_batch_that_comes_again_changes_nothing(w: World, channels: Channels) -> None:
    """However far it got the first time: what counts is what the topic says now."""
    first = [grant(ROOM, "a", "g1"), ended(ROOM, "a", "g1"), grant(ROOM, "b", "g2")]
    batch = w.received(*first)
    await Router(w.store, Sleepy(w), w.streams, w.sessions).handle(batch)
    assert await listed(channels) == []
    for _ in range(2):
        await w.router.handle(batch)
        assert await listed(channels) == ONE
    await w.route(ended(ROOM, "b", "g2"))
    await w.router.handle(batch)
    assert await listed(channels) == []
    assert await marks(w) == {}


async def test_a_late_router_takes_no_channel_away(w: World, channels: Channels) -> None:
    """One that was asleep since the channel became empty says so when somebody else is in it."""
    await w.route(grant(ROOM, "a", "g1"))
    late = Sleepy(w)
    batch = w.received(ended(ROOM, "a", "g1"))
    await Router(w.store, late, w.streams, w.sessions).handle(batch)
    await w.router.handle(batch)
    await w.route(grant(ROOM, "b", "g2"))
    await late.wake()
    assert await listed(channels) == ONE


async def test_a_late_router_brings_no_channel_back(w: World, channels: Channels) -> None:
    """One that was asleep since somebody came says so when nobody is there: not listed, and forgotten by the look."""
    late = Sleepy(w)
    batch = w.received(grant(ROOM, "a", "g1"))
    await Router(w.store, late, w.streams, w.sessions).handle(batch)
    await w.router.handle(batch)
    await w.route(ended(ROOM, "a", "g1"))
    await late.wake()
    assert await marks(w) == {"room": "1-0"}
    assert await listed(channels) == []
    assert await marks(w) == {}


def opened(gateway: str = "g1", generation: int = 1) -> Entry:
    """A connection of the session `a`."""
    return entry("session:a", SessionAuthenticated(user="7", generation=generation), "a", gateway, "7")


def over() -> Entry:
    return entry("session:a", SessionEnded(), "a")


async def asleep(w: World, *entries: Entry) -> Sleepy:
    """A router that fell asleep before it noted `entries` down, which another one routed then."""
    late, batch = Sleepy(w), w.received(*entries)
    await Router(w.store, late, w.streams, w.sessions).handle(batch)
    await w.router.handle(batch)
    return late


async def test_a_late_router_brings_no_session_back(w: World) -> None:
    """One that was asleep since a session began says so when it is over, with the channels that it had."""
    late = await asleep(w, opened(), grant(ROOM, "a", "g1", "7"))
    (there,) = await w.directory.get(["a"])
    assert there.channels == ("room",)
    await w.route(ended(ROOM, "a", "g1", "7"), over())
    await late.wake()
    assert await w.directory.get(["a"]) == []
    assert await w.directory.count() == 0
    assert await w.directory.live(["a"]) == set()
    assert await w.client.exists(w.keys.topic("session:a", "channels")) == 0


async def test_a_late_router_takes_no_session_back_to_an_earlier_connection(w: World) -> None:
    """The session is listed at the gateway where it is now."""
    late = await asleep(w, opened())
    await w.route(opened("g2", generation=2))
    await late.wake()
    (there,) = await w.directory.get(["a"])
    assert there.gateway == "g2"


async def test_notes_that_come_again_list_a_session_as_the_last_of_them_says(w: World) -> None:
    """A batch that is routed once more brings back none whose end it has; what follows is listed as ever."""
    late = await asleep(w, opened(), over())
    await late.wake()
    assert await w.directory.count() == 0
    await w.route(entry("session:b", SessionAuthenticated(user="7"), "b", "g1", "7"))
    assert await w.directory.live(["a", "b"]) == {"b"}


async def test_a_late_router_changes_no_channels_of_a_session_that_goes_on(w: World) -> None:
    """What it says of a channel that the session left, or joined again, since then is not believed."""
    await w.route(opened())
    joined = await asleep(w, grant(ROOM, "a", "g1", "7"), grant(PRESENCE, "a", "g1", "7"))
    left = await asleep(w, ended(ROOM, "a", "g1", "7"), ended(PRESENCE, "a", "g1", "7"))
    await w.route(grant(PRESENCE, "a", "g1", "7"))
    await joined.wake()
    await left.wake()
    await joined.wake()
    (there,) = await w.directory.get(["a"])
    assert there.channels == ("presence-room",)
    await w.route(ended(PRESENCE, "a", "g1", "7"), over())
    assert await w.client.exists(w.keys.topic("session:a", "channels")) == 0


async def test_who_looks_forgets_nothing_that_was_joined_since(w: World, channels: Channels) -> None:
    """Between the look at an empty channel and its end somebody came."""
    empty = await _seen_empty(w)
    await w.route(grant(ROOM, "b", "g1"))
    await w.directory.unlist(empty)
    assert await listed(channels) == ONE


async def _seen_empty(w: World) -> dict[str, str]:
    await w.route(grant(ROOM, "a", "g1"))
    found = await w.directory.channels(partition_of(channel_topic("room"), w.settings.partitions))
    await w.route(ended(ROOM, "a", "g1"))
    return found


async def test_entries_are_compared_as_numbers(w: World, channels: Channels) -> None:
    """The tenth is later than the ninth."""
    for _ in range(12):
        await w.route(grant(ROOM, "a", "g1"), ended(ROOM, "a", "g1"))
        assert await marks(w) == {}
        await w.route(grant(ROOM, "a", "g1"))
        assert await listed(channels) == ONE


async def test_a_history_is_read_in_pages(w: World, channels: Channels) -> None:
    """Oldest first and without holes, from what is kept; where to go on, and the epoch that it is of."""
    assert await channels.history("room", 0, 10) == await channels.history("room", 7, 10)
    assert (await channels.history("room", 0, 10)).epoch is None
    await w.route(*(message(ROOM, n, exclude="a" if n == 7 else None) for n in range(1, 9)))
    whole = await channels.history("room", 0, 10)
    assert [(one.offset, one.frame["n"]) for one in whole.publications] == [(n, n) for n in range(4, 9)]
    assert (whole.offset, whole.next) == (8, None)
    assert [one.exclude for one in whole.publications] == [None, None, None, "a", None]
    assert all(one.at == w.now for one in whole.publications)
    first = await channels.history("room", 0, 2)
    assert ([one.offset for one in first.publications], first.next) == ([4, 5], 5)
    rest = await channels.history("room", 5, 3)
    assert ([one.offset for one in rest.publications], rest.next) == ([6, 7, 8], None)
    assert first.epoch == rest.epoch == whole.epoch
    for beyond in (8, 9, 1 << 52):
        assert (await channels.history("room", beyond, 10)).publications == ()


async def test_what_is_too_old_is_not_shown(w: World, channels: Channels) -> None:
    """As it is not handed to those who recover, whether or not it is still kept."""
    w.now -= w.settings.history_seconds * 1000 + 1
    await w.route(message(ROOM, 1))
    w.now += w.settings.history_seconds * 1000
    assert (await channels.history("room", 0, 10)).publications == ()
    assert (await channels.history("room", 0, 10)).offset == 1
