"""The log as the demo page receives it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from console.demo.feed import Viewer, row_of
from schemas.entry import Entry
from schemas.events import AuthRequested, SessionOpened

STREAM = "hg:{in:0}"


async def pieces(viewer: Viewer, heartbeat: float = 60.0) -> AsyncIterator[bytes]:
    """The viewer's events after the opening one."""
    events = viewer.events(heartbeat)
    assert await anext(events) == b"retry: 1000\n\n"
    return events


async def test_rows_come_in_order() -> None:
    """Rows leave in the order in which they were put, those that wait together in one piece."""
    viewer = Viewer()
    events = await pieces(viewer)
    viewer.put(b"1")
    viewer.put(b"2")
    assert await anext(events) == b"data: 1\n\ndata: 2\n\n"
    viewer.put(b"3")
    assert await anext(events) == b"data: 3\n\n"


async def test_a_slow_viewer_loses_the_oldest_and_is_told() -> None:
    """A queue that is full gives up its oldest rows, and says once how many they were."""
    viewer = Viewer(size=2)
    events = await pieces(viewer)
    for row in (b"1", b"2", b"3", b"4", b"5"):
        viewer.put(row)
    assert await anext(events) == b'event: skipped\ndata: {"skipped":3}\n\ndata: 4\n\ndata: 5\n\n'
    viewer.put(b"6")
    assert await anext(events) == b"data: 6\n\n"


async def test_silence_is_filled() -> None:
    """Without entries, a comment keeps the connection known to both sides."""
    events = await pieces(Viewer(), heartbeat=0.01)
    assert await anext(events) == b": heartbeat\n\n"


async def test_a_viewer_is_sent_away() -> None:
    """A viewer that is ended gets what was queued, and then its end."""
    viewer = Viewer()
    events = await pieces(viewer)
    viewer.put(b"1")
    viewer.end()
    assert [piece async for piece in events] == [b"data: 1\n\n"]


def test_a_row_shows_no_token() -> None:
    """The token of an auth entry, although sealed, does not leave the server; the rest of the entry does."""
    event = AuthRequested(token="c2VhbGVk", protocol=1, stream=0)
    row = orjson.loads(row_of(STREAM, "1-0", Entry.of(event, id="e", ts=1, session="s")))
    assert row["stream"] == STREAM
    assert row["redis_id"] == "1-0"
    assert row["entry"]["session"] == "s"
    assert row["entry"]["data"]["token"] == "sealed"
    assert row["entry"]["data"]["protocol"] == 1


def test_a_row_is_one_line() -> None:
    """Whatever an entry holds, its row has no line break: that would end the event."""
    event = SessionOpened(transport="webtransport", origin="a\nb\r\nc", path="/", address="::1")
    row = row_of(STREAM, "1-0", Entry.of(event, id="e", ts=1))
    assert b"\n" not in row
    assert b"\r" not in row
