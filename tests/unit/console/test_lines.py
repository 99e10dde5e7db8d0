"""Entries as lines for people."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from console.lines import line_of
from console.printable import printable
from console.records import order, streams
from console.tail import Filter
from runtime.recording import topic_of
from schemas.entry import MSGPACK, Entry, encode_data
from schemas.events import EVENTS, MessageReceived
from schemas.keys import Keys
from schemas.readable import to_json

KEYS = Keys("hg:", 2)


def entry(type_: str, data: Any, **context: str) -> Entry:
    """An entry of any type with any data."""
    ct, raw = encode_data(data)
    return Entry(id="1", type=type_, v=1, ts=1_700_000_000_000, data=raw, ct=ct, **context)


ATTACKS = [
    "one\ntwo",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    "back\rover",
    "bell\x07",
    "a\u202eb",
    "a\u2028b",
    "zero\u200bwidth",
    "[bold]markup[/bold]",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["content", "type", "topic", "session", "unknown"])
def test_what_clients_wrote_cannot_forge_a_line(attack: str, place: str) -> None:
    """Whatever a client sends, its entry is one line of characters that a terminal shows and none that it obeys."""
    data = {"frame": {"type": "message", "data": {"content": attack}}, "channel": attack}
    one = {
        "content": entry("message.received", data),
        "type": entry(attack, data),
        "topic": entry("message.published", data, topic=f"channel:{attack}"),
        "session": entry("session.ended", {}, session=attack),
        "unknown": entry("what.ever", {attack: attack}),
    }[place]
    line = line_of(KEYS.inbound(0), "1700000000000-0", one)
    assert line.plain.isprintable()
    assert [span.style for span in line.spans if span.style == "bold"] == []


def test_printable_leaves_text_alone_and_cuts() -> None:
    """Letters of any script stay; what is too long ends with an ellipsis."""
    assert printable("Grüße, 世界 🙂") == "Grüße, 世界 🙂"
    assert printable("a\tb\x00\ud800") == "a\\tb\\x00\\ud800"
    assert printable("abcdef", 4) == "abc…"


@pytest.mark.parametrize("type_", sorted(EVENTS))
def test_every_event_type_has_a_line(type_: str) -> None:
    """No type, even with data that is not as it should be, ends the command."""
    broken: list[Any] = [{}, {"frame": 1, "info": 2, "code": {}}, [], None, "text"]
    for data in broken:
        assert type_ in line_of(KEYS.outbound(1), "1700000000000-3", entry(type_, data)).plain


def test_a_line_is_aligned_and_tells_the_essentials() -> None:
    """A line has direction, type, short session, the channel as topic and what was said."""
    one = entry(
        "message.received",
        MessageReceived(frame={"type": "message", "channel": "lobby", "data": {"content": "hi"}}, channel="lobby"),
        session="01a2090b-393e-784f-a058-d998dd77c90a",
    )
    words = line_of(KEYS.inbound(0), "1700000000000-0", one).plain.split()
    assert words[1:5] == ["in", "message.received", "dd77c90a", "channel:lobby"]
    assert words[5:] == ["message", "·", '"hi"']


def test_unreadable_data_is_said() -> None:
    """Data that does not decode is said to be unreadable, in the line and in the topic."""
    broken = Entry(id="1", type="message.received", v=1, ts=0, data=b"{", session="s")
    assert "unreadable" in line_of(KEYS.inbound(0), "0-1", broken).plain
    assert topic_of(broken) == ""


def test_raw_bytes_have_a_json_form() -> None:
    """Msgpack data with raw bytes, odd keys or great depth still gives one line of JSON."""
    ct, data = encode_data({"frame": {"blob": b"\xff"}})
    assert ct == MSGPACK
    one = Entry(id="1", type="message.received", v=1, ts=0, data=data, ct=ct)
    assert orjson.loads(to_json(one.readable()))["data"] == {"frame": {"blob": {"base64": "/w=="}}}
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    assert b"\n" not in to_json({"data": deep})


def test_stream_ids_sort_by_time() -> None:
    """Ids are compared as numbers, not as text."""
    assert sorted(["1000-0", "999-10", "999-9"], key=order) == ["999-9", "999-10", "1000-0"]


def test_all_logs_are_followed() -> None:
    """Every partition of both logs is listed, with the datagram logs on demand."""
    assert streams(KEYS, datagrams=False) == ["hg:{in:0}", "hg:{in:1}", "hg:{out:0}", "hg:{out:1}"]
    assert len(streams(KEYS, datagrams=True)) == 8


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(session="01a2090b-393e-784f-a058-d998dd77c90a"), True),
        (Filter(session="dd77c90a"), True),
        (Filter(session="01a2090b"), False),
        (Filter(type="message.received"), True),
        (Filter(type="message.*"), True),
        (Filter(type="message"), False),
        (Filter(topic="channel:lobby"), True),
        (Filter(topic="channel:*"), True),
        (Filter(topic="user:*"), False),
        (Filter(type="message.*", topic="user:*"), False),
    ],
)
def test_filters(wanted: Filter, passes: bool) -> None:
    """An entry passes when it fits every field that is given."""
    one = entry("message.received", {"channel": "lobby"}, session="01a2090b-393e-784f-a058-d998dd77c90a")
    assert wanted.wants(one) is passes
