"""What each outbound entry asks of its topic, and which gateways hear what of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from egress.operations import (
    End,
    Ended,
    Full,
    Gone,
    Grant,
    Granted,
    Interest,
    Look,
    Operation,
    Publish,
    Published,
    Reply,
)
from egress.routing.deliveries import deliveries
from egress.routing.notes import ChannelJoined, ChannelLeft, SessionListed, SessionUnlisted, note
from egress.routing.plan import plan, plan_datagram
from schemas.close_codes import MAX_WEBSOCKET_REASON_BYTES, reconnects
from schemas.entry import Entry
from schemas.errors import InvalidEntry, InvalidTopic
from schemas.events import (
    AuthFailed,
    DatagramPublished,
    DisconnectRequested,
    Event,
    MessagePublished,
    MessageReceived,
    Position,
    SessionAuthenticated,
    SessionEnded,
    SessionRestored,
    SubscriptionEnded,
    SubscriptionGranted,
)

FRAME = {"type": "channel_broadcast", "channel": "room", "data": 1}
AT = Position(epoch="e1", offset=4)


def entry(topic: str, event: Event, *, session: str = "s1", user: str = "7", gateway: str = "g1") -> Entry:
    return Entry.of(event, id="cause", ts=1000, topic=topic, session=session, user=user, gateway=gateway)


def granted(**changes: Any) -> Granted:
    base: dict[str, Any] = {
        "epoch": "e1",
        "offset": 4,
        "recovered": False,
        "missed": (),
        "members": None,
        "joined": False,
        "gateways": ("g1", "g2"),
    }
    return Granted(**(base | changes))


def told(topic: str, event: Event, reply: Reply | None) -> list[tuple[str, str, dict[str, Any]]]:
    """(gateway, type, payload) of what follows."""
    made = deliveries(plan(entry(topic, event)), reply)
    assert all(one.topic == topic and one.gateway == gateway for gateway, one in made)
    return [(gateway, one.type.removeprefix("delivery."), one.payload()) for gateway, one in made]


@pytest.mark.parametrize(
    ("topic", "event", "operation"),
    [
        (
            "channel:room",
            MessagePublished(frame=FRAME, exclude="s2"),
            Publish(
                "channel:room",
                "cause",
                b'{"frame":{"type":"channel_broadcast","channel":"room","data":1},"exclude":"s2"}',
            ),
        ),
        (
            "user:7",
            MessagePublished(frame={}),
            Publish("user:7", "cause", b'{"frame":{},"exclude":null}'),
        ),
        (
            "channel:private-a",
            SubscriptionGranted(member={"id": 7}, recover=AT),
            Grant("channel:private-a", "cause", "s1", "g1", "7", None, AT),
        ),
        (
            "channel:presence-a",
            SubscriptionGranted(member={"id": 7}),
            Grant("channel:presence-a", "cause", "s1", "g1", "7", b'{"id":7}'),
        ),
        (
            "channel:presence-a",
            SubscriptionGranted(),
            Grant("channel:presence-a", "cause", "s1", "g1", "7", b'{"id":"7"}'),
        ),
        ("user:7", SubscriptionGranted(), Grant("user:7", "cause", "s1", "g1", "7", limited=True)),
        ("session:s1", SessionAuthenticated(user="9"), Grant("session:s1", "cause", "s1", "g1", "9")),
        ("session:s1", SessionAuthenticated(user=None), Grant("session:s1", "cause", "s1", "g1", "")),
        ("session:s1", SessionEnded(), End("session:s1", "cause", "s1")),
        ("channel:a", SubscriptionEnded(reason="closed"), End("channel:a", "cause", "s1")),
        ("user:7", DisconnectRequested(code=3500, reason=""), Look("user:7")),
        ("session:s1", AuthFailed(error="no"), None),
    ],
)
def test_an_entry_asks_one_thing_of_its_topic(topic: str, event: Event, operation: Operation | None) -> None:
    """Each event type becomes the operation that carries it out."""
    assert plan(entry(topic, event)).operation == operation


@pytest.mark.parametrize(
    ("topic", "event", "context", "error"),
    [
        ("channel:a", MessageReceived(frame={}), {}, InvalidEntry),
        ("channel:a", DatagramPublished(frame={}), {}, InvalidEntry),
        ("", MessagePublished(frame={}), {}, InvalidTopic),
        ("room:a", MessagePublished(frame={}), {}, InvalidTopic),
        ("channel:", MessagePublished(frame={}), {}, InvalidEntry),
        ("channel:a b", MessagePublished(frame={}), {}, InvalidTopic),
        ("channel:client-a", MessagePublished(frame={}), {}, InvalidTopic),
        ("user:", MessagePublished(frame={}), {}, InvalidEntry),
        ("user:7", SessionAuthenticated(user="7"), {}, InvalidEntry),
        ("session:s2", SessionAuthenticated(user="7"), {}, InvalidEntry),
        ("session:s1", SubscriptionGranted(), {}, InvalidEntry),
        ("channel:a", DisconnectRequested(code=3500, reason=""), {}, InvalidEntry),
        ("user:7", DisconnectRequested(code=-1, reason=""), {}, InvalidEntry),
        ("session:s1", DisconnectRequested(code=2999, reason=""), {}, InvalidEntry),
        ("session:s1", DisconnectRequested(code=5000, reason=""), {}, InvalidEntry),
        ("channel:a", SubscriptionGranted(), {"session": ""}, InvalidEntry),
        ("channel:a", SubscriptionGranted(), {"gateway": ""}, InvalidEntry),
        ("session:s1", AuthFailed(error="no"), {"gateway": ""}, InvalidEntry),
    ],
)
def test_what_has_no_meaning_is_refused(
    topic: str, event: Event, context: dict[str, str], error: type[Exception]
) -> None:
    """Foreign types, impossible topics and missing names are errors of the writer."""
    with pytest.raises(error):
        plan(entry(topic, event, **context))


def test_a_payload_that_does_not_validate_is_refused() -> None:
    """Missing fields are errors of the writer, and so are integers that no encoding can carry."""
    good = entry("channel:a", MessagePublished(frame={}))
    for data in (b"{}", b"[]", b"not json", b'{"frame":{"n":1%s}}' % (b"0" * 30)):
        with pytest.raises(InvalidEntry):
            plan(Entry(**{name: getattr(good, name) for name in good.__slots__} | {"data": data}))


def test_only_datagrams_belong_on_a_datagram_log() -> None:
    """A datagram looks for gateways; any other type there is refused."""
    assert plan_datagram(entry("channel:a", DatagramPublished(frame={}))).operation == Look("channel:a")
    with pytest.raises(InvalidEntry):
        plan_datagram(entry("channel:a", MessagePublished(frame={})))


def test_a_publication_goes_to_every_interested_gateway() -> None:
    """Each gateway with a subscriber gets the frame with its place in the history."""
    event = MessagePublished(frame=FRAME, stream=4, exclude="s2")
    expected = {"frame": FRAME, "stream": 4, "generation": 1, "exclude": "s2", "epoch": "e1", "offset": 5}
    assert told("channel:room", event, Published("e1", 5, ("g1", "g2"))) == [
        ("g1", "publication", expected),
        ("g2", "publication", expected),
    ]
    assert told("channel:room", event, Published("e1", 5, ())) == []


def test_a_redelivered_cause_gives_identical_entries() -> None:
    """Same cause and same answer: the same ids, all different from each other, and the same bytes."""
    cause = entry("channel:presence-room", SubscriptionGranted(member={"id": "7"}))
    reply = granted(joined=True, members=(b'{"id":"7"}',))
    first, second = (deliveries(plan(cause), reply) for _ in range(2))
    assert first == second
    assert len({one.id for _, one in first}) == 3
    assert all(one.cause == "cause" and one.ts == 1000 for _, one in first)


def test_a_frame_with_raw_bytes_travels_as_msgpack() -> None:
    """What JSON cannot carry is stored and delivered all the same."""
    event = MessagePublished(frame={"type": "blob", "data": b"\xff\x00"})
    ((_, made),) = deliveries(plan(entry("channel:room", event)), Published("e1", 1, ("g1",)))
    assert made.payload()["frame"]["data"] == b"\xff\x00"
    operation = plan(entry("channel:room", event)).operation
    assert isinstance(operation, Publish)
    ((_, _, subscribed),) = told("channel:room", SubscriptionGranted(), granted(missed=((1, operation.payload),)))
    assert subscribed["publications"] == [{"offset": 1, "frame": {"type": "blob", "data": b"\xff\x00"}}]


def test_others_hear_of_a_member_before_the_member_hears_of_them() -> None:
    """Joined goes to all gateways but not to the joiner; then the joiner is answered."""
    reply = granted(joined=True, members=(b'{"id":"7"}', b'{"id":"8"}'))
    joined = {"change": "joined", "member": {"id": "7"}, "exclude": "s1"}
    made = told("channel:presence-room", SubscriptionGranted(stream=8, frame_id="f"), reply)
    assert [(gateway, kind) for gateway, kind, _ in made] == [
        ("g1", "presence"),
        ("g2", "presence"),
        ("g1", "subscribed"),
    ]
    assert made[0][2] == made[1][2] == joined
    assert made[2][2] == {
        "stream": 8,
        "frame_id": "f",
        "generation": 1,
        "epoch": "e1",
        "offset": 4,
        "recovered": False,
        "publications": [],
        "members": [{"id": "7"}, {"id": "8"}],
        "expires_at": None,
    }


def test_what_a_session_sent_itself_is_not_recovered() -> None:
    """Missed publications come with their offsets, without those that exclude the session."""
    missed = (
        (3, b'{"frame":{"n":3},"exclude":"s1"}'),
        (4, b'{"frame":{"n":4},"exclude":"s2"}'),
    )
    ((_, _, made),) = told("channel:room", SubscriptionGranted(), granted(recovered=True, missed=missed))
    assert made["recovered"] is True
    assert made["publications"] == [{"offset": 4, "frame": {"n": 4}}]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            Ended("g2", b'{"id":"7"}', ("g1", "g3")),
            [("g2", "unsubscribed"), ("g1", "presence"), ("g3", "presence")],
        ),
        (Ended("g2", None, ("g1",)), [("g2", "unsubscribed")]),
        (Ended("", None, ()), [("g1", "unsubscribed")]),
    ],
)
def test_an_end_is_answered_and_the_others_hear_of_it(reply: Ended, expected: list[tuple[str, str]]) -> None:
    """The session's gateway hears that it ended; the remaining gateways who left, if somebody did."""
    made = told("channel:presence-room", SubscriptionEnded(reason="unsubscribed", frame_id="f"), reply)
    assert [(gateway, kind) for gateway, kind, _ in made] == expected
    assert made[0][2] == {"stream": -1, "frame_id": "f", "generation": 1, "reason": "unsubscribed", "message": ""}
    for _, _, left in made[1:]:
        assert left == {"change": "left", "member": {"id": "7"}, "exclude": "s1"}


def test_a_session_over_the_limit_is_told_to_go_and_no_other() -> None:
    """The order is for the one session, through its gateway, with a code that tells it not to come back."""
    cause = entry("user:7", SubscriptionGranted())
    ((gateway, made),) = deliveries(plan(cause), Full(10))
    assert (gateway, made.type, made.topic, made.session) == ("g1", "delivery.disconnect", "session:s1", "s1")
    assert made.payload()["code"] == 3504
    assert "10 sessions" in made.payload()["reason"]
    assert not reconnects(made.payload()["code"])
    assert len(made.payload()["reason"].encode()) <= MAX_WEBSOCKET_REASON_BYTES
    assert deliveries(plan(cause), Full(10)) == [(gateway, made)]


@pytest.mark.parametrize(
    ("topic", "event", "reply", "expected"),
    [
        ("session:s1", SessionAuthenticated(user="7"), granted(), [("g1", "authenticated")]),
        ("session:s1", SessionAuthenticated(user="7"), Gone(), []),
        ("session:s1", AuthFailed(error="no"), None, [("g1", "auth_failed")]),
        ("session:s1", SessionEnded(), Ended("g1", None, ()), []),
        ("channel:a", SubscriptionGranted(), Gone(), []),
        ("user:7", SubscriptionGranted(), granted(), [("g1", "subscribed")]),
        (
            "user:7",
            DisconnectRequested(code=3500, reason="bye"),
            Interest(("g1", "g2")),
            [("g1", "disconnect"), ("g2", "disconnect")],
        ),
        ("session:s1", DisconnectRequested(code=3500, reason="bye"), Interest(()), []),
    ],
)
def test_everything_else_goes_where_it_belongs(
    topic: str, event: Event, reply: Reply | None, expected: list[tuple[str, str]]
) -> None:
    """Answers go to the session's gateway, orders to every gateway with interest, the rest nowhere."""
    assert [(gateway, kind) for gateway, kind, _ in told(topic, event, reply)] == expected


@pytest.mark.parametrize(
    ("topic", "event", "reply", "expected"),
    [
        ("session:s1", SessionAuthenticated(user="7"), granted(), SessionListed("s1", "7", "g1", 1000, 1, "5-0")),
        ("session:s1", SessionAuthenticated(user="7"), Gone(), None),
        ("session:s1", SessionEnded(), Ended("", None, ()), SessionUnlisted("s1", "5-0")),
        ("channel:a", SubscriptionGranted(), granted(), ChannelJoined("s1", "a", "5-0")),
        (
            "channel:a",
            SubscriptionEnded(reason="closed"),
            Ended("g1", None, ()),
            ChannelLeft("s1", "a", "5-0", True),
        ),
        (
            "channel:a",
            SubscriptionEnded(reason="closed"),
            Ended("g1", None, ("g2",)),
            ChannelLeft("s1", "a", "5-0", False),
        ),
        ("user:7", SubscriptionGranted(), granted(), None),
        ("user:7", SubscriptionGranted(), Full(10), None),
        ("channel:a", MessagePublished(frame={}), Published("e", 1, ()), None),
        ("session:s1", AuthFailed(error="no"), None, None),
    ],
)
def test_the_directory_learns_of_sessions_and_channels(
    topic: str, event: Event, reply: Reply | None, expected: object
) -> None:
    """Sessions are listed from authentication to their end, channels while they have subscribers."""
    assert note(plan(entry(topic, event)), reply, "5-0") == expected


def test_a_session_that_moved_is_told_on_both_gateways() -> None:
    """The new gateway gets the verdict and what was missed on the session's topic; the former that it is over."""
    event = SessionAuthenticated(user="7", generation=2, connection="c9", recover=Position(epoch="e1", offset=3))
    missed = ((4, b'{"frame":{"type":"x"},"exclude":null}'),)
    ((at, kind, verdict), (former, over, superseded)) = told(
        "session:s1", event, granted(recovered=True, missed=missed, former="g0")
    )
    assert (at, kind, former, over) == ("g1", "authenticated", "g0", "superseded")
    assert (verdict["connection"], verdict["generation"], verdict["recovered"]) == ("c9", 2, True)
    assert verdict["publications"] == [{"offset": 4, "frame": {"type": "x"}}]
    assert superseded == {"generation": 2}


def test_the_channels_that_a_session_gets_back_are_named_to_its_gateway() -> None:
    """Nothing is asked of any topic for it."""
    event = SessionRestored(generation=2, channels=["news"])
    assert told("session:s1", event, None) == [("g1", "restored", {"generation": 2, "channels": ["news"]})]


def test_a_grant_that_expired_is_told_of_where_its_session_is() -> None:
    """The topic knows the gateway that the session had when it was granted; it may be on another by now."""
    made = told("channel:room", SubscriptionEnded(reason="expired"), Ended("g2", None, ()))
    assert [gateway for gateway, _, _ in made] == ["g1", "g2"]
