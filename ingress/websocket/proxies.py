"""Proxies in front of the WebSocket listener: whose word counts for where a client is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence


class TrustedProxies:
    """Addresses and networks of proxies that are believed. Each adds whom it speaks for to `X-Forwarded-For`."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """`networks` such as 10.0.0.5 or 10.0.0.0/8. Raises ValueError."""
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy's address; IPv4 in whatever form."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def client(self, proxy: str, forwarded: Sequence[str]) -> str:
        """The client that `proxy` speaks for, by all values of `X-Forwarded-For`, in order.

        That is the last address which is no proxy's: what comes before it, anybody may have written. What is no
        address leaves the one before it on the way.
        """
        believed = proxy
        for text in reversed([one.strip() for value in forwarded for one in value.split(",")]):
            try:
                believed = str(ipaddress.ip_address(text))
            except ValueError:
                break
            if not self.trusts(believed):
                break
        return believed
