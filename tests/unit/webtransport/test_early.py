"""What a client sends before its session is open."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.h3.connection import ErrorCode
from aioquic.quic.events import StopSendingReceived

from ingress.webtransport import (
    DatagramReceived,
    DrainReceived,
    EarlyLimits,
    SessionClosed,
    SessionRequested,
    State,
    StreamDataReceived,
    StreamReset,
)
from ingress.webtransport.capsules import Close, Drain, encode
from ingress.webtransport.connect_stream import MAX_EARLY_BYTES
from tests.unit.webtransport.pair import LateSettings, Pair

REJECTED = 0x3994BD84


def early_stream(pair: Pair, stream_id: int, data: bytes, *, session_id: int = 0) -> None:
    """Send a WebTransport stream of a session that is not requested yet, of which the stream is left free."""
    pair.client.send_stream_data(0, b"")
    prefix = b"\x40\x41" if stream_id % 4 == 0 else b"\x40\x54"
    pair.client.send_stream_data(stream_id, prefix + bytes([session_id]) + data)


def test_streams_and_datagrams_wait_for_the_session(make_pair: Callable[..., Pair]) -> None:
    """Streams and datagrams that overtake CONNECT are told after it is accepted, in order, and not before."""
    pair = make_pair()
    early_stream(pair, 4, b"bidi")
    early_stream(pair, 14, b"uni")
    pair.run()
    pair.h3.send_datagram(0, b"datagram")
    pair.run()
    assert pair.events == []
    pair.session_id = pair.request_on(0)
    pair.run()
    pair.take(SessionRequested)
    assert pair.events == []
    assert pair.server.accept() == [
        StreamDataReceived(4, b"bidi", False, True),
        StreamDataReceived(14, b"uni", False, False),
        DatagramReceived(b"datagram"),
    ]


def test_streams_over_the_bound_are_rejected(make_pair: Callable[..., Pair]) -> None:
    """The stream after the last one that is kept is reset and stopped with WT_BUFFERED_STREAM_REJECTED."""
    pair = make_pair(early=EarlyLimits(streams=2))
    for stream_id in (4, 8, 12):
        early_stream(pair, stream_id, b"x")
        pair.run()
    assert pair.take_client(StopSendingReceived).stream_id == 12
    assert pair.client_reset(12) == REJECTED
    pair.session_id = pair.request_on(0)
    pair.run()
    assert [event.stream_id for event in pair.server.accept() if isinstance(event, StreamDataReceived)] == [
        4,
        8,
    ]
    assert pair.server.counters.streams_refused == 1


def test_bytes_over_the_bound_reject_the_stream_whole(make_pair: Callable[..., Pair]) -> None:
    """A stream that outgrows the bound is rejected, and none of its data is told later."""
    pair = make_pair(early=EarlyLimits(bytes=1_000))
    early_stream(pair, 4, b"x" * 500)
    pair.run()
    pair.client.send_stream_data(4, b"x" * 500)
    pair.run()
    assert pair.client_reset(4) == REJECTED
    pair.session_id = pair.request_on(0)
    pair.run()
    assert pair.server.accept() == []


def test_datagrams_over_the_bound_are_dropped(make_pair: Callable[..., Pair]) -> None:
    """Early datagrams are kept up to the bound; those over it are dropped and counted."""
    pair = make_pair(early=EarlyLimits(bytes=1_000))
    for _ in range(20):
        pair.h3.send_datagram(0, b"x" * 100)
        pair.run()
    assert pair.server.counters.datagrams_refused == 14
    pair.session_id = pair.request_on(0)
    pair.run()
    assert pair.server.accept() == [DatagramReceived(b"x" * 100)] * 6


def test_streams_of_other_sessions_are_rejected_when_one_opens(make_pair: Callable[..., Pair]) -> None:
    """Streams kept for a session that will never exist are rejected once another one is accepted."""
    pair = make_pair()
    early_stream(pair, 4, b"ours")
    early_stream(pair, 8, b"other", session_id=12)
    pair.run()
    pair.session_id = pair.request_on(0)
    pair.run()
    assert pair.server.accept() == [StreamDataReceived(4, b"ours", False, True)]
    pair.run()
    assert pair.client_reset(8) == REJECTED


def test_early_streams_of_a_refused_session_are_rejected(make_pair: Callable[..., Pair]) -> None:
    """When the session is refused, so is everything that waited for it."""
    pair = make_pair()
    early_stream(pair, 4, b"x")
    pair.run()
    pair.session_id = pair.request_on(0)
    pair.run()
    pair.server.reject(403)
    pair.run()
    assert pair.client_reset(4) == REJECTED
    assert pair.status(0) == 403


def test_an_early_reset_follows_its_stream(make_pair: Callable[..., Pair]) -> None:
    """An early stream that the client resets is told with its data and then the reset."""
    pair = make_pair()
    early_stream(pair, 4, b"x")
    pair.run()
    pair.client.reset_stream(4, 0x52E4A40FA8DB + 7)
    pair.run()
    pair.session_id = pair.request_on(0)
    pair.run()
    assert pair.server.accept() == [StreamDataReceived(4, b"x", False, True), StreamReset(4, 7)]


@pytest.mark.parametrize("how", ["capsule", "fin", "reset"])
def test_an_early_end_is_told_after_the_open(how: str, make_pair: Callable[..., Pair]) -> None:
    """A session that the client ends before it is accepted is still opened first, then closed."""
    pair = make_pair()
    pair.session_id = pair.request()
    match how:
        case "capsule":
            pair.client_close(9, "bye")
        case "fin":
            pair.client.send_stream_data(pair.session_id, b"", True)
    pair.run()
    if how == "reset":
        pair.client.reset_stream(pair.session_id, 0)
        pair.run()
    pair.take(SessionRequested)
    assert pair.events == []
    assert pair.server.accept() == [SessionClosed(9, "bye") if how == "capsule" else SessionClosed(0, "")]
    assert pair.server.state is State.CLOSED


def test_no_session_is_requested_before_the_settings(make_pair: Callable[..., Pair]) -> None:
    """A CONNECT that overtakes the client's SETTINGS is told when these have arrived."""
    pair = make_pair(late_settings=True)
    pair.session_id = pair.request()
    pair.run()
    assert pair.events == []
    assert isinstance(pair.h3, LateSettings)
    pair.h3.send_settings()
    pair.run()
    pair.take(SessionRequested)


BROKEN = b"\x68\x43\x01x"


def test_capsules_are_not_read_before_the_answer(make_pair: Callable[..., Pair]) -> None:
    """What is sent with the request is read as capsules once it is accepted, and only then found to be none."""
    pair = make_pair()
    pair.session_id = pair.request()
    pair.h3.send_data(pair.session_id, encode(Drain()) + BROKEN, end_stream=False)
    pair.run()
    pair.take(SessionRequested)
    assert pair.events == []
    drained, closed = pair.server.accept()
    assert drained == DrainReceived()
    assert isinstance(closed, SessionClosed)
    assert closed.abrupt
    pair.run()
    assert pair.client_reset(pair.session_id) == ErrorCode.H3_MESSAGE_ERROR


@pytest.mark.parametrize("after", [False, True], ids=["before the refusal", "after it"])
def test_capsules_of_a_refused_session_are_discarded(after: bool, make_pair: Callable[..., Pair]) -> None:
    """A session that is refused gets its status, whatever the client sends in its place."""
    pair = make_pair()
    pair.session_id = pair.request()
    if not after:
        pair.h3.send_data(pair.session_id, BROKEN, end_stream=False)
    pair.run()
    pair.take(SessionRequested)
    pair.server.reject(404)
    if after:
        pair.h3.send_data(pair.session_id, BROKEN * MAX_EARLY_BYTES, end_stream=False)
    pair.run()
    assert pair.status(pair.session_id) == 404
    assert pair.events == []
    assert not any(isinstance(event, StopSendingReceived) for event in pair.client_events)


@pytest.mark.parametrize("beyond", [0, 1])
def test_bytes_before_the_answer_are_bounded(beyond: int, make_pair: Callable[..., Pair]) -> None:
    """So many bytes of capsules may come before the answer; one more resets the request with H3_EXCESSIVE_LOAD."""
    pair = make_pair()
    pair.session_id = pair.request()
    grease = b"\x21\x4f\xfd" + bytes(MAX_EARLY_BYTES - 3)
    pair.h3.send_data(pair.session_id, grease + bytes(beyond), end_stream=False)
    pair.run()
    pair.take(SessionRequested)
    if beyond:
        assert pair.client_reset(pair.session_id) == ErrorCode.H3_EXCESSIVE_LOAD
        assert pair.take(SessionClosed).abrupt
        return
    assert pair.server.accept() == []
    pair.h3.send_data(pair.session_id, encode(Close(1, "")), end_stream=True)
    pair.run()
    assert pair.take(SessionClosed) == SessionClosed(1, "")


def test_streams_that_only_named_another_session_are_rejected(make_pair: Callable[..., Pair]) -> None:
    """A stream that has sent its head alone is refused, too, when another session opens than it named."""
    pair = make_pair()
    early_stream(pair, 4, b"")
    early_stream(pair, 8, b"", session_id=12)
    pair.run()
    pair.session_id = pair.request_on(0)
    pair.run()
    assert pair.server.accept() == []
    pair.run()
    assert pair.client_reset(8) == REJECTED
    assert pair.server.counters.streams_refused == 1
    pair.client.send_stream_data(4, b"x")
    pair.run()
    assert pair.events[-1] == StreamDataReceived(4, b"x", False, True)
