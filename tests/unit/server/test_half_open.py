"""How many connections without a session there may be, and from where."""

from __future__ import annotations

from ingress.server.half_open import HalfOpen, network


def test_one_network_has_its_share() -> None:
    """A network that has its share gets no more, others do; what ends makes room, once."""
    open_: HalfOpen[int] = HalfOpen(10, 2)
    open_.add(1, "192.0.2.1")
    open_.add(2, "::ffff:192.0.2.1")
    assert not open_.admits("192.0.2.1")
    assert open_.admits("192.0.2.2")
    open_.discard(1)
    open_.discard(1)
    assert open_.admits("192.0.2.1")
    assert len(open_) == 1


def test_all_have_theirs() -> None:
    """Over the limit for all, no network gets more."""
    open_: HalfOpen[int] = HalfOpen(2, 2)
    open_.add(1, "192.0.2.1")
    open_.add(2, "192.0.2.2")
    assert not open_.admits("192.0.2.3")


def test_a_network_is_what_one_client_has() -> None:
    """IPv4 addresses count one by one in both their forms, IPv6 ones by their first 64 bits, whatever their scope."""
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") != network("192.0.2.2")
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("fe80::1%eth0") == network("fe80::2")
