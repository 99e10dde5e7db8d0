"""The rules of a session, told as frames in and effects out."""

from __future__ import annotations

import base64
import json
import random
import zlib
from typing import Any

import msgpack
import pytest

from ingress.session import (
    Append,
    Close,
    Now,
    OpenAndSend,
    Outgoing,
    Send,
    SendDatagram,
    Session,
    SessionLimits,
)
from schemas.codec import FrameLimits
from schemas.events import (
    AuthenticatedDelivery,
    AuthFailedDelivery,
    AuthRequested,
    DatagramReceived,
    MessageReceived,
    SubscribedDelivery,
    SubscribeRequested,
    Unsubscribed,
    WhisperReceived,
)

LIMITS = SessionLimits(
    frame=FrameLimits(max_bytes=1024, max_depth=8, max_keys=64),
    auth_timeout=5,
    verdict_timeout=10,
    auth_pending_bytes=512,
    max_channels=2,
    frames_per_second=50,
    bytes_per_second=10_000,
    datagrams_per_second=5,
    ping_interval=25,
    pong_timeout=8,
)
CONTROL = 4


def at(seconds: float) -> Now:
    return Now(seconds, 1_700_000_000_000 + int(seconds * 1000))


class Client:
    """A session core and the effects it left, split by kind."""

    def __init__(self) -> None:
        self.session = Session("s1", LIMITS, seal=lambda token: f"sealed({token})", now=at(0))
        self.appends: list[Append] = []
        self.sent: list[tuple[int | None, dict[str, Any]]] = []
        self.ends: list[int] = []
        self.datagrams: list[bytes] = []
        self.closes: list[Close] = []

    def collect(self) -> Client:
        for effect in self.session.effects():
            match effect:
                case Append():
                    self.appends.append(effect)
                case Send(stream=stream, data=data, end=end):
                    if data:
                        self.sent.append((stream, _decode(data)))
                    if end:
                        self.ends.append(stream)
                case OpenAndSend(data=data):
                    self.sent.append((None, _decode(data)))
                case SendDatagram(data=data):
                    self.datagrams.append(data)
                case Close():
                    self.closes.append(effect)
        return self

    def raw(self, data: bytes, stream: int = CONTROL, *, ended: bool = False, bidi: bool = True) -> Client:
        self.session.stream_data(stream, data, ended, bidi, at(1))
        return self.collect()

    def frame(self, frame: dict[str, Any], stream: int = CONTROL, *, ended: bool = False, bidi: bool = True) -> Client:
        return self.raw(json.dumps(frame).encode() + b"\n", stream, ended=ended, bidi=bidi)

    def open(self, *, protocol: int | None = 1, **wishes: Any) -> Client:
        auth: dict[str, Any] = {"type": "auth", "token": "t", **wishes}
        self.frame(auth | ({"protocol": protocol} if protocol else {}))
        self.session.authenticated(AuthenticatedDelivery(user="7", stream=CONTROL), at(1))
        return self.collect()

    def joined(self, channel: str) -> Client:
        self.frame({"type": "subscribe", "channel": channel})
        self.session.subscribed(channel, SubscribedDelivery(epoch="e", offset=0, stream=CONTROL))
        return self.collect()

    @property
    def last(self) -> dict[str, Any]:
        return self.sent[-1][1]

    @property
    def event(self) -> Any:
        return self.appends[-1].event


def _decode(data: bytes) -> dict[str, Any]:
    decoded = json.loads(data) if data[:1] == b"{" else msgpack.unpackb(data)
    assert isinstance(decoded, dict)
    return decoded


def test_auth_is_sealed_and_answered_on_the_stream_that_asked() -> None:
    """The token is appended sealed, a user id from the client is ignored, and the success names the session."""
    client = Client().frame({"type": "auth", "token": "secret", "userId": 99, "id": "a"})
    assert client.event == AuthRequested(token="sealed(secret)", protocol=None, stream=CONTROL, frame_id="a")
    client.session.authenticated(AuthenticatedDelivery(user="7", stream=CONTROL, frame_id="a"), at(1))
    client.collect()
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
    client.session.authenticated(AuthenticatedDelivery(user="7", stream=CONTROL), at(1))
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


def test_messages_say_whether_their_sender_is_a_member() -> None:
    """Membership is stamped from the grants that have arrived, not from what the client asked for."""
    client = Client().open().frame({"type": "subscribe", "channel": "c"})
    client.frame({"type": "message", "channel": "c", "data": 1})
    assert client.event.member is False
    client.session.subscribed("c", SubscribedDelivery(epoch="e", offset=3, stream=CONTROL, frame_id="x"))
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
    assert client.event == Unsubscribed(channel="a", stream=CONTROL, frame_id="u")
    client.session.unsubscribed("a", CONTROL, "u")
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


def test_more_frames_than_allowed_close_with_3013() -> None:
    """Twice a second's frames may come at once; then the session is told to slow down and come back."""
    client = Client().open()
    client.raw(b'{"type":"ping"}' * 99)
    assert client.closes == []
    client.raw(b'{"type":"ping"}')
    assert [close.code for close in client.closes] == [3013]
    assert client.last["reconnect"] is True


def test_more_bytes_than_allowed_close_with_3013() -> None:
    """Bytes count as they arrive, whole frames or not."""
    client = Client().open()
    for stream in range(8, 8 + 4 * 30, 4):
        client.raw(b'{"pad":"' + b"x" * 990, stream=stream)
    assert [close.code for close in client.closes] == [3013]


def test_a_rate_recovers_with_time() -> None:
    """What was taken comes back at the allowed rate."""
    client = Client().open()
    client.raw(b'{"type":"ping"}' * 99)
    client.session.stream_data(CONTROL, b'{"type":"ping"}' * 50, False, True, at(2.1))
    assert client.collect().closes == []


def test_more_datagrams_than_allowed_are_dropped() -> None:
    """Datagrams over the rate vanish, with their reason, and the session goes on."""
    client = Client().open().joined("a")
    frame = b'{"type":"cursor","channel":"a"}'
    results = [client.session.datagram(frame, at(1)) for _ in range(12)]
    assert results == [None] * 10 + ["rate"] * 2
    assert client.session.datagram(frame, at(1.3)) is None
    assert client.collect().closes == []


def test_batched_pushes_wait_for_company_and_answers_do_not_overtake_them() -> None:
    """With `batch` pushes leave together, in order; an answer takes them along."""
    client = Client().open(batch=20)
    sent = len(client.sent)
    for n in range(3):
        client.session.publication(Outgoing({"type": "channel_broadcast", "n": n}))
    assert client.session.flush_after == 0.02
    assert len(client.collect().sent) == sent
    client.session.flush()
    assert [frame["n"] for _, frame in client.collect().sent[sent:]] == [0, 1, 2]
    client.session.publication(Outgoing({"type": "channel_broadcast", "n": 3}))
    client.frame({"type": "ping"})
    assert [frame["type"] for _, frame in client.sent[-2:]] == ["channel_broadcast", "pong"]
    client.session.publication(Outgoing({"type": "channel_broadcast", "n": 4}))
    client.session.close(3001, "restart")
    assert [frame["type"] for _, frame in client.collect().sent[-2:]] == ["channel_broadcast", "disconnect"]


@pytest.mark.parametrize(
    "wish", [{"batch": 101}, {"batch": -1}, {"batch": "10"}, {"batch": True}, {"compression": "x"}]
)
def test_wishes_that_cannot_be_are_malformed(wish: dict[str, Any]) -> None:
    """An auth frame with an impossible wish closes with 4400."""
    assert Client().frame({"type": "auth", "token": "t", **wish}).closes[0].code == 4400


def inflated(frame: dict[str, Any]) -> dict[str, Any]:
    raw = frame["data"] if isinstance(frame["data"], bytes) else base64.b64decode(frame["data"])
    return _decode(zlib.decompress(raw, -15))


def test_long_frames_are_compressed_for_those_who_asked_where_it_helps() -> None:
    """Over 1,000 bytes and smaller compressed: only then, and only for clients that listed the encoding."""
    long = {"type": "channel_broadcast", "data": "again and " * 500}
    noise = {"type": "channel_broadcast", "data": base64.b64encode(random.Random(1).randbytes(1500)).decode()}
    client = Client().open(compression=["br", "deflate-raw"])
    client.session.publication(Outgoing(long))
    assert client.collect().last["type"] == "compressed"
    assert inflated(client.last) == long
    client.session.publication(Outgoing({"type": "short"}))
    assert client.collect().last["type"] == "short"
    client.session.publication(Outgoing(noise))
    assert client.collect().last == noise
    plain = Client().open()
    plain.session.publication(Outgoing(long))
    assert plain.collect().last == long


def test_compressed_frames_from_clients_are_handled_as_what_they_hold() -> None:
    """A compressed frame is its content; bombs, rubbish and nesting close the session, auth inside is refused."""

    def packed(data: bytes) -> dict[str, Any]:
        deflate = zlib.compressobj(wbits=-15)
        inner = base64.b64encode(deflate.compress(data) + deflate.flush()).decode()
        return {"type": "compressed", "encoding": "deflate-raw", "data": inner}

    assert Client().open().frame(packed(b'{"type":"ping"}')).last["type"] == "pong"
    assert Client().open().frame(packed(b'{"type":"auth","token":"t"}')).last["code"] == 100
    bomb = Client().open().frame(packed(b'{"type":"x","pad":"' + b"x" * 100_000 + b'"}'))
    assert [close.code for close in bomb.closes] == [4413]
    nested = json.dumps(packed(b'{"type":"ping"}')).encode()
    for bad in (
        packed(b"nonsense"),
        packed(nested),
        packed(b'{"type":"ping"}') | {"encoding": "gzip"},
        {"type": "compressed", "encoding": "deflate-raw", "data": "!"},
        {"type": "compressed", "encoding": "deflate-raw", "data": "AAAA"},
        {"type": "compressed", "encoding": "deflate-raw"},
    ):
        assert [close.code for close in Client().open().frame(bad).closes] == [4400], bad


def test_a_session_ends_with_its_token() -> None:
    """What the application said about the token's end is kept: then 3005, and the client comes back with a new one."""
    client = Client().frame({"type": "auth", "token": "t", "protocol": 1})
    verdict = AuthenticatedDelivery(user="7", stream=CONTROL, expires_at=at(10).wall_ms)
    client.session.authenticated(verdict, at(1))
    client.session.tick(at(9.9))
    assert client.collect().closes == []
    client.session.tick(at(10))
    assert [close.code for close in client.collect().closes] == [3005]
    assert client.last["reconnect"] is True
