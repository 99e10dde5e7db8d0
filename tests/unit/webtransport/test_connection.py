"""One session between two QUIC connections in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.h3.connection import ErrorCode, FrameType
from aioquic.quic.events import StopSendingReceived
from aioquic.quic.events import StreamReset as ClientStreamReset
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.server.certificates import TlsIdentity
from ingress.webtransport import (
    DatagramReceived,
    DrainReceived,
    SessionClosed,
    SessionRequested,
    State,
    StreamDataReceived,
    StreamReset,
    StreamStopped,
    WrongStateError,
)
from ingress.webtransport.capsules import Close, Drain, encode
from ingress.webtransport.codes import to_http3
from tests.unit.webtransport.pair import Pair, events_of

GONE = 0x170D7B68

#: HTTP/3 and WebTransport frames and capsules with any content, to get past the first check.
capsules = st.builds(
    lambda kind, value: kind + bytes([len(value)]) + value,
    st.sampled_from([b"\x00", b"\x01", b"\x04", b"\x40\x41", b"\x40\x54", b"\x00\x68\x43", b"\x00\x80\x00\x78\xae"]),
    st.binary(max_size=40),
)


def test_a_session_opens_with_the_chosen_protocol(make_pair: Callable[..., Pair]) -> None:
    """The request is told with its headers, and the answer is 200 with the protocol that was chosen."""
    pair = make_pair()
    stream_id = pair.request((b"origin", b"https://app.test"), (b"wt-available-protocols", b'"v2", "v1"'), path=b"/x?y")
    pair.run()
    request = pair.take(SessionRequested)
    assert (request.path, request.origin, request.protocols) == ("/x?y", "https://app.test", ("v2", "v1"))
    assert pair.server.accept(protocol="v1") == []
    pair.run()
    headers = pair.headers(stream_id)
    assert (headers[b":status"], headers[b"wt-protocol"]) == (b"200", b'"v1"')


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


def test_datagrams_are_not_sent_to_a_client_without_them(make_pair: Callable[..., Pair]) -> None:
    """A client that takes no datagrams gets none, which would break its connection."""
    pair = make_pair(client_datagrams=False)
    pair.open_session()
    assert pair.server.datagram_capacity == 0
    assert not pair.server.send_datagram(b"")


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
    ("method", "protocol", "status"),
    [(b"GET", None, 404), (b"POST", None, 405), (b"CONNECT", b"websocket", 501)],
)
def test_other_requests_get_a_status(
    method: bytes, protocol: bytes | None, status: int, make_pair: Callable[..., Pair]
) -> None:
    """Requests that are not WebTransport are answered, and a session can still be opened after them."""
    pair = make_pair()
    stream_id = pair.client.get_next_available_stream_id()
    headers = [(b":method", method), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]
    if protocol is not None:
        headers.insert(1, (b":protocol", protocol))
    pair.h3.send_headers(stream_id, headers)
    pair.run()
    assert pair.status(stream_id) == status
    assert pair.events == []
    pair.open_session()
    assert pair.server.state is State.OPEN


def test_a_second_session_is_rejected(pair: Pair) -> None:
    """A second CONNECT is reset with H3_REQUEST_REJECTED, and the first session goes on."""
    second = pair.request()
    pair.run()
    assert pair.client_reset(second) == ErrorCode.H3_REQUEST_REJECTED
    assert pair.events == []
    assert pair.server.send_datagram(b"still here")


def test_refusing_a_session_answers_with_the_status(make_pair: Callable[..., Pair]) -> None:
    """A refused session gets its status, and no other one can be opened on the connection."""
    pair = make_pair()
    stream_id = pair.request()
    pair.run()
    pair.server.reject(403)
    pair.run()
    assert pair.status(stream_id) == 403
    second = pair.request()
    pair.run()
    assert pair.client_reset(second) == ErrorCode.H3_REQUEST_REJECTED


@pytest.mark.parametrize(
    ("stream_id", "data"), [(4, b"\x40\x41\x03x"), (4, b"\x40\x41\x40\x4dx"), (14, b"\x40\x54\x02x")]
)
def test_wrong_session_ids_close_the_connection(stream_id: int, data: bytes, pair: Pair) -> None:
    """A stream of a session whose id is no stream that a client could request one on is H3_ID_ERROR."""
    pair.client.send_stream_data(stream_id, data)
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_ID_ERROR
    assert pair.events == []


def test_streams_of_another_session_are_refused(pair: Pair) -> None:
    """A stream that names a request that is no session is refused, without harm to the one there is."""
    pair.client.send_stream_data(4, b"\x40\x41\x08x")
    pair.run()
    assert pair.client_reset(4) == 0x3994BD84
    assert pair.server.state is State.OPEN


def test_a_stream_header_inside_the_request_closes_the_connection(pair: Pair) -> None:
    """WT_STREAM on the CONNECT stream is H3_FRAME_ERROR, not a stream of a session."""
    pair.client.send_stream_data(pair.session_id, b"\x40\x41\x00x")
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_FRAME_ERROR


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


def test_commands_in_the_wrong_state_raise(make_pair: Callable[..., Pair]) -> None:
    """Answering what nobody asked, and opening streams without a session, is the caller's error."""
    pair = make_pair()
    for command in (
        pair.server.accept,
        lambda: pair.server.reject(403),
        pair.server.open_bidirectional,
        pair.server.open_unidirectional,
        lambda: pair.server.close(0, ""),
    ):
        with pytest.raises(WrongStateError):
            command()


def test_a_fast_client_is_held_to_its_window(pair: Pair) -> None:
    """A client can upload any amount through the fixed window while it is read, on one stream or many."""
    size = 0
    for _ in range(3):
        pair.client_stream(b"x" * 1_000_000, unidirectional=True, end=True)
        pair.run()
        size += sum(len(event.data) for event in events_of(pair.events, StreamDataReceived))
        pair.events.clear()
    assert size == 3_000_000
    assert pair.quic._local_max_data.value < 3_000_000 + 2 * 262_144


def test_a_paused_client_waits(pair: Pair) -> None:
    """While reading is paused the client sends no more than its credit, and the rest when it is resumed."""
    pair.server.pause_reading()
    pair.client_stream(b"x" * 500_000, end=True)
    pair.run()
    paused = sum(len(event.data) for event in events_of(pair.events, StreamDataReceived))
    assert 0 < paused <= 65_536
    pair.server.resume_reading()
    pair.run()
    assert sum(len(event.data) for event in events_of(pair.events, StreamDataReceived)) == 500_000


def test_unsent_bytes_count_what_is_not_acknowledged(pair: Pair) -> None:
    """Bytes count from the write until the client acknowledges them, and not after a reset."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    assert pair.server.unsent_bytes() == 0
    pair.server.send(stream_id, b"y" * 10_000)
    assert pair.server.unsent_bytes() == 10_000
    pair.run()
    assert pair.server.unsent_bytes() == 0
    pair.server.send(stream_id, b"y" * 10_000)
    pair.server.reset_stream(stream_id, 1)
    assert pair.server.unsent_bytes() == 0


def test_a_broken_client_ends_only_once(pair: Pair) -> None:
    """A client that breaks HTTP/3 loses its connection, and the session's end is told once, as abrupt."""
    pair.client.send_stream_data(pair.session_id, bytes([FrameType.SETTINGS, 0]))
    pair.run()
    pair.lose_client()
    assert pair.events == [SessionClosed(0, "", abrupt=True)]
    assert pair.connection_error() == ErrorCode.H3_FRAME_UNEXPECTED


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 2, 4, 8, 14, 18]), st.binary(max_size=40) | capsules, st.booleans()),
        max_size=12,
    ),
    st.booleans(),
)
def test_no_bytes_make_it_fail(identity: TlsIdentity, pieces: list[tuple[int, bytes, bool]], opened: bool) -> None:
    """Whatever a client writes on its streams, the server answers by the rules and never raises."""
    pair = Pair(identity)
    pair.run()
    if opened:
        pair.open_session()
    for stream_id in (0, 4, 8, 14, 18):
        pair.client.send_stream_data(stream_id, b"")
    for stream_id, data, end in pieces:
        stream = pair.client._streams.get(stream_id)
        if stream is not None and stream.sender._buffer_fin is stream.sender._reset_error_code is None:
            pair.client.send_stream_data(stream_id, data, end)
        pair.run()
        if events_of(pair.events, SessionRequested):
            pair.events = pair.server.accept()
    pair.lose_client()
    assert len(events_of(pair.events, SessionClosed)) <= 1


def test_reset_of_an_unknown_stream_is_no_event(pair: Pair) -> None:
    """A stream that was reset before it said which session it belongs to is nobody's."""
    pair.client.send_stream_data(4, b"\x40")
    pair.run()
    pair.client.reset_stream(4, 0)
    pair.run()
    assert pair.events == []
    assert pair.take_client(ClientStreamReset, 4)
