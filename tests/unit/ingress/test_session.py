"""The rules of a session, told as frames in and effects out."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from ingress.session import Close, Outgoing, Send
from schemas.events import (
    AuthFailedDelivery,
    AuthRequested,
    DatagramReceived,
    MessageReceived,
    SubscribedDelivery,
    SubscribeRequested,
    UnsubscribedDelivery,
    UnsubscribeRequested,
    WhisperReceived,
)
from tests.unit.ingress.told import CONTROL, Client, at


def test_auth_is_sealed_and_answered_on_the_stream_that_asked() -> None:
    """The token is appended sealed, a user id from the client is ignored, and the success names the session."""
    client = Client().frame({"type": "auth", "token": "secret", "userId": 99, "id": "a"})
    assert client.event == AuthRequested(token="sealed(secret)", protocol=None, stream=CONTROL, frame_id="a")
    client.welcome(frame_id="a")
    assert client.sent[-1][0] == CONTROL
    assert client.last["type"] == "auth_success"
    assert client.last["sessionId"] == "s1"
    assert client.last["userId"] == "7"
    assert client.last["id"] == "a"


def test_failed_auth_says_so_before_it_closes() -> None:
    """A refused token gives auth_failed, then disconnect, then the close with 4401."""
    client = Client().frame({"type": "auth", "token": "t", "protocol": 1})
    client.session.auth_failed(AuthFailedDelivery(error="Invalid token", stream=CONTROL))
    client.collect()
    assert [frame["type"] for _, frame in client.sent] == ["auth_failed", "disconnect"]
    assert client.closes == [Close(4401, "Invalid token")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"type":"message","channel":"c","data":1}', 4401),
        (b'{"type":"auth"}', 4400),
        (b'{"type":"auth","token":"t","protocol":2}', 4400),
        (b"hello", 4400),
        (b'{"type":}', 4400),
        (b"\x81\xc1\xc1", 4400),
        (b'{"a":' * 20 + b"1" + b"}" * 20, 4413),
        (b'{"type":"auth","token":"' + b"x" * 2000 + b'"}', 4413),
    ],
)
def test_bad_beginnings_close_with_their_code(data: bytes, code: int) -> None:
    """Whatever is wrong before authentication closes the session with the code that names it."""
    client = Client().raw(data)
    assert [close.code for close in client.closes] == [code]
    assert [(frame["type"], frame["code"]) for _, frame in client.sent] == [("disconnect", code)]
    assert client.appends == []


def test_no_auth_frame_in_time_closes_with_4408() -> None:
    """The auth deadline is kept to the moment, and only for sessions that said nothing."""
    client = Client()
    client.session.tick(at(4.9))
    assert client.collect().closes == []
    client.session.tick(at(5))
    assert client.collect().closes[0].code == 4408


def test_an_application_that_does_not_answer_lets_the_client_try_again() -> None:
    """When the verdict stays away the close code is one that asks for a reconnect."""
    client = Client().frame({"type": "auth", "token": "t"})
    client.session.tick(at(10.9))
    assert client.collect().closes == []
    client.session.tick(at(11))
    assert client.collect().closes[0].code == 3000


def test_frames_wait_for_the_verdict_in_order() -> None:
    """What is sent while auth is pending is handled after it, in order, as the authenticated user's."""
    client = Client().frame({"type": "auth", "token": "t", "protocol": 1})
    client.frame({"type": "subscribe", "channel": "a"}).frame({"type": "note", "n": 1})
    assert len(client.appends) == 1
    client.welcome()
    client.collect()
    assert [type(append.event) for append in client.appends] == [
        AuthRequested,
        SubscribeRequested,
        MessageReceived,
    ]


def test_too_much_before_the_verdict_closes() -> None:
    """What is held while auth is pending is bounded; more closes the session with 4413."""
    client = Client().frame({"type": "auth", "token": "t"})
    for n in range(20):
        client.frame({"type": "note", "n": n, "pad": "x" * 20})
    assert client.closes[0].code == 4413
    assert len(client.appends) == 1


def test_a_frame_with_an_id_is_acknowledged_only_after_the_append() -> None:
    """No ack before the append is confirmed; a resent frame derives the same event id."""
    client = Client().open()
    client.frame({"type": "message", "channel": "c", "data": 1, "id": "m1"})
    assert all(frame["type"] != "ack" for _, frame in client.sent)
    append = client.appends[-1]
    assert append.event_id is not None
    client.session.confirmed(append, append.event_id)
    client.collect()
    assert client.last == {"type": "ack", "id": "m1", "event": append.event_id}
    client.frame({"type": "message", "channel": "c", "data": 1, "id": "m1"})
    assert client.appends[-1].event_id == append.event_id


def test_a_refused_append_is_a_temporary_error_and_no_ack() -> None:
    """When the log does not confirm, the client is told to send again and the session lives on."""
    client = Client().open().frame({"type": "note", "id": "n1"})
    client.session.refused(client.appends[-1])
    client.collect()
    assert client.last["type"] == "error"
    assert client.last["code"] == 110
    assert client.last["temporary"] is True
    assert client.last["id"] == "n1"
    assert client.closes == []


def test_a_subscribe_that_was_not_stored_can_be_sent_again() -> None:
    """Error 110 takes the request back: it holds no place among the channels, and its repeat is no second one."""
    client = Client().open()
    for _ in range(3):  # One more than a session may have channels.
        client.frame({"type": "subscribe", "channel": "a", "id": "s1"})
        client.session.refused(client.appends[-1])
        assert client.collect().last["code"] == 110
    client.frame({"type": "subscribe", "channel": "b", "id": "s2"})
    client.frame({"type": "subscribe", "channel": "a", "id": "s1"})
    assert [append.frame_id for append in client.appends[-2:]] == ["s2", "s1"]
    assert client.last["code"] == 110


def test_messages_say_whether_their_sender_is_a_member() -> None:
    """Membership is stamped from the grants that have arrived, not from what the client asked for."""
    client = Client().open().frame({"type": "subscribe", "channel": "c"})
    client.frame({"type": "message", "channel": "c", "data": 1})
    assert client.event.member is False
    client.session.subscribed("c", SubscribedDelivery(epoch="e", offset=3, stream=CONTROL, frame_id="x"), at(1))
    client.collect()
    assert client.last["type"] == "subscribed"
    assert client.last["offset"] == 3
    client.frame({"type": "message", "channel": "c", "data": 1})
    assert client.event.member is True
    client.frame({"type": "client-typing", "channel": "c", "data": {"on": True}})
    assert client.event == WhisperReceived(
        event="client-typing", channel="c", data={"on": True}, member=True, stream=CONTROL
    )


def test_ping_is_answered_by_the_gateway_itself() -> None:
    """A ping costs no append."""
    client = Client().open()
    before = len(client.appends)
    client.frame({"type": "ping"})
    assert client.last == {"type": "pong", "timestamp": at(1).wall_ms}
    assert len(client.appends) == before


def test_unknown_types_go_to_the_application_whole() -> None:
    """A type that the gateway does not know is forwarded as it came."""
    client = Client().open().frame({"type": "room_action", "x": [1, {"y": None}]})
    assert client.event == MessageReceived(frame={"type": "room_action", "x": [1, {"y": None}]}, stream=CONTROL)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "subscribe"}, 100),
        ({"type": "subscribe", "channel": 5}, 100),
        ({"type": "subscribe", "channel": "c", "recover": {"epoch": 1}}, 100),
        ({"type": "subscribe", "channel": "c", "auth": 5}, 100),
        ({"type": "subscribe", "channel": "c", "auth": "k:ff", "channel_data": {"user_id": 7}}, 100),
        ({"type": "unsubscribe", "channel": "never"}, 104),
        ({"type": "message", "data": 1}, 100),
        ({"type": "client-x", "data": 1}, 100),
        ({"no": "type"}, 100),
        ({"type": 7}, 100),
        ({"type": "note", "id": "x" * 65}, 100),
        ({"type": "note", "id": 5}, 100),
        ({"type": "auth", "token": "again"}, 100),
    ],
)
def test_bad_requests_are_answered_and_the_session_lives(frame: dict[str, Any], code: int) -> None:
    """A frame that lacks what it needs gets an error frame, is not appended, and closes nothing."""
    client = Client().open()
    before = len(client.appends)
    client.frame(frame)
    assert client.last["type"] == "error"
    assert client.last["code"] == code
    assert len(client.appends) == before
    assert client.closes == []


def test_subscriptions_are_bounded_and_not_repeated() -> None:
    """Asking twice or for more channels than allowed is refused; a denied one makes room again."""
    client = Client().open().joined("a").frame({"type": "subscribe", "channel": "a"})
    assert client.last["code"] == 105
    client.frame({"type": "subscribe", "channel": "b"}).frame({"type": "subscribe", "channel": "c"})
    assert client.last["code"] == 106
    client.session.publication(Outgoing({"type": "error", "code": 103, "channel": "b"}), CONTROL)
    client.frame({"type": "subscribe", "channel": "c"})
    assert client.event == SubscribeRequested(channel="c", stream=CONTROL)


def test_unsubscribing_is_confirmed_by_the_router() -> None:
    """The channel is left when the router says so, and the client is told then."""
    client = Client().open().joined("a").frame({"type": "unsubscribe", "channel": "a", "id": "u"})
    assert client.event == UnsubscribeRequested(channel="a", stream=CONTROL, frame_id="u")
    client.session.unsubscribed("a", UnsubscribedDelivery(reason="unsubscribed", stream=CONTROL, frame_id="u"))
    assert client.collect().last == {"type": "unsubscribed", "channel": "a", "id": "u"}


def test_clients_of_protocol_1_get_pushes_on_the_control_stream() -> None:
    """A push of a client that named the protocol goes on its control stream."""
    client = Client().open(protocol=1)
    client.session.publication(Outgoing({"type": "channel_broadcast", "channel": "c", "data": 1}))
    assert client.collect().sent[-1] == (CONTROL, {"type": "channel_broadcast", "channel": "c", "data": 1})


def test_clients_without_a_protocol_get_each_push_on_a_stream_of_its_own() -> None:
    """Older clients read pushes from streams that the gateway opens, and replies where they asked."""
    client = Client().open(protocol=None)
    client.session.publication(Outgoing({"type": "channel_broadcast", "channel": "c", "data": 1}))
    assert client.collect().sent[-1][0] is None
    client.session.publication(Outgoing({"type": "reply"}), CONTROL)
    assert client.collect().sent[-1][0] == CONTROL
    client.session.tick(at(500))
    assert all(frame["type"] != "ping" for _, frame in client.collect().sent)


def test_msgpack_streams_are_answered_in_msgpack() -> None:
    """The first byte of a stream decides for its answers too."""
    client = Client().open()
    client.session.stream_data(8, msgpack.packb({"type": "ping"}), False, True, at(2))
    effect = client.session.effects()[0]
    assert isinstance(effect, Send)
    assert effect.stream == 8
    assert msgpack.unpackb(effect.data)["type"] == "pong"


def test_answers_to_a_unidirectional_stream_are_pushed() -> None:
    """A stream that cannot be answered on gets its answers on the control stream."""
    client = Client().open().frame({"type": "ping"}, stream=14, ended=True, bidi=False)
    assert client.sent[-1][0] == CONTROL
    assert client.last["type"] == "pong"


def test_a_stream_that_the_client_ended_is_ended_after_its_answer() -> None:
    """Our side of a stream ends when its last answer was given, or after the reply timeout without one."""
    client = Client().open().frame({"type": "ask"}, stream=8, ended=True)
    assert client.ends == []
    client.session.publication(Outgoing({"type": "answer"}), 8)
    client.collect()
    assert client.sent[-1][0] == 8
    assert client.ends == [8]
    client.frame({"type": "ask"}, stream=12, ended=True)
    client.session.tick(at(30))
    assert client.collect().ends == [8, 12]


def test_a_stream_that_ends_inside_a_frame_is_malformed() -> None:
    """Half a frame at the end of a stream closes the session with 4400."""
    assert Client().open().raw(b'{"type":"pi', stream=8, ended=True).closes[0].code == 4400


def test_datagrams_need_authentication_and_a_channel() -> None:
    """What cannot be routed is dropped with its reason; `room` and `channel` both name the channel."""
    client = Client()
    assert client.session.datagram(b'{"type":"cursor","channel":"a"}', at(1)) == "unauthenticated"
    client.open().joined("a")
    assert client.session.datagram(b"\xff", at(1)) == "malformed"
    assert client.session.datagram(b'{"type":"cursor"}', at(1)) == "no_channel"
    assert client.session.datagram(msgpack.packb({"type": "cursor", "room": "a", "x": 1}), at(1)) is None
    assert client.collect().event == DatagramReceived(
        frame={"type": "cursor", "room": "a", "x": 1}, channel="a", member=True
    )
    client.session.unreliable(Outgoing({"type": "cursor", "x": 2}))
    assert msgpack.unpackb(client.collect().datagrams[-1]) == {"type": "cursor", "x": 2}


def test_a_peer_that_answers_no_ping_is_closed_with_3012() -> None:
    """Any byte from the client counts as an answer; silence closes."""
    client = Client().open()
    client.session.tick(at(26))
    assert client.collect().last == {"type": "ping"}
    client.session.stream_data(CONTROL, b'{"type":"pong"}', False, True, at(27))
    client.session.tick(at(40))
    assert client.collect().closes == []
    client.session.tick(at(52))
    client.session.tick(at(60))
    assert client.collect().closes[0].code == 3012


def test_closing_sends_a_disconnect_frame_once() -> None:
    """Every close from our side says code, reason and whether to come back, and nothing follows it."""
    client = Client().open()
    client.session.close(3001, "restart")
    client.collect()
    assert client.last == {"type": "disconnect", "code": 3001, "reason": "restart", "reconnect": True}
    client.session.close(3500, "again")
    client.frame({"type": "ping"})
    client.session.publication(Outgoing({"type": "late"}))
    assert [close.code for close in client.collect().closes] == [3001]
    assert client.last["type"] == "disconnect"
