"""One UDP socket and the QUIC connections on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import QuicHeader, QuicPacketType, pull_quic_header

# Re-exported by aioquic.buffer, which type checkers do not take for an export.
from aioquic._buffer import Buffer  # isort: skip

from ingress.server.answers import Answers
from ingress.server.deadlines import Deadlines
from ingress.server.driver import ConnectionDriver, NetworkAddress
from ingress.server.handshakes import HandshakeRate
from ingress.server.networks import PerNetwork, network_of
from ingress.server.options import ListenerCounters, ListenerOptions
from ingress.server.workers import Place
from ingress.webtransport.private import LastingQuicConnection

#: Packets read before they are handled together: one transmission then answers all of a connection's.
_BATCH: Final = 64
_MAX_PACKET: Final = 65_536
#: Clients in one batch that are believed without proof: each costs half a millisecond, forged or not.
_UNPROVEN_PER_BATCH: Final = 16
#: New connections in one batch, proven or not, after which those that are there have their turn.
_NEW_PER_BATCH: Final = 16
#: What a client sends only to a server that has answered it.
_LATER_PACKETS: Final = (QuicPacketType.HANDSHAKE, QuicPacketType.ONE_RTT)


class UdpEndpoint:
    """Hands each packet to its connection by connection id, and makes connections for new clients.

    Reads the socket itself, since asyncio's datagram protocols take one packet a loop turn, and a
    transmission for each packet costs half of what a gateway can take in.
    """

    def __init__(
        self,
        sock: socket.socket,
        configuration: QuicConfiguration,
        make_driver: Callable[[LastingQuicConnection, UdpEndpoint], ConnectionDriver],
        *,
        options: ListenerOptions,
        counters: ListenerCounters,
        place: Place,
        addresses: PerNetwork[object],
    ) -> None:
        self.configuration = configuration
        """For new connections; those that exist keep theirs."""
        self.accepting = True
        """Whether new clients get an answer."""
        self.empty = asyncio.Event()
        """Set while there is no connection."""
        self.empty.set()
        self._socket = sock
        self._make_driver = make_driver
        self._options = options
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._place = place
        self._addresses = addresses
        self._handshakes = HandshakeRate(options.max_handshakes, self._loop.time())
        self._answers = Answers(
            self.send, place=place, reset_key=options.reset_key, counters=counters, now=self._loop.time()
        )
        self._by_id: dict[bytes, ConnectionDriver] = {}
        # aioquic's own server looks through all ids of all connections when one ends.
        self._ids: dict[ConnectionDriver, set[bytes]] = {}
        self._half_open: PerNetwork[ConnectionDriver] = PerNetwork(
            options.max_half_open_per_address, options.max_half_open
        )
        self._to_transmit: dict[ConnectionDriver, None] = {}
        self.deadlines = Deadlines()
        self._unproven = 0
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def drivers(self) -> list[ConnectionDriver]:
        return list(self._ids)

    @property
    def connection_count(self) -> int:
        return len(self._ids)

    def close(self) -> None:
        """Close the socket. Connections that are left learn of it by silence."""
        self._loop.remove_reader(self._socket.fileno())
        self.deadlines.close()
        self._socket.close()

    # Wire

    def send(self, data: bytes, address: NetworkAddress) -> None:
        try:
            self._socket.sendto(data, address)
        except OSError:
            # A full buffer or an unreachable client: to QUIC, a lost packet like any other.
            self._counters.packets_unsent += 1

    def transmit_soon(self, driver: ConnectionDriver) -> None:
        if not self._to_transmit:
            self._loop.call_soon(self._transmit)
        self._to_transmit[driver] = None

    def id_issued(self, connection_id: bytes, driver: ConnectionDriver) -> None:
        self._by_id[connection_id] = driver
        self._ids[driver].add(connection_id)

    def id_retired(self, connection_id: bytes) -> None:
        driver = self._by_id.pop(connection_id, None)
        if driver is not None:
            self._ids[driver].discard(connection_id)

    def set_up(self, driver: ConnectionDriver) -> None:
        self._half_open.discard(driver)

    def gone(self, driver: ConnectionDriver) -> None:
        for connection_id in self._ids.pop(driver, ()):
            self._by_id.pop(connection_id, None)
        self._half_open.discard(driver)
        self._addresses.discard(driver)
        if not self._ids:
            self.empty.set()

    # The socket

    def _readable(self) -> None:
        touched: dict[ConnectionDriver, None] = {}
        self._unproven = 0
        enough = self._counters.connections + _NEW_PER_BATCH
        for _ in range(_BATCH):
            if self._counters.connections >= enough:
                break
            try:
                data, address = self._socket.recvfrom(_MAX_PACKET)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # An ICMP error about a packet sent before; the next read goes on.
                continue
            driver = self._route(data, address)
            if driver is not None:
                driver.packet_received(data, address)
                touched[driver] = None
        for driver in touched:
            driver.process()

    def _transmit(self) -> None:
        due, self._to_transmit = self._to_transmit, {}
        for driver in due:
            driver.transmit()

    def _route(self, data: bytes, address: NetworkAddress) -> ConnectionDriver | None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=self.configuration.connection_id_length)
        except ValueError:
            return None
        driver = self._by_id.get(header.destination_cid)
        if driver is not None:
            return driver
        if header.packet_type in _LATER_PACKETS:
            self._counters.packets_unknown += 1
            if header.packet_type == QuicPacketType.ONE_RTT:
                self._answers.reset(header.destination_cid, len(data), address, self._loop.time())
            return None
        if not self.accepting or len(data) < SMALLEST_MAX_DATAGRAM_SIZE:
            # A client's first packet has 1,200 bytes at least (RFC 9000, section 14.1).
            return None
        if header.version is not None and header.version not in self.configuration.supported_versions:
            # Never in answer to a packet of the same kind, or two servers could go on for ever.
            if header.packet_type != QuicPacketType.VERSION_NEGOTIATION:
                self._answers.negotiate_version(header, address, self.configuration.supported_versions)
            return None
        return self._first_packet(header, address) if header.packet_type == QuicPacketType.INITIAL else None

    def _first_packet(self, header: QuicHeader, address: NetworkAddress) -> ConnectionDriver | None:
        if len(self._ids) >= self._options.max_connections:
            self._counters.connections_refused += 1
            return None
        now, network = self._loop.time(), network_of(address[0])
        if not self._addresses.admits(network):
            self._counters.address_refused += 1
            self._answers.refuse(header, address, now)
            return None
        original_id, retry_id = header.destination_cid, None
        if header.token:
            try:
                original_id = self._answers.proven(header, address, now)
            except ValueError:
                # Forged, or another listener's: answering would only help who forged it.
                return None
            retry_id = header.destination_cid
        elif self._wants_proof(network, now):
            self._answers.ask_for_proof(header, address, now)
            return None
        if not self._half_open.admits(network):
            self._counters.half_open_refused += 1
            return None
        if not self._handshakes.take(network, now):
            self._counters.handshakes_limited += 1
            return None
        self._unproven += retry_id is None
        return self._new_connection(header, network, original_id, retry_id)

    def _wants_proof(self, network: bytes, now: float) -> bool:
        return (
            len(self._half_open) >= self._options.retry_above
            or self._unproven >= _UNPROVEN_PER_BATCH
            or not self._handshakes.calm(network, now)
        )

    def _new_connection(
        self, header: QuicHeader, network: bytes, original_id: bytes, retry_id: bytes | None
    ) -> ConnectionDriver:
        quic = LastingQuicConnection(
            limits=self._options.flow,
            new_id=self._place.new_id,
            reset_token=self._answers.reset_token,
            configuration=self.configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
        driver = self._make_driver(quic, self)
        self._counters.connections += 1
        self._ids[driver] = set()
        self._half_open.add(driver, network)
        self._addresses.add(driver, network)
        self.empty.clear()
        self.id_issued(header.destination_cid, driver)
        self.id_issued(quic.host_cid, driver)
        return driver
