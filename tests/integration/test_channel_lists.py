"""Channels as the web console finds them in a real Redis."""

from __future__ import annotations

import pytest

from console.web.channels import Channels
from schemas.keys import partition_of
from schemas.topics import channel_topic
from tests.support.bus import Bus

MANY = 3_000


async def occupy(bus: Bus, *names: str) -> None:
    """List channels, each with one subscriber."""
    pipeline = bus.observer.pipeline(transaction=False)
    for name in names:
        topic = channel_topic(name)
        pipeline.hset(bus.keys.channels(partition_of(topic, bus.keys.partitions)), name, "1-0")
        pipeline.hset(bus.keys.topic(topic, "subscribers"), "s", "{}")
    await pipeline.execute()


async def scans(bus: Bus) -> int:
    """How often HSCAN was called."""
    stats = await bus.observer.info("commandstats")
    return int(stats.get("cmdstat_hscan", {}).get("calls", 0))


async def test_a_search_looks_at_so_many_names(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it finds among them; and it says when these were not all."""
    monkeypatch.setattr("console.web.channels.MOST_NAMES", 1_000)
    monkeypatch.setattr("console.web.channels._SCAN", 50)
    await occupy(bus, *(f"news-{number:05}" for number in range(MANY)))
    channels = Channels(bus.client, bus.keys)
    for part in ("zzz", "news"):
        before = await scans(bus)
        names = await channels.names(part, "")
        assert await scans(bus) - before <= 30
        assert not names.all
    assert names.channels


async def test_a_channel_is_found_by_its_name_however_many_there_are(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its whole name is asked for; a name that no channel has finds none."""
    monkeypatch.setattr("console.web.channels.MOST_NAMES", 0)
    await occupy(bus, "news", "other")
    channels = Channels(bus.client, bus.keys)
    assert [one.name for one in (await channels.names("news", "")).channels] == ["news"]
    assert not (await channels.names("new", "")).channels


async def test_channels_are_listed_page_by_page(bus: Bus) -> None:
    """All of them, in the order of their names; only those with a part of a name, if one is given."""
    wanted = [f"news-{number:05}" for number in range(120)]
    await occupy(bus, *wanted, "other")
    channels, found, after = Channels(bus.client, bus.keys), list[str](), ""
    while True:
        names = await channels.names("news", after)
        assert names.all
        found += [one.name for one in names.channels]
        if not (after := names.next):
            break
    assert found == wanted
