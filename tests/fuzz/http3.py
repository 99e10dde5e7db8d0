"""What a client's streams, datagrams and resets make of a WebTransport connection: facts, or a closed connection.

The server's QUIC is real; its events are made here, as if packets had brought them, so that every input gets past the
handshake and the encryption.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from aioquic.h3.connection import H3_ALPN
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration

from ingress.server.certificates import TlsIdentity, development_certificate
from ingress.webtransport import SessionRequested, WebTransportConnection
from ingress.webtransport.private import BoundedQuicConnection, FlowLimits
from tests.fuzz.reading import Reader

STREAMS = 8
#: Bytes of one event: what fits a packet.
MOST = 1200


@cache
def identity() -> TlsIdentity:
    """A certificate for the whole run."""
    with tempfile.TemporaryDirectory() as folder:
        return development_certificate(Path(folder), datetime.now(UTC)).load()


@cache
def configuration() -> QuicConfiguration:
    """Of the server."""
    return QuicConfiguration(
        is_client=False,
        alpn_protocols=H3_ALPN,
        certificate=identity().certificate,
        private_key=identity().private_key,
        max_datagram_frame_size=65_536,
    )


def connection() -> tuple[BoundedQuicConnection, WebTransportConnection]:
    """A connection after its handshake, on which the client has opened its first streams."""
    quic = BoundedQuicConnection(
        limits=FlowLimits(), configuration=configuration(), original_destination_connection_id=bytes(8)
    )
    quic._remote_max_datagram_frame_size = 65_536
    server = WebTransportConnection(quic)
    server.receive(events.ProtocolNegotiated(alpn_protocol="h3"))
    return quic, server


def fuzz(data: bytes) -> None:
    """Each step is a byte for what happens, one for the stream, one or two for how much, then that much."""
    reader = Reader(data)
    quic, server = connection()
    ended: set[int] = set()
    while reader and quic._close_event is None:
        what, stream_id = reader.byte(), reader.byte() % (STREAMS * 4) & ~1
        step = event(what, stream_id, reader, ended)
        if step is None:
            continue
        if not isinstance(step, events.DatagramFrameReceived):
            quic._get_or_create_stream(8, stream_id)
        for fact in server.receive(step):
            if isinstance(fact, SessionRequested):
                server.accept() if what & 0x40 == 0 else server.reject(404)
        command(what, server, stream_id)
    server.receive(events.ConnectionTerminated(0, None, ""))


def event(what: int, stream_id: int, reader: Reader, ended: set[int]) -> events.QuicEvent | None:
    """What QUIC would tell next; None when it could not, the stream being over."""
    kind = what & 7
    if kind == 5:
        return events.DatagramFrameReceived(reader.take(reader.byte()))
    if kind == 6:
        return None if stream_id & 2 else events.StopSendingReceived(reader.byte(), stream_id)
    if stream_id in ended:
        return None
    if kind == 7:
        ended.add(stream_id)
        return events.StreamReset(reader.byte(), stream_id)
    size = reader.byte() if kind else reader.byte() * 256 % MOST
    end = kind == 4
    if end:
        ended.add(stream_id)
    return events.StreamDataReceived(reader.take(size), end, stream_id)


def command(what: int, server: WebTransportConnection, stream_id: int) -> None:
    """What a session might do meanwhile."""
    match what >> 3 & 7:
        case 1:
            server.send(stream_id, b"x", end_stream=bool(what & 0x80))
        case 2:
            server.reset_stream(stream_id, what)
        case 3:
            server.stop_stream(stream_id, what)
        case 4:
            server.send_datagram(b"x")
        case 5 if server.state.name == "OPEN" and what & 0x80:
            server.close(what, "over")
