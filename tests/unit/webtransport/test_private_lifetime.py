"""How each side of a connection notices that the other one is gone."""

from __future__ import annotations

import pytest
from aioquic.quic.events import ConnectionIdIssued

from ingress.server.certificates import TlsIdentity
from ingress.webtransport import SessionClosed
from ingress.webtransport.private import LastingQuicConnection
from tests.unit.webtransport.pair import CLIENT, SERVER, Pair

#: Of aioquic's client and of the server here, in seconds.
IDLE_S = 60.0


def pass_time(pair: Pair, seconds: float, *, client_lives: bool = True) -> int:
    """Let time pass from timer to timer; the number of packets that the server sent."""
    end, sent = pair.now + seconds, 0
    while True:
        if client_lives:
            pair._carry(pair.client, pair.quic, CLIENT)
        timer = pair.quic.get_timer()
        if timer is not None and timer <= pair.now:
            pair.quic.handle_timer(pair.now)
        for data, _ in pair.quic.datagrams_to_send(pair.now):
            sent += 1
            if client_lives:
                pair.client.receive_datagram(data, SERVER, pair.now)
        pair.handle_events()
        if pair.now >= end:
            return sent
        timers = [pair.quic.get_timer(), pair.client.get_timer() if client_lives else None]
        pair.now = min([max(timer, pair.now + 0.001) for timer in timers if timer is not None] + [end])


def test_a_quiet_client_stays(pair: Pair) -> None:
    """A client that says nothing of its own accord for ten minutes is still there, at the cost of few packets."""
    pair.quic.keep_alive()
    sent = pass_time(pair, 600)
    assert pair.events == []
    assert 20 <= sent <= 45


def test_without_a_question_a_quiet_client_would_be_lost(pair: Pair) -> None:
    """The test above bites: after the idle timeout the session is over."""
    pass_time(pair, IDLE_S + 1)
    assert pair.take(SessionClosed).abrupt


@pytest.mark.parametrize("spoke", [False, True])
def test_a_dead_client_is_let_go_as_soon_as_without_questions(pair: Pair, spoke: bool) -> None:
    """Who does not answer is lost when the idle timeout is over, counted from its last packet; what was pushed
    to it in between counts as it does without questions."""
    pair.quic.keep_alive()
    if spoke:
        pass_time(pair, 10, client_lives=False)
        pair.server.send_datagram(b"are you there?")
        assert pair.quic.datagrams_to_send(pair.now)
    pass_time(pair, IDLE_S - 1, client_lives=False)
    assert pair.events == []
    pass_time(pair, 2, client_lives=False)
    assert pair.take(SessionClosed).abrupt


def test_nobody_is_asked_while_there_is_traffic(pair: Pair) -> None:
    """A client that sends now and then is asked nothing: it gets its acknowledgements alone."""
    pair.quic.keep_alive()
    for _ in range(20):
        pass_time(pair, IDLE_S / 3)
        pair.h3.send_datagram(pair.session_id, b"here")
        assert pass_time(pair, 0.1) == 1


def test_a_connection_that_closes_is_asked_nothing(pair: Pair) -> None:
    """Neither side that has closed is kept by a question."""
    pair.quic.keep_alive()
    pair.quic.close()
    assert pass_time(pair, 600) == 1
    assert pair.quic.get_timer() is None


def test_tokens_of_every_id_can_be_made_again(identity: TlsIdentity) -> None:
    """The client is told of each connection id a token that is a function of it, the first one included."""
    pair = Pair(identity, reset_token=lambda connection_id: connection_id + b"-token--")
    pair.run()
    known = [pair.client._peer_cid, *pair.client._peer_cid_available]
    assert len(known) == 8
    assert [each.stateless_reset_token for each in known] == [each.cid + b"-token--" for each in known]


def test_an_id_works_before_it_is_sent(identity: TlsIdentity) -> None:
    """Ids are announced to this side no later than in the turn in which they leave."""
    pair = Pair(identity)
    quic: LastingQuicConnection = pair.quic
    announced: set[bytes] = set()
    for _ in range(10):
        pair.now += 0.01
        for data, _address in pair.client.datagrams_to_send(pair.now):
            quic.receive_datagram(data, CLIENT, pair.now)
        while (event := quic.next_event()) is not None:
            if isinstance(event, ConnectionIdIssued):
                announced.add(event.connection_id)
            pair.events += pair.server.receive(event)
        for data, _address in quic.datagrams_to_send(pair.now):
            pair.client.receive_datagram(data, SERVER, pair.now)
        assert {each.cid for each in pair.client._peer_cid_available} <= announced
        pair.handle_client_events()
    assert len(announced) == 7
