"""Connections by the network that they come from."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Final, Generic, TypeVar

Connection = TypeVar("Connection")

#: Of an IPv6 address, what names the network: one client has all addresses of such a network (RFC 4291, section 2.5.4).
_NETWORK_BYTES: Final = 8


class PerNetwork(Generic[Connection]):
    """Counts connections, altogether and by network, until they are discarded.

    Each counts for the network that it was added with, wherever its client moves.
    """

    def __init__(self, most_per_network: int, most: int | None = None) -> None:
        """`most_per_network` 0 and `most` None stand for no limit."""
        self._most_per_network = most_per_network
        self._most = most
        self._networks: dict[Connection, bytes] = {}
        self._counts: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._networks)

    def admits(self, network: bytes, spare: int = 0) -> bool:
        """Whether one more from this network may be opened, `spare` places beyond its limit included."""
        if self._most is not None and len(self._networks) >= self._most:
            return False
        return not self._most_per_network or self._counts[network] < self._most_per_network + spare

    def add(self, connection: Connection, network: bytes) -> None:
        """One was opened."""
        self._networks[connection] = network
        self._counts[network] += 1

    def discard(self, connection: Connection) -> None:
        """It counts no more; more than once does no harm."""
        network = self._networks.pop(connection, None)
        if network is not None:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]


def network_of(address: str) -> bytes:
    """What stands for one client: an IPv4 address, in whatever form, or the first 64 bits of an IPv6 one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed.packed[:_NETWORK_BYTES]
        parsed = parsed.ipv4_mapped
    return parsed.packed
