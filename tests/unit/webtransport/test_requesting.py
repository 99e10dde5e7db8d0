"""How a session is requested, answered and refused, between two QUIC connections in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.h3.connection import ErrorCode

from ingress.webtransport import (
    SessionRequested,
    State,
    WrongStateError,
)
from tests.unit.webtransport.pair import Pair


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


def test_a_client_without_datagrams_gets_no_session(make_pair: Callable[..., Pair]) -> None:
    """A session on a connection that takes no datagrams is malformed: H3_MESSAGE_ERROR, once the SETTINGS say so."""
    pair = make_pair(client_datagrams=False)
    stream_id = pair.request()
    pair.run()
    assert pair.client_reset(stream_id) == ErrorCode.H3_MESSAGE_ERROR
    assert pair.events == []
    assert pair.server.state is State.CLOSED
    assert pair.server.counters.requests_refused == 1


def test_only_an_offered_protocol_may_be_chosen(make_pair: Callable[..., Pair]) -> None:
    """A protocol that the client did not offer is the caller's error, and the session can still be accepted without."""
    pair = make_pair()
    stream_id = pair.request((b"wt-available-protocols", b'"v1"'))
    pair.run()
    with pytest.raises(ValueError, match="did not offer 'v2'"):
        pair.server.accept(protocol="v2")
    pair.server.accept()
    pair.run()
    assert b"wt-protocol" not in pair.headers(stream_id)


@pytest.mark.parametrize("protocol", [b"webtransport", b"webtransport-h3"])
def test_both_tokens_ask_for_a_session(protocol: bytes, make_pair: Callable[..., Pair]) -> None:
    """`:protocol` is one word up to draft 14, and another one since: either opens a session."""
    pair = make_pair()
    pair.request(protocol=protocol)
    pair.run()
    pair.take(SessionRequested)
