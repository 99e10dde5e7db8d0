"""A connection is asked for packets only when it has some, and never keeps what a client waits for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.tls import Epoch

from ingress.server.certificates import TlsIdentity
from ingress.webtransport.private import FlowLimits
from ingress.webtransport.private.sending import ACK_DELAY_S
from tests.unit.webtransport.pair import SERVER, Pair


def arrives(pair: Pair) -> None:
    """What the client has to send arrives at once, and is handled."""
    pair.deliver()
    pair.handle_events()


def sent(pair: Pair) -> int:
    """Have the server send, as the driver does; gives how many packets left."""
    pair.quic.answers_now(pair.now)
    packets = pair.quic.datagrams_to_send(pair.now)
    for data, _ in packets:
        pair.client.receive_datagram(data, SERVER, pair.now)
    pair.handle_events()
    return len(packets)


def test_an_answer_takes_the_acknowledgement_along(pair: Pair) -> None:
    """One packet in and its answer out are two packets, and nothing is left to send."""
    sent(pair)
    stream_id = pair.client_stream(b"question")
    arrives(pair)
    assert not pair.quic.has_to_send(pair.now)
    pair.server.send(stream_id, b"answer")
    assert sent(pair) == 1
    assert not pair.quic.has_to_send(pair.now + 1)
    assert not any(packet.is_ack_eliciting for packet in pair.client._spaces[Epoch.ONE_RTT].sent_packets.values())


def test_without_an_answer_the_acknowledgement_comes_in_time(pair: Pair) -> None:
    """The timer says when, before the 25 ms that clients were promised."""
    sent(pair)
    pair.client_stream(b"statement")
    arrives(pair)
    assert not pair.quic.has_to_send(pair.now)
    timer = pair.quic.get_timer()
    assert timer is not None
    assert timer - pair.now <= ACK_DELAY_S < 0.025
    pair.now = timer
    assert pair.quic.has_to_send(pair.now)
    assert sent(pair) == 1


def test_every_second_packet_is_acknowledged_at_once(pair: Pair) -> None:
    """Senders that pace themselves by acknowledgements are not held up (RFC 9000, section 13.2.2)."""
    sent(pair)
    stream_id = pair.client_stream(b"one")
    arrives(pair)
    assert not pair.quic.has_to_send(pair.now)
    pair.client.send_stream_data(stream_id, b"two")
    arrives(pair)
    assert pair.quic.has_to_send(pair.now)
    assert sent(pair) == 1


def test_a_gap_is_told_at_once(pair: Pair) -> None:
    """A packet that comes after one that is missing is acknowledged without delay (RFC 9000, section 13.2.1)."""
    sent(pair)
    stream_id = pair.client_stream(b"lost")
    assert pair.client.datagrams_to_send(pair.now)
    pair.client.send_stream_data(stream_id, b"arrives")
    arrives(pair)
    assert pair.quic.has_to_send(pair.now)


def test_what_waits_for_room_is_sent_when_there_is_some(pair: Pair) -> None:
    """More than the congestion window holds goes on as soon as the client acknowledges, without anybody's asking."""
    stream_id = pair.client_stream(b"?")
    arrives(pair)
    pair.server.send(stream_id, b"x" * 60_000)
    assert sent(pair) > 1
    pair.now += 0.03
    pair.client.handle_timer(pair.now)
    for data, _ in pair.client.datagrams_to_send(pair.now):
        pair.quic.receive_datagram(data, ("192.0.2.1", 1000), pair.now)
    pair.handle_events()
    assert pair.quic.has_to_send(pair.now)


def test_credit_is_granted_before_the_client_must_wait(make_pair: Callable[..., Pair]) -> None:
    """Half a window that was used is reason enough to send."""
    pair = make_pair(limits=FlowLimits(stream_window=2048))
    pair.open_session()
    stream_id = pair.client_stream(b"")
    pair.run()
    assert not pair.quic.has_to_send(pair.now)
    pair.client.send_stream_data(stream_id, b"x" * 1100)
    arrives(pair)
    assert pair.quic.has_to_send(pair.now)


@pytest.mark.parametrize("what", ["reset", "stop", "datagram", "close", "ping"])
def test_everything_that_can_wait_to_be_sent_is_seen(what: str, pair: Pair) -> None:
    """Nothing depends on who asked for it: it is due until it is sent."""
    stream_id = pair.client_stream(b"hello")
    pair.run()
    assert not pair.quic.has_to_send(pair.now)
    match what:
        case "reset":
            pair.server.reset_stream(stream_id, 1)
        case "stop":
            pair.server.stop_stream(stream_id, 1)
        case "datagram":
            pair.server.send_datagram(b"x")
        case "close":
            pair.quic.close()
        case "ping":
            pair.quic.send_ping(0)
    assert pair.quic.has_to_send(pair.now)
    assert sent(pair) == 1


def test_the_handshake_is_never_held_up(identity: TlsIdentity) -> None:
    """Until it is confirmed, whatever comes is answered at once."""
    pair = Pair(identity)
    pair.deliver()
    assert pair.quic.has_to_send(pair.now)


def test_a_session_goes_on_without_its_handshake(pair: Pair) -> None:
    """What only the handshake needed is given back, and streams, keys and the end work as before."""
    pair.quic.forget_handshake()
    assert pair.quic._crypto_buffers == {}
    stream_id = pair.client_stream(b"question")
    pair.client.request_key_update()
    pair.run()
    pair.server.send(stream_id, b"answer")
    pair.run()
    assert pair.client_received(stream_id) == (b"answer", False)
