"""How many connections there may be, altogether and from one network, and how many a second."""

from __future__ import annotations

import pytest

from ingress.server.handshakes import HandshakeRate
from ingress.server.networks import PerNetwork, network_of

HERE, THERE, ELSEWHERE = map(network_of, ("192.0.2.1", "192.0.2.2", "192.0.2.3"))


def test_one_network_has_its_share() -> None:
    """A network that has its share gets no more, others do; what ends makes room, once."""
    open_: PerNetwork[int] = PerNetwork(2, 10)
    open_.add(1, HERE)
    open_.add(2, HERE)
    assert not open_.admits(HERE)
    assert open_.admits(HERE, spare=1)
    assert open_.admits(THERE)
    open_.discard(1)
    open_.discard(1)
    assert open_.admits(HERE)
    assert len(open_) == 1


def test_all_have_theirs() -> None:
    """Over the limit for all, no network gets more."""
    open_: PerNetwork[int] = PerNetwork(2, 2)
    open_.add(1, HERE)
    open_.add(2, THERE)
    assert not open_.admits(ELSEWHERE)
    assert not open_.admits(ELSEWHERE, spare=1)


def test_no_limit_is_none() -> None:
    """0 for a network, and None for all, let everybody in."""
    open_: PerNetwork[int] = PerNetwork(0)
    for number in range(1000):
        open_.add(number, HERE)
    assert open_.admits(HERE)
    assert HandshakeRate(0, 0.0).calm(HERE, 0.0)
    assert HandshakeRate(0, 0.0).delay(0.0) == 0
    assert all(HandshakeRate(0, 0.0).take(HERE, 0.0) for _ in range(1000))


def test_a_network_is_what_one_client_has() -> None:
    """IPv4 addresses count one by one in both their forms, IPv6 ones by their first 64 bits, whatever their scope."""
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")


@pytest.mark.parametrize("rate", [1, 20, 300])
def test_handshakes_are_as_many_as_the_rate_says(rate: int) -> None:
    """Whoever come, twice the rate is taken at once, then the rate each second, within five percent over a minute."""
    handshakes = HandshakeRate(rate, 0.0)
    assert sum(handshakes.take(None, 0.0) for _ in range(10 * rate)) == 2 * rate
    taken = sum(handshakes.take(None, step / 1000) for step in range(60_000))
    assert taken == pytest.approx(60 * rate, rel=0.05)


def test_one_network_has_half_of_the_handshakes() -> None:
    """A network that makes connections as fast as it can leaves half of them to others."""
    handshakes = HandshakeRate(20, 0.0)
    assert sum(handshakes.take(HERE, 0.0) for _ in range(100)) == 20
    taken = {HERE: 0, THERE: 0}
    for step in range(60_000):
        for network in taken:
            taken[network] += handshakes.take(network, step / 1000)
    assert taken[HERE] == pytest.approx(600, rel=0.05)
    assert taken[THERE] == pytest.approx(600, rel=0.05)


def test_half_of_what_may_come_at_once_is_for_the_proven() -> None:
    """It is calm until as many have come as a second brings, of them half for a network, and again when some of it
    is back."""
    handshakes = HandshakeRate(20, 0.0)
    believed = {HERE: 0, THERE: 0, ELSEWHERE: 0}
    for network in believed:
        while handshakes.calm(network, 0.0):
            assert handshakes.take(network, 0.0)
            believed[network] += 1
    assert believed == {HERE: 10, THERE: 10, ELSEWHERE: 0}
    assert handshakes.take(HERE, 0.0)
    assert not handshakes.calm(ELSEWHERE, 0.0)
    assert handshakes.calm(ELSEWHERE, 0.11)


def test_the_delay_ends_when_one_may_come() -> None:
    """After the delay, and not before, one is taken."""
    handshakes = HandshakeRate(20, 0.0)
    assert handshakes.delay(0.0) == 0
    while handshakes.take(None, 0.0):
        pass
    delay = handshakes.delay(0.0)
    assert delay == pytest.approx(0.05)
    assert not handshakes.take(None, delay * 0.9)
    assert handshakes.take(None, delay * 1.01)


def test_shares_are_remembered_for_a_bounded_number_of_networks() -> None:
    """Whoever has many networks does not fill memory; the one that was used last is remembered."""
    handshakes = HandshakeRate(1_000_000, 0.0)
    for number in range(10_000):
        assert handshakes.take(number.to_bytes(8, "big"), 0.0)
    assert len(handshakes._networks) == 4096
    assert (9999).to_bytes(8, "big") in handshakes._networks
