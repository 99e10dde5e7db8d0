"""Attacks without a session: forged first packets, handshakes that stop half way, clients that never get on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from urllib.parse import urlsplit

import pytest
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.attacks.forging import Forger, stream
from tests.attacks.world import World
from tests.support.waiting import eventually
from tests.support.wt_client import WebTransportClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: What answers may be of what came from an address that has proven nothing (RFC 9000, section 8.1).
AMPLIFICATION = 3
INITIAL_BYTES = 1200
#: From a first packet to the session, then the server lets go (seconds): ListenerOptions.setup_timeout.
SETUP_S = 10.0


class Raw:
    """A UDP socket that counts what it sends and receives."""

    def __init__(self, url: str) -> None:
        port = urlsplit(url).port
        assert port is not None
        self.server = ("127.0.0.1", port)
        self.sent = self.received = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(self.server)

    def send(self, data: bytes) -> None:
        """Send a packet; a full buffer loses it."""
        with contextlib.suppress(BlockingIOError):
            self.sent += self.socket.send(data)

    def receive(self) -> list[bytes]:
        """What has arrived by now."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65_536))
        self.received += sum(map(len, found))
        return found


def initial(token: bytes = b"") -> bytes:
    """An Initial packet with a correct head, and noise where its contents should be (RFC 9000, section 17.2.2)."""
    head = b"\xc3" + struct.pack("!I", 1) + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    head += struct.pack("!H", 0x4000 | len(token)) + token
    rest = INITIAL_BYTES - len(head) - 2
    return head + struct.pack("!H", 0x4000 | rest) + os.urandom(rest)


async def test_forged_first_packets(attacked: World) -> None:
    """Ten thousand Initials, forged: Retry above the threshold, and never three times what came in."""
    raw = Raw(attacked.url)
    async with attacked.attacked("10,000 forged Initials"):
        for number in range(10_000):
            raw.send(initial(os.urandom(100) if number % 2 and number > 5000 else b""))
            if number % 20 == 0:
                await asyncio.sleep(0.004)
                raw.receive()
    raw.receive()
    print(f"amplification: {raw.received / raw.sent:.2f}")
    assert raw.received <= AMPLIFICATION * raw.sent
    assert await attacked.event("retries") > 1000
    assert await attacked.event("connections") < 200
    raw.socket.close()


def first_flight() -> QuicConnection:
    """A client that is about to connect."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="127.0.0.1"
    )
    return QuicConnection(configuration=configuration)


async def test_a_client_hello_is_not_amplified(attacked: World) -> None:
    """A real ClientHello whose sender says nothing more gets three times its bytes at most, however long it waits."""
    raw = Raw(attacked.url)
    async with attacked.attacked("ClientHello, then silence"):
        client = first_flight()
        client.connect(raw.server, now=0)
        for data, _ in client.datagrams_to_send(now=0):
            raw.send(data)
        await asyncio.sleep(1.5)
        raw.receive()
    print(f"amplification: {raw.received / raw.sent:.2f}")
    assert 0 < raw.received <= AMPLIFICATION * raw.sent
    raw.socket.close()


async def test_half_open_handshakes(attacked: World) -> None:
    """Three hundred handshakes from one address that is its own, each left after Retry: a bounded number is kept."""
    raw = Raw(attacked.url)
    async with attacked.attacked("300 half-open handshakes"):
        for number in range(300):
            client = first_flight()
            client.connect(raw.server, now=0)
            for data, _ in client.datagrams_to_send(now=0):
                raw.send(data)
            await asyncio.sleep(0.001)
            for data in raw.receive():
                client.receive_datagram(data, raw.server, now=0.001)
            for data, _ in client.datagrams_to_send(now=0.001):
                raw.send(data)
            if number % 10 == 0:
                await asyncio.sleep(0.01)
    refused, connections = await attacked.event("half_open_refused"), await attacked.event("connections")
    print(f"half open: {connections:.0f} made, {refused:.0f} refused")
    assert refused > 100
    assert connections <= 140
    raw.socket.close()


async def test_clients_that_never_get_on(attacked: World) -> None:
    """Connections without a request, and with one that comes byte by byte, end when their time is up; files stay."""
    files = attacked.gateway.files()
    clients: list[WebTransportClient] = []
    async with attacked.attacked("30 slow clients"):
        clients = [await attacked.client(request=False) for _ in range(30)]
        forgers = [Forger(client) for client in clients[:15]]
        # The head of a HEADERS frame of 200 bytes that never all come.
        for at in range(100):
            for forger in forgers:
                if not forger.client.is_disconnected:
                    forger.send([stream(0, at, b"\x01\x40\xc8\x00\x00"[at : at + 1] or b"\xd1")])
            await asyncio.sleep(SETUP_S / 100)
        await eventually(lambda: all(client.is_disconnected for client in clients), 5)
    assert attacked.gateway.files() <= files + 5
    for client in clients:
        client.vanish()
