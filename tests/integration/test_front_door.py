"""Who gets a connection at all, and how both sides learn that it is over."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicProtocolVersion

from ingress.server.certificates import development_certificate
from ingress.server.handshakes import HandshakeRate
from ingress.server.networks import PerNetwork
from ingress.server.options import ListenerOptions
from tests.support.echo_gateway import EchoGateway
from tests.support.moving import asked_to_retry, change_port
from tests.support.waiting import PATIENCE, eventually
from tests.support.ws_server import Server, starting
from tests.support.wt_client import WebTransportClient, connect

Start = Callable[..., Awaitable[EchoGateway]]

OTHER: Final = "127.0.0.2"
#: Of a session that stays because its client answers (seconds).
IDLE_S: Final = 0.6 * PATIENCE
KEY: Final = b"k" * 32


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts gateways on IPv4 that are stopped at the end."""
    running: list[EchoGateway] = []

    async def start(port: int = 0, addresses: PerNetwork[object] | None = None, **options: Any) -> EchoGateway:
        files = development_certificate(tmp_path, datetime.now(UTC))
        gateway = EchoGateway(files, "127.0.0.1", ListenerOptions(**options), port=port, addresses=addresses)
        await gateway.listener.start()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        await gateway.listener.stop()


async def ping(client: WebTransportClient) -> None:
    """A word goes to and fro."""
    stream = await client.open_bidirectional()
    stream.write(b"ping")
    assert await stream.read() == b"ping"


class FirstFlight:
    """A client that only sends what a client sends first."""

    def __init__(self, port: int, version: int = QuicProtocolVersion.VERSION_1) -> None:
        self.server = ("127.0.0.1", port)
        self.quic = QuicConnection(
            configuration=QuicConfiguration(
                alpn_protocols=H3_ALPN,
                verify_mode=ssl.CERT_NONE,
                original_version=version,
                supported_versions=[version],
            )
        )
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(self.server)
        self.quic.connect(self.server, now=0.0)
        for data, _ in self.quic.datagrams_to_send(now=0.0):
            self.socket.send(data)

    async def answer(self) -> bytes:
        """The first packet that comes back."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65_536), 5)


class AtOnce(HandshakeRate):
    """One for which no time passes."""

    def calm(self, network: bytes, now: float) -> bool:
        return super().calm(network, 0)

    def take(self, network: bytes | None, now: float) -> bool:
        return super().take(network, 0)


async def test_who_has_proven_nothing_gets_few_handshakes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many first packets from one address a quarter of what may come at once is believed, the rest is to be
    proven; the address itself can still prove it, and another address is served as always."""
    monkeypatch.setattr("ingress.server.endpoint.HandshakeRate", lambda per_second, now: AtOnce(per_second, 0))
    gateway = await start(max_handshakes=20)
    counters = gateway.listener.counters
    flights = [FirstFlight(gateway.listener.port) for _ in range(60)]
    await eventually(lambda: counters.connections + counters.retries == 60)
    assert counters.connections == 10
    async with await connect(gateway.url()) as here, await connect(gateway.url(), source=OTHER) as other:
        assert asked_to_retry(here)
        assert not asked_to_retry(other)
        await ping(here)
        await ping(other)
    assert counters.handshakes_limited == 0
    for flight in flights:
        flight.socket.close()


async def test_handshakes_have_a_rate(start: Start) -> None:
    """Who comes from an address that has had its half waits, proven or not, and is served when its turn comes;
    another address does not wait."""
    gateway = await start(max_handshakes=10)
    counters, loop = gateway.listener.counters, asyncio.get_running_loop()
    began = loop.time()
    connecting = [asyncio.create_task(connect(gateway.url(), within=30)) for _ in range(25)]
    await eventually(lambda: counters.handshakes_limited > 0)
    assert counters.connections <= 10 + 1 + (loop.time() - began) * 5
    async with await connect(gateway.url(), source=OTHER) as other:
        await ping(other)
        assert not all(one.done() for one in connecting)
    clients = await asyncio.gather(*connecting)
    # Ten at once, then five a second.
    assert loop.time() - began >= 3 * 0.95
    assert counters.retries >= 10
    assert counters.connections == 26
    for client in clients:
        await client.disconnect()


@pytest.mark.parametrize("version", [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2])
async def test_a_client_over_the_limit_of_its_address_is_told(start: Start, version: int) -> None:
    """It is refused by name in one packet, and no connection is made for it; other addresses are served."""
    gateway = await start(addresses=PerNetwork(2))
    counters = gateway.listener.counters
    async with await connect(gateway.url()), await connect(gateway.url()):
        flight = FirstFlight(gateway.listener.port, version)
        packet = await flight.answer()
        assert len(packet) < 150
        flight.quic.receive_datagram(packet, flight.server, now=0.1)
        flight.quic.handle_timer(now=10.0)
        ended = [event for event in iter(flight.quic.next_event, None) if isinstance(event, ConnectionTerminated)]
        assert [event.error_code for event in ended] == [0x2]
        assert "too many connections" in ended[0].reason_phrase
        flight.socket.close()
        assert (counters.connections, counters.address_refused) == (2, 1)
        with pytest.raises(ConnectionError):
            await connect(gateway.url())
        async with await connect(gateway.url(), source=OTHER) as other:
            await ping(other)


async def test_a_place_is_free_when_its_connection_has_ended(start: Start) -> None:
    """A client that leaves makes room, and so does one that vanishes; exactly as many as may are there at a time."""
    gateway = await start(addresses=PerNetwork(3), idle_timeout=2)
    for _ in range(3):
        clients = [await connect(gateway.url()) for _ in range(3)]
        with pytest.raises(ConnectionError):
            await connect(gateway.url())
        clients[0].vanish()
        for client in clients[1:]:
            await client.disconnect()
        await eventually(lambda: gateway.listener.connection_count == 0)


async def test_a_client_that_moves_keeps_its_place(start: Start) -> None:
    """It counts for the address that it came from, not for the one it went to."""
    addresses: PerNetwork[object] = PerNetwork(1)
    gateway = await start(addresses=addresses)
    async with await connect(gateway.url()) as client:
        await ping(client)
        await change_port(client, host=OTHER)
        await ping(client)
        assert gateway.sessions[0].transport.remote_address == OTHER
        with pytest.raises(ConnectionError):
            await connect(gateway.url())
        async with await connect(gateway.url(), source=OTHER) as other:
            await ping(other)
    await eventually(lambda: len(addresses) == 0)


async def test_both_transports_count_together(start: Start, tmp_path: Path) -> None:
    """A connection of either kind takes a place from both."""
    addresses: PerNetwork[object] = PerNetwork(2)
    gateway = await start(addresses=addresses)
    async with starting(tmp_path) as start_websocket:
        server: Server = await start_websocket(addresses=addresses)
        async with await connect(gateway.url()), await server.open() as socket_:
            with pytest.raises(ConnectionError):
                await connect(gateway.url())
            await socket_.close()
            await eventually(lambda: len(addresses) == 1)
            async with await connect(gateway.url()) as client:
                await ping(client)


async def test_a_quiet_session_stays(start: Start) -> None:
    """A client that says nothing of its own accord is asked twice in each idle timeout, and stays."""
    gateway = await start(idle_timeout=IDLE_S)
    async with await connect(gateway.url()) as client:
        await ping(client)
        received, began = client.packets_received, asyncio.get_running_loop().time()
        await eventually(lambda: client.packets_received >= received + 8)
        assert asyncio.get_running_loop().time() - began > 2 * IDLE_S
        await ping(client)
    assert len(gateway.sessions) == 1


async def test_a_client_that_vanished_is_let_go_in_time(start: Start) -> None:
    """Questions do not keep a session whose client is gone: it ends when nothing was heard for the idle timeout."""
    gateway = await start(idle_timeout=1.0)
    client = await connect(gateway.url())
    await ping(client)
    received = client.packets_received
    await eventually(lambda: client.packets_received >= received + 2)
    client.vanish()
    gone = asyncio.get_running_loop().time()
    assert (await gateway.ended())[-1] == ("closed", 0, "", True)
    # Twice as long as it takes: what its own questions would prolong would not end at all.
    assert asyncio.get_running_loop().time() - gone < 2 * 1.0 * PATIENCE


async def test_clients_of_a_killed_gateway_learn_it_from_the_next(start: Start) -> None:
    """The packet that a client sends to a gateway started in place of its own tells it that its session is lost."""
    first = await start(reset_key=KEY)
    clients = [await connect(first.url()) for _ in range(3)]
    for client in clients:
        await ping(client)
    second = await start(first.killed(), reset_key=KEY)
    for client in clients:
        client.send_datagram(b"x" * 50)
        assert (await client.wait_closed()).abrupt
        assert client.was_reset
    assert second.listener.counters.resets_sent >= 3
    async with await connect(second.url()) as client:
        await ping(client)


async def test_without_the_key_nobody_can_end_a_connection(start: Start) -> None:
    """The test above bites: a reset made with another key is not believed."""
    first = await start(reset_key=KEY)
    client = await connect(first.url())
    await ping(client)
    second = await start(first.killed(), reset_key=b"x" * 32)
    client.send_datagram(b"x" * 50)
    await eventually(lambda: second.listener.counters.resets_sent > 0)
    received = client.packets_received
    client.send_datagram(b"x" * 50)
    await eventually(lambda: client.packets_received > received)
    assert not client.was_reset
    assert not client.is_disconnected
    client.vanish()


async def test_a_client_may_use_its_new_ids_at_once(start: Start) -> None:
    """An id of a live connection is never answered with a reset, however early a client goes over to it."""
    gateway = await start()
    for _ in range(10):
        async with await connect(gateway.url(), request=False) as client:
            await eventually(lambda client=client: client._quic._peer_cid_available)  # type: ignore[misc]
            await change_port(client, change_id=True)
            client._quic.send_ping(1)
            client._link.transmit()
            received = client.packets_received
            await eventually(lambda client=client, received=received: client.packets_received > received)  # type: ignore[misc]
            assert not client.was_reset
    assert gateway.listener.counters.packets_unknown == 0
