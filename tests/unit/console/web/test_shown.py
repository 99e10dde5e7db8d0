"""How values are written on the pages of the web console, and what is never written there."""

from __future__ import annotations

import pytest

from console.web import shown
from console.web.room import local
from console.web.timeline import Located, NoSuchEntry, Place
from console.web.waterfall import WIDTH, steps
from schemas.entry import Entry
from schemas.events import AuthRequested, Event, MessageReceived, SubscribeRequested


def located(
    event: Event, *, at: int = 1000, id: str = "a", cause: str = "", log: str = "in:0", ts: int = 990
) -> Located:
    """An entry that was appended at a time in ms."""
    entry = Entry.of(event, id=id, ts=ts, session="s", cause=cause)
    return Located(Place(log, f"{at}-0"), dict(zip(entry.names(), entry.values(), strict=True)))


def test_what_lets_somebody_in_is_not_shown() -> None:
    """Neither the sealed token nor the signature of a subscription, in previews or whole."""
    for event in (AuthRequested(token="c2VhbGVk"), SubscribeRequested(channel="private-a", auth="c2VhbGVk")):
        one = located(event)
        assert "c2VhbGVk" not in shown.preview(one)
        assert "c2VhbGVk" not in shown.pretty(shown.payload(one))


def test_a_preview_begins_with_the_frame() -> None:
    """One short line, without what every frame has, and with nothing that a terminal or a reader would obey."""
    one = located(MessageReceived(frame={"type": "message", "text": "\u202e" + "long " * 100}, frame_id="f"))
    text = shown.preview(one)
    assert text.startswith('{"type":"message"')
    assert len(text) <= shown.PREVIEW + 8
    assert "\u202e" not in text


def test_what_is_no_entry_is_shown_as_it_is() -> None:
    """Fields that are no entry, and payloads that cannot be read."""
    assert "no id" in shown.preview(Located(Place("in:0", "1-0"), {b"type": b"no id", b"\xff": b"\xff"}))
    broken = located(MessageReceived(frame={}))
    assert shown.payload(Located(broken.place, {**broken.fields, b"data": b"{"})) == "{"


def test_a_long_payload_is_cut() -> None:
    """A page does not grow with what a client sent."""
    assert len(shown.pretty("x" * (2 * shown.MOST_SHOWN))) < shown.MOST_SHOWN + 100


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (61_000, "1 min 1 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_lengths_of_time(ms: int, words: str) -> None:
    """In the largest unit that says enough."""
    assert shown.span(ms) == words


def test_times_that_no_calendar_has_are_numbers() -> None:
    """Stream ids can be chosen by hand, and what erased rows say is what was imported."""
    for write in (shown.clock, shown.moment, shown.iso):
        assert write(10**15 - 1) == "999999999999999"
        assert write(10**30) == str(10**30)
    assert shown.iso(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "place",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "//[", "h://[", ""],
)
def test_nobody_is_sent_to_another_site(place: str) -> None:
    """After a sign-in or an operation one goes on here."""
    assert local(place, "/") == "/"
    assert local("/dead?group=a", "/") == "/dead?group=a"


@pytest.mark.parametrize(
    "text", ["in:0", "in:0/", "in:x/1-0", "in:0/1", "in:0/1-0/", "gw:/1-0", "x/1-0", "in:0/" + "9" * 30 + "-0"]
)
def test_places_that_are_none(text: str) -> None:
    """Nothing is asked of Redis that is not the name of an entry."""
    with pytest.raises(NoSuchEntry):
        Place.parse(text)


def test_a_waterfall_follows_causes() -> None:
    """Each bar begins where its cause was appended; the first where it happened by its own account."""
    message = MessageReceived(frame={})
    chain = [
        located(message, id="delivered", cause="reply", at=1070, log="gw:a"),
        located(message, id="root", at=1000),
        located(message, id="reply", cause="root", at=1050, log="out:1"),
        located(message, id="other", cause="root", at=1020, log="out:0"),
    ]
    found = [
        (one.located.text("id"), one.depth, one.began, one.ended)
        for one in steps(sorted(chain, key=lambda o: o.place.order))
    ]
    assert found == [("root", 0, 0, 10), ("other", 1, 10, 30), ("reply", 1, 10, 60), ("delivered", 2, 60, 80)]
    assert all(0 <= one.x <= one.x + one.width <= WIDTH for one in steps(chain))


def test_what_has_no_id_has_no_followers() -> None:
    """A dead letter can be of fields that are no entry."""
    nothing = Located(Place("in:0", "1000-0"), {b"type": b"message.received"})
    other = located(MessageReceived(frame={}), id="other")
    assert [one.located for one in steps([nothing])] == [nothing]
    assert [one.depth for one in steps([nothing, other])] == [0, 0]


def test_a_circle_of_causes_ends() -> None:
    """Whoever may write to the log can write entries that cause each other."""
    message = MessageReceived(frame={})
    assert steps([located(message, id="a", cause="b"), located(message, id="b", cause="a")]) == []
    assert steps([]) == []
