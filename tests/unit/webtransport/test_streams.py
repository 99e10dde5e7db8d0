"""Streams and datagrams of an open session."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.h3.connection import ErrorCode
from aioquic.quic.events import StopSendingReceived
from aioquic.quic.events import StreamReset as ClientStreamReset

from ingress.webtransport import (
    DatagramReceived,
    State,
    StreamDataReceived,
    StreamReset,
    StreamStopped,
)
from ingress.webtransport.codes import to_http3
from tests.unit.webtransport.pair import Pair


def test_client_streams_echo(pair: Pair) -> None:
    """Bidirectional and unidirectional streams bring their data in, and the former takes an answer."""
    bidi = pair.client_stream(b"ping")
    pair.run()
    assert pair.take(StreamDataReceived) == StreamDataReceived(bidi, b"ping", False, True)
    assert pair.server.send(bidi, b"pong", end_stream=True)
    uni = pair.client_stream(b"note", unidirectional=True, end=True)
    pair.run()
    assert pair.take(StreamDataReceived) == StreamDataReceived(uni, b"note", True, False)
    assert pair.client_received(bidi) == (b"pong", True)


def test_server_streams_take_an_answer(pair: Pair) -> None:
    """What a client answers on a stream that the server opened is data, not HTTP/3."""
    bidi, uni = pair.server.open_bidirectional(), pair.server.open_unidirectional()
    pair.server.send(bidi, b"question")
    pair.server.send(uni, b"notice", end_stream=True)
    pair.run()
    assert pair.client_received(bidi) == (b"question", False)
    assert pair.client_received(uni) == (b"notice", True)
    pair.client.send_stream_data(bidi, b"\x41\x00answer", True)
    pair.run()
    assert pair.take(StreamDataReceived) == StreamDataReceived(bidi, b"\x41\x00answer", True, True)


def test_datagrams_go_both_ways(pair: Pair) -> None:
    """A datagram arrives as it was sent."""
    pair.h3.send_datagram(pair.session_id, b"in")
    assert pair.server.send_datagram(b"out")
    pair.run()
    assert pair.take(DatagramReceived) == DatagramReceived(b"in")
    assert pair.client_datagrams() == [b"out"]


def test_datagrams_that_wait_are_bounded(make_pair: Callable[..., Pair]) -> None:
    """Under congestion the newest datagrams stay, and the dropped ones are counted."""
    pair = make_pair(max_pending_datagrams=10)
    pair.open_session()
    for number in range(30):
        assert pair.server.send_datagram(b"%d" % number)
    assert pair.server.counters.datagrams_dropped == 20
    pair.run()
    assert pair.client_datagrams() == [b"%d" % number for number in range(20, 30)]


@pytest.mark.parametrize(
    ("stream_id", "data"),
    [
        (4, b"\x40\x41\x03x"),
        (4, b"\x40\x41\x40\x4dx"),
        (4, b"\x40\x41\x01"),
        (14, b"\x40\x54\x02x"),
        (14, b"\x40\x54\x03"),
    ],
)
def test_wrong_session_ids_close_the_connection(stream_id: int, data: bytes, pair: Pair) -> None:
    """A stream of a session whose id is no stream that a client could request one on is H3_ID_ERROR."""
    pair.client.send_stream_data(stream_id, data)
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_ID_ERROR
    assert pair.events == []


@pytest.mark.parametrize("data", [b"", b"x"], ids=["head alone", "with data"])
def test_streams_of_another_session_are_refused(data: bytes, pair: Pair) -> None:
    """A stream that names a request that is no session is refused, without harm to the one there is."""
    pair.client.send_stream_data(4, b"\x40\x41\x08" + data)
    pair.run()
    assert pair.client_reset(4) == 0x3994BD84
    assert pair.server.state is State.OPEN


def test_a_stream_header_inside_the_request_closes_the_connection(pair: Pair) -> None:
    """WT_STREAM on the CONNECT stream is H3_FRAME_ERROR, not a stream of a session."""
    pair.client.send_stream_data(pair.session_id, b"\x40\x41\x00x")
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_FRAME_ERROR


@pytest.mark.parametrize("apart", [False, True])
def test_a_stream_header_behind_another_frame_closes_the_connection(apart: bool, pair: Pair) -> None:
    """WT_STREAM is its stream's first frame: not even one that nobody knows may come before it."""
    pair.client.send_stream_data(4, b"\x21\x01x")
    if apart:
        pair.run()
    pair.client.send_stream_data(4, b"\x40\x41\x00x")
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_FRAME_ERROR
    assert pair.events == []


@pytest.mark.parametrize("code", [0, 1, 29, 30, 4400, 2**32 - 1])
def test_resets_and_stops_carry_their_codes(code: int, pair: Pair) -> None:
    """Application codes survive in both directions, for a stream's reset and its stop."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    pair.take(StreamDataReceived)
    pair.client.reset_stream(stream_id, to_http3(code))
    pair.client.stop_stream(stream_id, to_http3(code))
    pair.run()
    assert sorted(map(repr, pair.events)) == sorted(
        map(repr, [StreamReset(stream_id, code), StreamStopped(stream_id, code)])
    )
    other = pair.client_stream(b"x")
    pair.run()
    pair.server.reset_stream(other, code)
    pair.server.stop_stream(other, code)
    pair.run()
    assert pair.client_reset(other) == to_http3(code)
    assert pair.take_client(StopSendingReceived).error_code == to_http3(code)


def test_a_code_from_elsewhere_reads_as_zero(pair: Pair) -> None:
    """A reset with a code of HTTP/3 is told with code 0."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    pair.take(StreamDataReceived)
    pair.client.reset_stream(stream_id, ErrorCode.H3_INTERNAL_ERROR)
    pair.run()
    assert pair.take(StreamReset) == StreamReset(stream_id, 0)


def test_writing_too_late_is_harmless(pair: Pair) -> None:
    """After a FIN, a reset, or the client's stop, a stream takes no more, and says so."""
    for end in ("fin", "reset", "stop"):
        stream_id = pair.client_stream(b"x")
        pair.run()
        if end == "fin":
            pair.server.send(stream_id, b"", end_stream=True)
        elif end == "reset":
            pair.server.reset_stream(stream_id, 1)
        else:
            pair.client.stop_stream(stream_id, to_http3(1))
            pair.run()
        assert not pair.server.send(stream_id, b"late")
        assert not pair.server.send(9999, b"never opened")


def test_a_stop_counts_before_its_event(pair: Pair) -> None:
    """Data and then a stop, read together: answering the data comes too late, and is harmless."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    pair.events.clear()
    pair.client.send_stream_data(stream_id, b"y")
    pair.deliver()
    pair.client.stop_stream(stream_id, to_http3(1))
    pair.deliver()
    sent: list[bool] = []
    while (event := pair.quic.next_event()) is not None:
        for fact in pair.server.receive(event):
            if isinstance(fact, StreamDataReceived):
                sent.append(pair.server.send(stream_id, b"answer"))
    assert sent == [False]


def test_a_stopped_stream_is_silent(pair: Pair) -> None:
    """After stopping a stream, what the client had under way on it is not told."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    pair.events.clear()
    pair.server.stop_stream(stream_id, 7)
    pair.client.send_stream_data(stream_id, b"under way")
    pair.run()
    assert pair.events == []


def test_reset_of_an_unknown_stream_is_no_event(pair: Pair) -> None:
    """A stream that was reset before it said which session it belongs to is nobody's."""
    pair.client.send_stream_data(4, b"\x40")
    pair.run()
    pair.client.reset_stream(4, 0)
    pair.run()
    assert pair.events == []
    assert pair.take_client(ClientStreamReset, 4)
