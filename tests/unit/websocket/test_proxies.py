"""Whose word counts for where a client is."""

from __future__ import annotations

import pytest

from ingress.websocket.proxies import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::5"])
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("2001:db8::5", True),
        ("2001:db8::6", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_proxies_are_those_that_are_listed(address: str, trusted: bool) -> None:
    """IPv4 counts in both its forms; by default there are none."""
    assert PROXIES.trusts(address) is trusted
    assert not TrustedProxies().trusts(address)


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], PROXY),
        (["192.0.2.7"], "192.0.2.7"),
        (["2001:db8::9"], "2001:db8::9"),
        (["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        (["192.0.2.7", "10.0.0.2,10.0.0.3"], "192.0.2.7"),
        (["10.0.0.2"], "10.0.0.2"),
        (["nobody"], PROXY),
        (["192.0.2.7, unknown"], PROXY),
        (["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ([""], PROXY),
    ],
)
def test_the_client_is_whom_the_first_proxy_names(forwarded: list[str], client: str) -> None:
    """The last address that is no proxy's counts: a client can write whatever it likes before that."""
    assert PROXIES.client(PROXY, forwarded) == client


def test_a_network_that_is_none_is_refused() -> None:
    """What is no network is no proxy's."""
    with pytest.raises(ValueError, match="everybody"):
        TrustedProxies(["everybody"])
