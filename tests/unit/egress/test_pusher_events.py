"""What becomes of the bodies of Pusher's API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.pusher.events import MAX_CHANNELS, BadRequest, Question, batch_of_events, one_event
from schemas.events import MessagePublished

SESSION = "01a20902-3088-7a0e-82d8-5b33616093c8"
SOCKET = "117666445273889294.9428386096135312328"


def body(**changes: Any) -> bytes:
    """An event; None leaves a field out."""
    fields = {"name": "paid", "channel": "orders", "data": '{"n":1}', **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def only(raw: bytes) -> tuple[str, MessagePublished]:
    """Topic and message of a body with one target."""
    (publication,) = one_event(raw).publications
    assert isinstance(publication.event, MessagePublished)
    return publication.topic, publication.event


def test_an_event_is_a_broadcast() -> None:
    """The frame is that of POST /broadcast-to-channel; data is the value that its text stands for."""
    topic, event = only(body())
    assert topic == "channel:orders"
    assert event.frame == {"type": "channel_broadcast", "channel": "orders", "event": "paid", "data": {"n": 1}}
    assert event.exclude is None


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('{"a":[1,2.5,null]}', {"a": [1, 2.5, None]}),
        ('"text"', "text"),
        ("12", 12),
        ("text", "text"),
        ("", ""),
        ("NaN", "NaN"),
        ("[" * 5000, "[" * 5000),
        ('"\\ud800"', '"\\ud800"'),
    ],
)
def test_data_that_is_no_json_stays_text(data: str, value: Any) -> None:
    """Data that is JSON becomes its value; whatever else it is, it is carried as the text that it was."""
    assert only(body(data=data))[1].frame["data"] == value


@given(st.text())
def test_any_text_is_data(data: str) -> None:
    """Whatever text it is, it is carried, and the log can carry it."""
    frame = only(body(data=data))[1].frame
    assert json.loads(json.dumps(frame)) == frame


@pytest.mark.parametrize("socket", [SOCKET, SESSION, SESSION.upper()])
def test_the_sender_is_left_out(socket: str) -> None:
    """By a socket id, which stands for its session, or by the session's own id."""
    assert only(body(socket_id=socket))[1].exclude == SESSION


def test_many_channels_are_one_publication_each() -> None:
    """In the order given, a repeated one once; what is asked about them is asked of each."""
    published = one_event(body(channel=None, channels=["b", "presence-a", "b"], info="user_count, subscription_count,"))
    assert [one.topic for one in published.publications] == ["channel:b", "channel:presence-a"]
    asked = ("user_count", "subscription_count")
    assert published.questions == (Question("b", asked), Question("presence-a", asked))


def test_an_event_for_a_user() -> None:
    """What sendToUser of the libraries publishes goes to the sessions of that user."""
    topic, event = only(body(channel="#server-to-user-7", info="user_count"))
    assert topic == "user:7"
    assert event.frame == {"type": "user_event", "event": "paid", "data": {"n": 1}}
    assert one_event(body(channel="#server-to-user-7", info="user_count")).questions == ()


def test_a_batch_keeps_its_order() -> None:
    """Each event with its own channel, data and exclusion, and what is asked of it."""
    events = [
        json.loads(body(channel="a", socket_id=SOCKET)),
        json.loads(body(channel="presence-b", info="user_count")),
        json.loads(body(channel="a", data="2")),
    ]
    published = batch_of_events(json.dumps({"batch": events}).encode())
    assert [one.topic for one in published.publications] == ["channel:a", "channel:presence-b", "channel:a"]
    made = [one.event for one in published.publications]
    assert [one.exclude for one in made if isinstance(one, MessagePublished)] == [SESSION, None, None]
    assert [one.attributes for one in published.questions] == [(), ("user_count",), ()]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "name: Field required"),
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"data": None}, "data: Field required"),
        ({"data": {"n": 1}}, "data: Input should be a valid string"),
        ({"data": "[" * 200 + "]" * 200}, "levels"),
        ({"channel": None}, "either channel or channels"),
        ({"channels": ["a"]}, "either channel or channels"),
        ({"channel": None, "channels": []}, "channels"),
        ({"channel": None, "channels": [f"c{n}" for n in range(MAX_CHANNELS + 1)]}, "channels"),
        ({"channel": None, "channels": ["fine", "private-encrypted-a"]}, "no encrypted channels"),
        ({"channel": "cache-a"}, "unknown channel prefix"),
        ({"channel": "a b"}, "channel name"),
        ({"channel": "#other"}, "channel name"),
        ({"channel": "#server-to-user-"}, "user id"),
        ({"channel": "#server-to-user-" + "7" * 256}, "user id"),
        ({"socket_id": "1.2.3"}, "socket_id"),
        ({"socket_id": ""}, "socket_id"),
    ],
)
def test_a_wrong_event_is_named(changes: dict[str, Any], words: str) -> None:
    """What is wrong with it is said in one sentence; nothing of it is published."""
    with pytest.raises(BadRequest, match=words):
        one_event(body(**changes))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"null", b'"a"', b"\xff", b"[" * 100_000])
def test_what_is_no_event_at_all(raw: bytes) -> None:
    """A body that is no JSON object is refused, as an event and as a batch."""
    with pytest.raises(BadRequest):
        one_event(raw)
    with pytest.raises(BadRequest):
        batch_of_events(raw)


@pytest.mark.parametrize("count", [0, 11])
def test_a_batch_has_one_to_ten_events(count: int) -> None:
    """As many as Pusher takes; none, and more, are refused."""
    with pytest.raises(BadRequest, match="batch"):
        batch_of_events(json.dumps({"batch": [json.loads(body())] * count}).encode())


def test_events_of_a_batch_have_one_channel() -> None:
    """`channels` is for single events."""
    events = [json.loads(body(channel=None, channels=["a"]))]
    with pytest.raises(BadRequest, match="one channel"):
        batch_of_events(json.dumps({"batch": events}).encode())
