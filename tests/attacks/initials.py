"""First packets by hand: noise that looks like one, real ones of any content, and sockets of any local address."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from aioquic.tls import Epoch

# Re-exported by aioquic.buffer, which type checkers do not take for an export.
from aioquic._buffer import Buffer  # isort: skip

from tests.attacks.forging import crypto

#: What a first packet has at least (RFC 9000, section 14.1).
INITIAL_BYTES: Final = 1200
_VERSION: Final = 1
_ID_BYTES: Final = 8
_TAG_BYTES: Final = 16
#: Of the gateways' connection ids.
_SERVER_ID_BYTES: Final = 8


class Raw:
    """A UDP socket that counts what it sends and receives. All of 127.0.0.0/8 is this machine's (ip(7))."""

    def __init__(self, url: str, address: str = "127.0.0.1") -> None:
        port = urlsplit(url).port
        assert port is not None
        self.server = ("127.0.0.1", port)
        self.sent = self.received = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((address, 0))

    def send(self, data: bytes) -> None:
        """Send a packet; a full buffer loses it."""
        with contextlib.suppress(BlockingIOError):
            self.sent += self.socket.sendto(data, self.server)

    def receive(self) -> list[bytes]:
        """What has arrived by now."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65_536))
        self.received += sum(map(len, found))
        return found

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def addresses(count: int) -> list[str]:
    """So many addresses of this machine, none of them the honest client's."""
    return [f"127.1.{number // 200}.{number % 200 + 1}" for number in range(count)]


@dataclass(slots=True)
class Client:
    """What stands for a client between its packets."""

    id: bytes = field(default_factory=lambda: os.urandom(_ID_BYTES))
    """The connection id that the packets are for: its own choice, later the server's."""
    token: bytes = b""
    number: int = 0

    def initial(self, frames: bytes, then: bytes = b"") -> bytes:
        """The next Initial packet, sealed as RFC 9001, section 5.2 wants it; `then` follows it in the UDP packet."""
        _, own = hello()
        keys = CryptoPair()
        keys.setup_initial(self.id, is_client=True, version=_VERSION)
        head = b"\xc1" + struct.pack("!I", _VERSION) + bytes([len(self.id)]) + self.id + bytes([len(own)]) + own
        head += encode_uint_var(len(self.token)) + self.token
        room = INITIAL_BYTES - len(head) - 4 - _TAG_BYTES
        frames = frames.ljust(room - len(then), b"\0")
        head += struct.pack("!HH", 0x4000 | (2 + len(frames) + _TAG_BYTES), self.number)
        packet: bytes = keys.encrypt_packet(head, frames, self.number)
        self.number += 1
        return packet + then

    def read(self, data: bytes) -> bytes:
        """The frames of an Initial packet from the server."""
        buffer = Buffer(data=data)
        header = pull_quic_header(buffer, host_cid_length=_SERVER_ID_BYTES)
        keys = CryptoPair()
        keys.setup_initial(self.id, is_client=True, version=_VERSION)
        _, frames, _ = keys.decrypt_packet(data[: header.packet_length], buffer.tell(), 0)
        return bytes(frames)

    def take(self, packets: Sequence[bytes]) -> bool:
        """Learn the server's connection id from what it sent, and the token of a Retry; whether it was one."""
        for data in packets:
            header = pull_quic_header(Buffer(data=data), host_cid_length=_SERVER_ID_BYTES)
            if header.packet_type is QuicPacketType.RETRY:
                self.id, self.token = header.source_cid, header.token
                return True
        return False


def noise(token: bytes = b"") -> bytes:
    """An Initial packet with a correct head, and noise where its contents should be (RFC 9000, section 17.2.2)."""
    head = b"\xc3" + struct.pack("!I", _VERSION) + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    head += struct.pack("!H", 0x4000 | len(token)) + token
    rest = INITIAL_BYTES - len(head) - 2
    return head + struct.pack("!H", 0x4000 | rest) + os.urandom(rest)


@cache
def hello() -> tuple[bytes, bytes]:
    """The frames of a real ClientHello, and the connection id that it says its sender has."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="127.0.0.1"
    )
    client = QuicConnection(configuration=configuration)
    client.connect(("127.0.0.1", 1), now=0)
    return crypto(0, bytes(client._crypto_streams[Epoch.INITIAL].sender._buffer)), client.host_cid
