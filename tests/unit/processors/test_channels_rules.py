from __future__ import annotations

from typing import Any

import pytest

from processors.answer import Answer
from processors.channels import rules
from processors.channels.rules import Grant, Refusal
from schemas.entry import Entry
from schemas.errors import ErrorCode
from schemas.events import (
    DatagramPublished,
    DatagramReceived,
    MessagePublished,
    Position,
    SessionClosed,
    SubscribeRequested,
    SubscriptionEnded,
    SubscriptionGranted,
    UnsubscribeRequested,
    WhisperReceived,
)
from tests.unit.processors.making import SESSION, TS, entry_of, only_frame


def asked(channel: str) -> SubscribeRequested:
    return SubscribeRequested(channel=channel, recover=Position(epoch="e", offset=3), stream=8, frame_id="s1")


@pytest.mark.parametrize(
    ("channel", "decision"),
    [
        ("news", Grant()),
        ("private-room", None),
        ("presence-room", None),
    ],
)
def test_only_public_channels_are_open(channel: str, decision: Grant | None) -> None:
    """A bare name is granted at once, private and presence channels are the application's to decide."""
    assert rules.without_asking(asked(channel)) == decision


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("client-x", ErrorCode.UNKNOWN_CHANNEL_PREFIX),
        ("private-encrypted-x", ErrorCode.UNKNOWN_CHANNEL_PREFIX),
        ("user:7", ErrorCode.UNKNOWN_CHANNEL_PREFIX),
        ("a b", ErrorCode.INVALID_CHANNEL),
        ("a" * 165, ErrorCode.INVALID_CHANNEL),
    ],
)
def test_what_is_no_channel_is_refused(channel: str, code: ErrorCode) -> None:
    """A name outside the grammar is refused with its own code; the application is not asked."""
    decision = rules.without_asking(asked(channel))
    assert isinstance(decision, Refusal)
    assert decision.code is code


@pytest.mark.parametrize(
    ("channel", "answer", "user", "member"),
    [
        ("private-room", Answer(200, {}), "7", None),
        ("private-room", Answer(200, {"member": {"id": 7}}), "7", None),
        ("private-room", Answer(200, True), "7", None),
        ("private-room", Answer(204), "7", None),
        ("presence-room", Answer(200, {}), "7", {"id": "7"}),
        (
            "presence-room",
            Answer(200, {"member": {"id": 7, "info": {"n": 1}}}),
            "7",
            {"id": "7", "info": {"n": 1}},
        ),
        ("presence-room", Answer(200, {"member": {"id": 8}}), "7", {"id": "7"}),
        ("presence-room", Answer(200, {"member": "Ada"}), "7", {"id": "7"}),
        ("presence-room", Answer(200, {}), "", {"id": SESSION}),
    ],
)
def test_a_yes_grants(channel: str, answer: Answer, user: str, member: dict[str, Any] | None) -> None:
    """A yes lets the session in; in presence channels as the verified user, whatever else is said of it."""
    event = asked(channel)
    assert rules.judged(entry_of(event, user=user), event, answer) == Grant(member)


@pytest.mark.parametrize(
    ("answer", "operators"),
    [
        (Answer(403), False),
        (Answer(401), False),
        (Answer(404), True),
        (Answer(422), True),
        (Answer(200, False), True),
        (Answer(200, "yes"), True),
        (Answer(200, []), True),
    ],
)
def test_anything_else_forbids(answer: Answer, operators: bool) -> None:
    """What is not clearly a yes forbids; where the route is at fault the operator is told."""
    event = asked("private-room")
    decision = rules.judged(entry_of(event), event, answer)
    assert isinstance(decision, Refusal)
    assert decision.code is ErrorCode.FORBIDDEN
    assert bool(decision.problem) is operators


def test_granted_carries_what_the_router_needs() -> None:
    """The grant goes to the channel's topic with session, user, position and the frame to answer."""
    event = asked("presence-room")
    (told,) = rules.granted(entry_of(event), event, Grant({"id": "7"})).emits
    assert (told.topic, told.session, told.user, told.gateway) == (
        "channel:presence-room",
        SESSION,
        "7",
        "gw-1",
    )
    assert told.event() == SubscriptionGranted(
        member={"id": "7"}, recover=Position(epoch="e", offset=3), stream=8, frame_id="s1"
    )


def test_refused_names_the_channel() -> None:
    """The error answers the client's frame and names the channel, so that it may be asked for again."""
    event = asked("private-room")
    outcome = rules.refused(entry_of(event), event, Refusal(ErrorCode.FORBIDDEN, "no"))
    assert outcome.emits[0].topic == f"session:{SESSION}"
    assert only_frame(outcome.emits) == {
        "type": "error", "code": 103, "message": "no", "temporary": False,
        "id": "s1", "channel": "private-room",
    }  # fmt: skip


def test_leaving_answers_the_frame() -> None:
    """An unsubscribe ends the subscription and carries the frame to answer."""
    event = UnsubscribeRequested(channel="news", stream=8, frame_id="u1")
    (told,) = rules.left(entry_of(event), event).emits
    assert told.topic == "channel:news"
    assert told.event() == SubscriptionEnded(reason="unsubscribed", stream=8, frame_id="u1")


def test_the_end_leaves_every_channel() -> None:
    """The end of a session ends each subscription under an id that does not depend on the others."""
    entry = entry_of(SessionClosed(code=0, reason="", by="client"))
    both = rules.ended(entry, ["a", "b"]).emits
    (one,) = rules.ended(entry, ["b"]).emits
    assert [told.topic for told in both] == ["channel:a", "channel:b"]
    assert both[1] == one


def whisper(channel: str, *, member: bool) -> WhisperReceived:
    return WhisperReceived(
        event="client-typing", channel=channel, data={"on": True}, member=member, stream=8, frame_id="w1"
    )


def test_a_members_whisper_goes_to_the_others() -> None:
    """A whisper reaches the channel without its sender, whose name is the verified one."""
    event = whisper("private-room", member=True)
    (told,) = rules.whispered(entry_of(event), event).emits
    assert told.topic == "channel:private-room"
    assert told.event() == MessagePublished(
        frame={"type": "client-typing", "channel": "private-room", "data": {"on": True}, "from": {"id": "7"}},
        exclude=SESSION,
    )


@pytest.mark.parametrize(
    ("channel", "member", "code"),
    [
        ("private-room", False, ErrorCode.NOT_SUBSCRIBED),
        ("news", True, ErrorCode.FORBIDDEN),
        ("server-x", True, ErrorCode.UNKNOWN_CHANNEL_PREFIX),
    ],
)
def test_other_whispers_are_refused(channel: str, member: bool, code: ErrorCode) -> None:
    """Who is no member, or whispers where clients may not publish, is told so and nobody else hears."""
    event = whisper(channel, member=member)
    assert only_frame(rules.whispered(entry_of(event), event).emits)["code"] == code


def datagram(*, member: bool = True, channel: str = "presence-room") -> DatagramReceived:
    frame = {"type": "cursor", "channel": channel, "x": 1, "from": {"id": "someone else"}}
    return DatagramReceived(frame=frame, channel=channel, member=member)


@pytest.mark.parametrize(("user", "sender"), [("7", {"id": "7"}), ("", {"session": SESSION})])
def test_a_datagram_is_stamped_with_its_sender(user: str, sender: dict[str, str]) -> None:
    """A member's datagram goes on with the verified sender in place of what the client claims."""
    event = datagram()
    told = rules.datagram(entry_of(event, user=user), event, TS + rules.MAX_DATAGRAM_AGE_MS)
    assert isinstance(told, Entry)
    assert told.topic == "channel:presence-room"
    assert told.event() == DatagramPublished(
        frame={"type": "cursor", "channel": "presence-room", "x": 1, "from": sender}, exclude=SESSION
    )


@pytest.mark.parametrize(
    ("event", "age", "why"),
    [
        (datagram(), rules.MAX_DATAGRAM_AGE_MS + 1, "stale"),
        (datagram(member=False), 0, "not_member"),
        (datagram(channel="a b"), 0, "invalid_channel"),
    ],
)
def test_other_datagrams_are_dropped(event: DatagramReceived, age: int, why: str) -> None:
    """A datagram that is old, or whose sender is no member, is dropped for a reason that is counted."""
    assert rules.datagram(entry_of(event), event, TS + age) == why
