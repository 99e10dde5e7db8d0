"""Connections that have no session yet: how many there may be, altogether and from one network."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Generic, TypeVar

Connection = TypeVar("Connection")

#: Of an IPv6 address, what names the network: one client has all addresses of such a network (RFC 4291, section 2.5.4).
_NETWORK_BYTES = 8


class HalfOpen(Generic[Connection]):
    """Counts connections until they have a session, or are gone."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._networks: dict[Connection, bytes] = {}
        self._counts: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._networks)

    def admits(self, address: str) -> bool:
        """Whether one more from this IP address may be opened."""
        return len(self._networks) < self._most and self._counts[network(address)] < self._most_per_address

    def add(self, connection: Connection, address: str) -> None:
        """One was opened."""
        self._networks[connection] = network(address)
        self._counts[self._networks[connection]] += 1

    def discard(self, connection: Connection) -> None:
        """It has a session, or is gone; more than once does no harm."""
        name = self._networks.pop(connection, None)
        if name is not None:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]


def network(address: str) -> bytes:
    """What stands for one client: an IPv4 address, in whatever form, or the first 64 bits of an IPv6 one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed.packed[:_NETWORK_BYTES]
        parsed = parsed.ipv4_mapped
    return parsed.packed
