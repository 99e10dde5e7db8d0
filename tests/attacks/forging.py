"""A client that sends what no honest one does: QUIC frames of its own making, on a connection of aioquic's."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from aioquic.buffer import encode_uint_var
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from tests.support.wt_client import WebTransportClient

#: Bytes of forged frames per packet, which leaves room for the packet's own.
PACKET: Final = 1100
#: Further than any of these attacks sends: an attacker keeps no congestion window.
_ENDLESS: Final = 1 << 40


class Forger:
    """Sends whole QUIC frames, past flow control and congestion control; nothing is sent again when it is lost."""

    def __init__(self, client: WebTransportClient) -> None:
        self.client = client
        quic: Any = client._quic
        self.quic = quic
        self._packets: deque[bytes] = deque()
        self._write = quic._write_application
        quic._write_application = self._write_forged
        # Answers on forged streams are no surprise.
        quic._stream_is_discarded = lambda stream_id: stream_id not in quic._streams
        quic._loss._cc.congestion_window = _ENDLESS
        quic._loss._pacer.next_send_time = lambda now: None

    def send(self, frames: list[bytes]) -> None:
        """Send these frames, as many in a packet as fit."""
        packet = b""
        for frame in frames:
            if packet and len(packet) + len(frame) > PACKET:
                self._packets.append(packet)
                packet = b""
            packet += frame
        self._packets.append(packet)
        self.client._link.transmit()

    def ignore_everything(self) -> None:
        """Count packets and read none any more: nothing is acknowledged, no credit is given."""
        self.client._link.datagram_received = self._ignore  # type: ignore[method-assign]

    def _ignore(self, data: object, addr: object) -> None:
        self.client.packets_received += 1

    def give_no_credit(self) -> None:
        """Acknowledge what comes, and let the server send no more than it may already."""
        self.quic._write_connection_limits = lambda builder, space: None
        self.quic._write_stream_limits = lambda builder, space, stream: None

    def credit(self, *, bidirectional: bool) -> int:
        """How many streams the server allows from the connection's first on."""
        return int(self.quic._remote_max_streams_bidi if bidirectional else self.quic._remote_max_streams_uni)

    def _write_forged(self, builder: QuicPacketBuilder, network_path: Any, now: float) -> None:
        crypto = self.quic._cryptos[Epoch.ONE_RTT]
        while self._packets:
            packet = self._packets[0]
            builder.start_packet(QuicPacketType.ONE_RTT, crypto)
            buffer = builder.start_frame(packet[0], capacity=len(packet))
            buffer.push_bytes(packet[1:])
            self._packets.popleft()
        self._write(builder, network_path, now)


def stream(stream_id: int, offset: int, data: bytes, *, end: bool = False) -> bytes:
    """A STREAM frame (RFC 9000, section 19.8)."""
    kind = QuicFrameType.STREAM_BASE | 6 | end
    return bytes([kind]) + b"".join(map(encode_uint_var, (stream_id, offset, len(data)))) + data


def reset(stream_id: int, error: int, size: int) -> bytes:
    """A RESET_STREAM frame (RFC 9000, section 19.4)."""
    return bytes([QuicFrameType.RESET_STREAM]) + b"".join(map(encode_uint_var, (stream_id, error, size)))


def crypto(offset: int, data: bytes) -> bytes:
    """A CRYPTO frame (RFC 9000, section 19.6)."""
    return bytes([QuicFrameType.CRYPTO]) + encode_uint_var(offset) + encode_uint_var(len(data)) + data


def datagram(session_id: int, data: bytes) -> bytes:
    """A DATAGRAM frame (RFC 9221, section 4) of a session (RFC 9297, section 2.1)."""
    data = encode_uint_var(session_id // 4) + data
    return encode_uint_var(QuicFrameType.DATAGRAM_WITH_LENGTH) + encode_uint_var(len(data)) + data


def h3_frame(kind: int, size: int, data: bytes = b"") -> bytes:
    """The head of an HTTP/3 frame that says it has `size` bytes, and what is sent of them (RFC 9114, section 7.1)."""
    return encode_uint_var(kind) + encode_uint_var(size) + data


def ack(ranges: list[tuple[int, int]]) -> bytes:
    """An ACK frame (RFC 9000, section 19.3) of packets from the first to the last of each range; the highest first."""
    (first, last), *others = ranges
    fields = [last, 0, len(others), last - first]
    for below, above in others:
        fields += [first - above - 2, above - below]
        first = below
    return bytes([QuicFrameType.ACK]) + b"".join(map(encode_uint_var, fields))


def new_connection_id(sequence: int, retire_prior_to: int) -> bytes:
    """A NEW_CONNECTION_ID frame (RFC 9000, section 19.15) with an id and a token that say nothing."""
    head = bytes([QuicFrameType.NEW_CONNECTION_ID]) + encode_uint_var(sequence) + encode_uint_var(retire_prior_to)
    return head + b"\x08" + sequence.to_bytes(8, "big") + sequence.to_bytes(16, "big")


def path_challenge(number: int) -> bytes:
    """A PATH_CHALLENGE frame (RFC 9000, section 19.17)."""
    return bytes([QuicFrameType.PATH_CHALLENGE]) + number.to_bytes(8, "big")


def connect_headers(client: WebTransportClient, *more: tuple[str, str]) -> bytes:
    """The header section of a request for a session."""
    pseudo = [(":method", "CONNECT"), (":protocol", "webtransport"), (":scheme", "https"), (":path", "/")]
    headers = [*pseudo, (":authority", "headgate.test"), *more]
    return client._h3._encode_headers(0, [(name.encode(), value.encode()) for name, value in headers])
