"""Rules of HTTP/3 that a session depends on: who breaks one loses the connection, with the code of the rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, Setting, encode_frame
from aioquic.h3.events import Headers

from ingress.webtransport import State, StreamDataReceived
from ingress.webtransport.capsules import FORBIDDEN
from tests.unit.webtransport.pair import Pair

CONNECT: Headers = [
    (b":method", b"CONNECT"),
    (b":protocol", b"webtransport"),
    (b":scheme", b"https"),
    (b":authority", b"headgate.test"),
    (b":path", b"/"),
]
SETTINGS = encode_frame(FrameType.SETTINGS, encode_uint_var(Setting.H3_DATAGRAM) + b"\x01")


@pytest.mark.parametrize(
    "headers",
    [
        [*CONNECT, (b":path", b"/other")],
        [*CONNECT, (b":status", b"200")],
        [*CONNECT[:4], (b"origin", b"https://a.test"), CONNECT[4]],
        [field for field in CONNECT if field[0] != b":authority"],
        [*CONNECT, (b"Origin", b"https://a.test")],
        [*CONNECT, (b"origin", b"https://a.test\r\nx: y")],
        [*CONNECT, (b"origin", b"https://a.test\n")],
        [*CONNECT, (b"origin", b"https://a.test\0")],
        [*CONNECT, (b"origin", b" https://a.test")],
        [*CONNECT, (b"or igin", b"https://a.test")],
        [*CONNECT, (b"connection", b"upgrade")],
        [*CONNECT[:4], (b":path", b"")],
    ],
    ids=[
        "twice", "unknown pseudo-header", "pseudo-header late", "no authority", "uppercase", "CR LF", "LF", "NUL",
        "space first", "space in a name", "of a connection", "empty path",
    ],
)  # fmt: skip
def test_malformed_requests_close_the_connection(headers: Headers, make_pair: Callable[..., Pair]) -> None:
    """A request whose fields break the rules is H3_MESSAGE_ERROR, and is told to nobody."""
    pair = make_pair()
    pair.h3.send_headers(pair.client.get_next_available_stream_id(), headers)
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_MESSAGE_ERROR
    assert pair.events == []


@pytest.mark.parametrize(
    ("control", "error"),
    [
        (SETTINGS + SETTINGS, ErrorCode.H3_FRAME_UNEXPECTED),
        (encode_frame(FrameType.SETTINGS, b"\x33\x01\x33\x01"), ErrorCode.H3_SETTINGS_ERROR),
        (encode_frame(FrameType.SETTINGS, b"\x33\x02"), ErrorCode.H3_SETTINGS_ERROR),
        (encode_frame(FrameType.SETTINGS, b"\x02\x00"), ErrorCode.H3_SETTINGS_ERROR),
        (encode_frame(FrameType.SETTINGS, b"\x33"), ErrorCode.H3_FRAME_ERROR),
        (encode_frame(0x21, b"") + SETTINGS, ErrorCode.H3_MISSING_SETTINGS),
        (SETTINGS + encode_frame(FrameType.DATA, b""), ErrorCode.H3_FRAME_UNEXPECTED),
        (SETTINGS + encode_frame(0x02, b""), ErrorCode.H3_FRAME_UNEXPECTED),
    ],
    ids=["second", "id twice", "value", "of HTTP/2", "cut short", "not first", "data", "frame of HTTP/2"],
)
def test_broken_settings_close_the_connection(control: bytes, error: int, make_pair: Callable[..., Pair]) -> None:
    """The control stream begins with one SETTINGS frame, whose settings are known once each."""
    pair = make_pair(late_settings=True)
    pair.client.send_stream_data(pair.client.get_next_available_stream_id(True), b"\x00" + control)
    pair.run()
    assert pair.connection_error() == error


@pytest.mark.parametrize("how", ["fin", "reset", "stop"])
def test_the_control_streams_stay_open(how: str, pair: Pair) -> None:
    """Whoever ends a control stream, theirs or ours, ends the connection with H3_CLOSED_CRITICAL_STREAM."""
    theirs, ours = pair.h3._local_control_stream_id, pair.h3._peer_control_stream_id
    assert theirs is not None
    assert ours is not None
    match how:
        case "fin":
            pair.client.send_stream_data(theirs, b"", True)
        case "reset":
            pair.client.reset_stream(theirs, 0)
        case "stop":
            pair.client.stop_stream(ours, 0)
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_CLOSED_CRITICAL_STREAM


@pytest.mark.parametrize("kind", [0, 1, 2, 3], ids=["control", "push", "encoder", "decoder"])
def test_streams_that_a_client_may_not_open(kind: int, pair: Pair) -> None:
    """A second control or QPACK stream, and a push by a client, is H3_STREAM_CREATION_ERROR."""
    pair.client.send_stream_data(pair.client.get_next_available_stream_id(True), encode_uint_var(kind))
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_STREAM_CREATION_ERROR


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (encode_frame(FrameType.DATA, b"x"), ErrorCode.H3_FRAME_UNEXPECTED),
        (encode_frame(FrameType.PUSH_PROMISE, b"\x00"), ErrorCode.H3_FRAME_UNEXPECTED),
        (encode_frame(FrameType.SETTINGS, b""), ErrorCode.H3_FRAME_UNEXPECTED),
        (b"\x01\x08x", ErrorCode.H3_FRAME_ERROR),
    ],
    ids=["data first", "push", "settings", "cut short"],
)
def test_broken_request_streams_close_the_connection(data: bytes, error: int, pair: Pair) -> None:
    """A request stream begins with HEADERS, has frames of its kind only, and ends between frames."""
    pair.client.send_stream_data(pair.client.get_next_available_stream_id(), data, True)
    pair.run()
    assert pair.connection_error() == error


def test_what_nobody_knows_is_skipped(pair: Pair) -> None:
    """Frames and streams of unknown types are skipped, on every kind of stream, and the session goes on."""
    control = pair.h3._local_control_stream_id
    assert control is not None
    grease = encode_frame(0x21 + 0x1F * 1000, b"grease")
    pair.client.send_stream_data(control, grease)
    pair.client.send_stream_data(pair.session_id, grease)
    pair.client.send_stream_data(pair.client.get_next_available_stream_id(True), encode_uint_var(0x21) + b"x" * 5000)
    pair.run()
    stream_id = pair.client_stream(b"x")
    pair.run()
    assert pair.events == [StreamDataReceived(stream_id, b"x", False, True)]


@pytest.mark.parametrize("end", [False, True], ids=["reset", "end"])
def test_a_request_that_ends_before_its_headers(end: bool, pair: Pair) -> None:
    """A request stream that is over before it asked for anything is reset with H3_REQUEST_INCOMPLETE."""
    stream_id = pair.client.get_next_available_stream_id()
    pair.client.send_stream_data(stream_id, b"", end)
    if not end:
        pair.client.send_stream_data(stream_id, b"\x01")
        pair.run()
        pair.client.reset_stream(stream_id, 0)
    pair.run()
    assert pair.client_reset(stream_id) == ErrorCode.H3_REQUEST_INCOMPLETE
    assert pair.server.state is State.OPEN


@pytest.mark.parametrize("data", [b"", b"\x40", encode_uint_var(2**60)], ids=["empty", "cut short", "too large"])
def test_datagrams_name_a_stream_that_can_be(data: bytes, pair: Pair) -> None:
    """A datagram without a quarter stream id, or with one over 2^60 - 1, is H3_DATAGRAM_ERROR."""
    pair.client.send_datagram_frame(data)
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_DATAGRAM_ERROR
    assert pair.events == []


def test_datagrams_of_other_streams_are_dropped(pair: Pair) -> None:
    """A datagram of a stream that is no session is dropped and counted."""
    pair.h3.send_datagram(4 * 100, b"x")
    pair.run()
    assert pair.events == []
    assert pair.server.counters.datagrams_refused == 1
    assert pair.server.state is State.OPEN


@pytest.mark.parametrize("kind", [0x190B4D3D, 0x190B4D3F, 0x190B4D40, 0x190B4D41, 0x190B4D43, 0x190B4D44])
def test_flow_control_capsules_are_ignored(kind: int, pair: Pair) -> None:
    """Flow control is not negotiated, so its capsules mean nothing, whatever their values."""
    for value in (b"\x00", b"\x00", encode_uint_var(2**61), b""):
        capsule = encode_uint_var(kind) + encode_uint_var(len(value)) + value
        pair.h3.send_data(pair.session_id, capsule, end_stream=False)
    pair.run()
    assert pair.events == []
    assert pair.server.state is State.OPEN


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_capsules_of_http2_end_the_session(kind: int, pair: Pair) -> None:
    """Credit for single streams belongs to WebTransport over HTTP/2: a session error."""
    pair.h3.send_data(pair.session_id, encode_uint_var(kind) + b"\x00", end_stream=False)
    pair.run()
    assert pair.client_reset(pair.session_id) == ErrorCode.H3_MESSAGE_ERROR
    assert pair.server.state is State.CLOSED
