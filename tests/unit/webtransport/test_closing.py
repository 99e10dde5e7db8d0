"""How a session ends, from either side."""

from __future__ import annotations

import pytest
from aioquic.h3.connection import ErrorCode, FrameType
from aioquic.quic.events import StopSendingReceived

from ingress.webtransport import (
    DrainReceived,
    SessionClosed,
    State,
    WrongStateError,
)
from ingress.webtransport.capsules import Close, Drain, encode
from tests.unit.webtransport.pair import Pair

GONE = 0x170D7B68


def test_the_client_closes_with_code_and_reason(pair: Pair) -> None:
    """The client's CLOSE is told with code and reason, answered with FIN, and ends all streams."""
    streams = [pair.client_stream(b"x"), pair.client_stream(), pair.server.open_bidirectional()]
    pair.run()
    pair.events.clear()
    pair.client_close(4_000_000_001, "tschüß")
    pair.run()
    assert pair.events == [SessionClosed(4_000_000_001, "tschüß")]
    assert pair.client_received(pair.session_id) == (b"", True)
    assert [pair.client_reset(stream_id) for stream_id in (streams[0], streams[2])] == [GONE, GONE]
    assert not pair.server.send(streams[0], b"late")
    assert pair.server.can_disconnect


def test_the_connection_stays_until_the_client_has_the_end(pair: Pair) -> None:
    """After the client's close, the answer to it has to be acknowledged before the connection may go."""
    pair.client_close(1, "")
    pair.deliver()
    pair.handle_events()
    assert pair.server.state is State.CLOSED
    assert not pair.server.can_disconnect
    pair.run()
    assert pair.server.can_disconnect


@pytest.mark.parametrize("end", ["fin", "reset", "stop"])
def test_ending_the_request_closes_the_session(end: str, pair: Pair) -> None:
    """FIN, reset and stop of the CONNECT stream without a capsule read as code 0 and no reason, once."""
    match end:
        case "fin":
            pair.client.send_stream_data(pair.session_id, b"", True)
        case "reset":
            pair.client.reset_stream(pair.session_id, 0)
        case "stop":
            pair.client.stop_stream(pair.session_id, 0)
    pair.run()
    assert pair.events == [SessionClosed(0, "")]
    pair.lose_client()
    assert pair.events == [SessionClosed(0, "")]


def test_a_lost_connection_is_told_apart(pair: Pair) -> None:
    """A client that vanishes is told once, marked as abrupt."""
    pair.lose_client()
    assert pair.events == [SessionClosed(0, "", abrupt=True)]


def test_data_after_close_resets_the_request(pair: Pair) -> None:
    """A capsule after CLOSE is answered with H3_MESSAGE_ERROR, and the close is told all the same."""
    pair.h3.send_data(pair.session_id, encode(Close(5, "")) + encode(Drain()), end_stream=False)
    pair.run()
    assert pair.take(SessionClosed) == SessionClosed(5, "")
    assert pair.events == []
    assert pair.take_client(StopSendingReceived).error_code == ErrorCode.H3_MESSAGE_ERROR
    assert pair.client_reset(pair.session_id) == ErrorCode.H3_MESSAGE_ERROR


def test_data_long_after_close_stops_the_request(pair: Pair) -> None:
    """When this side has ended the stream already, what follows the client's CLOSE is stopped with the same code."""
    pair.h3.send_data(pair.session_id, encode(Close(5, "")), end_stream=False)
    pair.run()
    pair.h3.send_data(pair.session_id, encode(Drain()), end_stream=False)
    pair.run()
    assert pair.events == [SessionClosed(5, "")]
    assert pair.client_received(pair.session_id) == (b"", True)
    assert pair.take_client(StopSendingReceived).error_code == ErrorCode.H3_MESSAGE_ERROR


@pytest.mark.parametrize("capsule", [b"\x68\x43\x05\x00\x00\x00\x01\xff", b"\x68\x43\x02\x00\x00"])
def test_a_malformed_capsule_ends_the_session(capsule: bytes, pair: Pair) -> None:
    """A malformed capsule resets the CONNECT stream with H3_MESSAGE_ERROR and ends the session abruptly."""
    pair.h3.send_data(pair.session_id, capsule, end_stream=False)
    pair.run()
    event = pair.take(SessionClosed)
    assert (event.code, event.abrupt) == (0, True)
    assert pair.client_reset(pair.session_id) == ErrorCode.H3_MESSAGE_ERROR


def test_trailers_end_the_session(pair: Pair) -> None:
    """A second HEADERS frame on the CONNECT stream breaks the session."""
    pair.h3.send_headers(pair.session_id, [(b"x", b"y")])
    pair.run()
    assert pair.take(SessionClosed).abrupt


def test_closing_tells_the_client_and_waits_for_it(pair: Pair) -> None:
    """A close sends capsule and FIN, resets the streams, and may disconnect only after the client's FIN."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    pair.events.clear()
    pair.server.close(3001, "shutdown")
    pair.run()
    assert pair.client_received(pair.session_id) == (encode(Close(3001, "shutdown")), True)
    assert pair.client_reset(stream_id) == GONE
    assert not pair.server.can_disconnect
    pair.client.send_stream_data(pair.session_id, b"", True)
    pair.run()
    assert pair.server.can_disconnect
    assert pair.events == []
    pair.server.disconnect()
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_NO_ERROR


def test_streams_after_the_end_are_refused(pair: Pair) -> None:
    """A stream that the client opens after the session ended is refused with WT_SESSION_GONE."""
    pair.server.close(0, "")
    stream_id = pair.client_stream(b"x")
    pair.run()
    assert pair.client_reset(stream_id) == GONE
    pair.h3.send_datagram(pair.session_id, b"x")
    pair.run()
    assert pair.server.counters.datagrams_refused == 1
    assert pair.events == []


def test_draining_is_told_both_ways(pair: Pair) -> None:
    """DRAIN arrives as a capsule and is told as an event, and the session goes on."""
    pair.h3.send_data(pair.session_id, encode(Drain()), end_stream=False)
    pair.server.drain()
    pair.run()
    assert pair.take(DrainReceived) == DrainReceived()
    assert pair.client_received(pair.session_id) == (encode(Drain()), False)
    assert pair.server.state is State.OPEN


def test_a_broken_client_ends_only_once(pair: Pair) -> None:
    """A client that breaks HTTP/3 loses its connection, and the session's end is told once, as abrupt."""
    pair.client.send_stream_data(pair.session_id, bytes([FrameType.SETTINGS, 0]))
    pair.run()
    pair.lose_client()
    assert pair.events == [SessionClosed(0, "", abrupt=True)]
    assert pair.connection_error() == ErrorCode.H3_FRAME_UNEXPECTED


@pytest.mark.parametrize("who", ["client", "server"])
def test_nothing_is_sent_after_the_end(who: str, pair: Pair) -> None:
    """Whoever ended the session, no stream is opened and no datagram is sent any more."""
    if who == "client":
        pair.client_close(1, "")
        pair.run()
    else:
        pair.server.close(1, "")
    assert not pair.server.send_datagram(b"x")
    for command in (pair.server.open_bidirectional, pair.server.open_unidirectional):
        with pytest.raises(WrongStateError):
            command()
    pair.server.drain()
    pair.run()
    assert pair.client_datagrams() == []
