from __future__ import annotations

from typing import Any

import pytest

from processors.answer import Answer
from processors.laravel import rules
from schemas.errors import ErrorCode
from schemas.events import MessagePublished, MessageReceived, SessionClosed, SessionOpened
from tests.unit.processors.making import SESSION, entry_of, only_frame


def message(*, member: bool = True, frame_id: str | None = None, channel: str | None = "room") -> MessageReceived:
    frame: dict[str, Any] = {"type": "message", "channel": channel, "data": {"content": "hi"}}
    if frame_id is not None:
        frame["id"] = frame_id
    return MessageReceived(frame=frame, channel=channel, member=member, stream=8, frame_id=frame_id)


@pytest.mark.parametrize(("user", "told"), [("7", "7"), ("", None)])
def test_a_message_is_stamped_with_its_sender(user: str, told: str | None) -> None:
    """The application receives a channel's message with the session and user as we know them."""
    event = message()
    assert rules.message(entry_of(event, user=user), event) == {
        "type": "channel_message", "channel": "room", "data": {"content": "hi"},
        "sessionId": SESSION, "userId": told,
    }  # fmt: skip


def test_other_frames_go_as_they_came() -> None:
    """A frame of any other type is the application's own affair and is not changed."""
    event = MessageReceived(frame={"type": "room_action", "id": "1", "go": "north"})
    assert rules.message(entry_of(event), event) == event.frame


def test_no_frame_poses_as_ours() -> None:
    """A client cannot send the type that carries a sender stamped by us."""
    event = MessageReceived(frame={"type": "channel_message", "channel": "room", "userId": 1})
    assert rules.message(entry_of(event), event) is None


def test_connections_are_told_with_their_time() -> None:
    """Begin and end of a session carry its id, user, time of the event and, at the end, the reason."""
    opened = SessionOpened(transport="webtransport", origin="https://a", path="/", address="::1")
    assert rules.connection(entry_of(opened, user=""), opened) == {
        "event": "connection.opened",
        "data": {"sessionId": SESSION, "userId": None, "timestamp": "2023-11-14T22:13:20.123Z"},
    }
    closed = SessionClosed(code=3001, reason="bye", by="gateway")
    assert rules.connection(entry_of(closed), closed) == {
        "event": "connection.closed",
        "data": {
            "sessionId": SESSION,
            "userId": "7",
            "timestamp": "2023-11-14T22:13:20.123Z",
            "reason": "bye",
        },
    }


@pytest.mark.parametrize(
    ("body", "frame"),
    [
        ({"type": "pm", "ok": True}, {"type": "pm", "ok": True, "id": "m1"}),
        ({"broadcast": "true"}, {"broadcast": "true", "id": "m1"}),
        ({"id": "theirs"}, {"id": "m1"}),
        ([1, 2], {"type": "reply", "data": [1, 2], "id": "m1"}),
        ("hi", {"type": "reply", "data": "hi", "id": "m1"}),
        (False, {"type": "reply", "data": False, "id": "m1"}),
    ],
)
def test_an_answer_goes_back_to_its_sender(body: Any, frame: dict[str, Any]) -> None:
    """What the application answers returns on the stream that asked, with the id of the frame it answers."""
    event = message(frame_id="m1")
    (told,) = rules.answered(entry_of(event), event, Answer(200, body)).emits
    assert told.topic == f"session:{SESSION}"
    assert told.event() == MessagePublished(frame=frame, stream=8)


def test_an_answer_to_a_frame_without_id_has_none() -> None:
    """A client that gave no id gets the answer as the application wrote it."""
    event = message()
    assert only_frame(rules.answered(entry_of(event), event, Answer(200, {"ok": 1})).emits) == {"ok": 1}


@pytest.mark.parametrize("answer", [Answer(204), Answer(200), Answer(202, None)])
def test_an_empty_answer_is_nothing(answer: Answer) -> None:
    """Where the application says nothing, nothing is published."""
    event = message(frame_id="m1")
    assert rules.answered(entry_of(event), event, answer).emits == ()


@pytest.mark.parametrize(
    ("body", "frame"),
    [
        ({"broadcast": True, "data": 1}, {"type": "channel_broadcast", "channel": "room", "data": 1}),
        ({"broadcast": True}, {"type": "channel_broadcast", "channel": "room", "data": None}),
        (
            {"broadcast": True, "data": 1, "channel": "room", "event": "said"},
            {"type": "channel_broadcast", "channel": "room", "data": 1, "event": "said"},
        ),
        (
            {"broadcast": True, "data": 1, "event": 5},
            {"type": "channel_broadcast", "channel": "room", "data": 1},
        ),
    ],
)
def test_a_broadcast_goes_to_the_others(body: dict[str, Any], frame: dict[str, Any]) -> None:
    """`broadcast: true` reaches the channel's other sessions."""
    event = message()
    (told,) = rules.answered(entry_of(event), event, Answer(200, body)).emits
    assert told.topic == "channel:room"
    assert told.event() == MessagePublished(frame=frame, exclude=SESSION)


def test_a_broadcast_also_answers_a_frame_with_id() -> None:
    """The sender of a broadcast that waits for an answer gets it."""
    event = message(frame_id="m1")
    first, second = rules.answered(entry_of(event), event, Answer(200, {"broadcast": True, "data": 1})).emits
    assert (first.topic, second.topic) == ("channel:room", f"session:{SESSION}")
    assert only_frame((second,)) == {"broadcast": True, "data": 1, "id": "m1"}
    assert first.id != second.id


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (message(member=False, frame_id="m1"), {"broadcast": True}),
        (message(frame_id="m1"), {"broadcast": True, "channel": "private-other"}),
        (message(frame_id="m1"), {"broadcast": True, "channel": ["room"]}),
        (message(channel=None, frame_id="m1"), {"broadcast": True, "channel": "room"}),
        (message(channel=None, frame_id="m1"), {"broadcast": True}),
    ],
)
def test_only_members_broadcast_and_only_there(event: MessageReceived, body: dict[str, Any]) -> None:
    """Nothing is broadcast to a channel that the sender has not joined."""
    frame = only_frame(rules.answered(entry_of(event), event, Answer(200, body)).emits)
    assert (frame["type"], frame["code"], frame["id"]) == ("error", ErrorCode.NOT_SUBSCRIBED, "m1")


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_rejection_is_told_in_our_words(status: int) -> None:
    """A 4xx becomes an error for the sender that holds nothing of what the application wrote."""
    event = message(frame_id="m1")
    assert only_frame(rules.answered(entry_of(event), event, Answer(status)).emits) == {
        "type": "error", "code": 121, "message": "the application refused this message", "temporary": False,
        "id": "m1", "channel": "room",
    }  # fmt: skip
