"""What a session allows a client, and what a client may wish for: rates, batches, compression, the token's end."""

from __future__ import annotations

import base64
import json
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest

from ingress.session import Outgoing
from schemas.events import AuthenticatedDelivery
from tests.unit.ingress.told import CONTROL, LIMITS, Client, at, decoded


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
    return decoded(zlib.decompress(raw, -15))


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
    verdict = AuthenticatedDelivery(user=None, stream=CONTROL, expires_at=at(10).wall_ms)
    client.session.authenticated("s1", verdict, at(1))
    client.session.tick(at(9.9))
    assert client.collect().closes == []
    client.session.tick(at(10))
    assert [close.code for close in client.collect().closes] == [3005]
    assert client.last["reconnect"] is True


def test_a_client_that_could_not_be_heard_is_not_told_to_stay_away() -> None:
    """While nothing is read no `auth` frame can come: then the close asks to come back. Read again, it has its time."""
    unheard = Client()
    unheard.session.listen(False, at(0))
    unheard.session.tick(at(5))
    assert [close.code for close in unheard.collect().closes] == [3000]
    late = Client()
    late.session.listen(False, at(0))
    late.session.listen(True, at(4.9))
    late.session.tick(at(9.8))
    assert late.collect().closes == []
    late.session.tick(at(9.9))
    assert [close.code for close in late.collect().closes] == [4408]


def test_pings_that_follow_fast_do_not_put_off_the_end_of_a_dead_client() -> None:
    """The pong that the first of them asked for is what is waited for, however many follow before it is overdue."""
    client = Client(replace(LIMITS, ping_interval=3)).open()
    for second in range(4, 12):
        client.session.tick(at(second))
    assert client.collect().closes == []
    client.session.tick(at(12))
    assert [close.code for close in client.collect().closes] == [3012]


def test_the_silence_of_a_client_that_is_not_read_says_nothing() -> None:
    """While the log holds a session back no pong is missed; when it is read again it is asked anew."""
    client = Client().open()
    client.session.tick(at(26))
    client.session.listen(False, at(27))
    client.session.tick(at(60))
    client.session.tick(at(90))
    assert client.collect().closes == []
    client.session.listen(True, at(91))
    client.session.tick(at(115.9))
    client.session.tick(at(116))
    assert client.collect().last == {"type": "ping"}
    client.session.tick(at(124))
    assert [close.code for close in client.collect().closes] == [3012]
