"""What a client may make a connection hold, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, StreamType
from aioquic.quic.packet import QuicErrorCode, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from ingress.webtransport import DatagramReceived, StreamDataReceived
from ingress.webtransport.private import (
    MAX_CRYPTO_BYTES,
    MAX_FIELD_SECTION_SIZE,
    MAX_PIECES,
    MAX_RECEIVED_DATAGRAMS,
    STREAM_BYTES,
    FlowLimits,
    RetryTokens,
    held_bytes,
    unacknowledged_bytes,
)
from tests.attacks.forging import PACKET, crypto, datagram, reset, stream
from tests.unit.webtransport.pair import CLIENT, Pair, events_of


def send(pair: Pair, *frames: bytes) -> None:
    """Send these QUIC frames from the client, past its own rules, and carry what comes of it."""
    queue(pair, *frames)
    pair.run()


def queue(pair: Pair, *frames: bytes) -> None:
    """Have the client send these QUIC frames with its next packets."""
    client: Any = pair.client
    write, waiting = client._write_application, list(frames)
    client._stream_is_discarded = lambda stream_id: stream_id not in client._streams

    def forged(builder: QuicPacketBuilder, path: Any, now: float) -> None:
        while waiting:
            packet = b""
            while waiting and len(packet) + len(waiting[0]) <= PACKET:
                packet += waiting.pop(0)
            builder.start_packet(QuicPacketType.ONE_RTT, client._cryptos[Epoch.ONE_RTT])
            buffer = builder.start_frame(packet[0], capacity=len(packet))
            buffer.push_bytes(packet[1:])
        write(builder, path, now)

    client._write_application = forged


def opening(pair: Pair, stream_id: int) -> bytes:
    """The frame that makes a stream the session's."""
    head = encode_uint_var(0x41) + encode_uint_var(pair.session_id)
    return stream(stream_id, 0, head)


# Pieces


@pytest.mark.parametrize("pieces", [MAX_PIECES, MAX_PIECES + 1])
def test_pieces_of_a_stream(pieces: int, pair: Pair) -> None:
    """A stream may have so many pieces that wait for what is between them; one more ends the connection."""
    send(pair, opening(pair, 4), *(stream(4, 10 + 2 * piece, b"x") for piece in range(pieces)))
    if pieces > MAX_PIECES:
        assert pair.connection_error() == QuicErrorCode.INTERNAL_ERROR
        return
    between = b"".join(b"y" if at % 2 else b"x" for at in range(10, 10 + 2 * pieces))
    send(pair, stream(4, 3, b"x" * 7 + between))
    received = b"".join(event.data for event in events_of(pair.events, StreamDataReceived))
    assert received == b"x" * 7 + between


def test_pieces_of_a_handshake(pair: Pair) -> None:
    """The same holds for handshake data, also when the handshake is over."""
    send(pair, *(crypto(2 * piece + 1, b"x") for piece in range(MAX_PIECES)))
    assert pair.quic._close_event is None
    send(pair, crypto(2 * MAX_PIECES + 1, b"x"))
    assert pair.connection_error() == QuicErrorCode.INTERNAL_ERROR


# Handshake data


@pytest.mark.parametrize("beyond", [0, 1])
def test_handshake_data_is_bounded(beyond: int, pair: Pair) -> None:
    """No byte of handshake data may be beyond the bound, and none before it makes room for those in between."""
    send(pair, crypto(MAX_CRYPTO_BYTES - 1 + beyond, b"x"))
    if beyond:
        assert pair.connection_error() == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED
    else:
        assert pair.quic._close_event is None


def test_handshake_data_in_order_is_bounded_too(pair: Pair) -> None:
    """A message that says it has 16 MiB is held up to the bound, though it comes without a gap."""
    head = b"\x01\xff\xff\xff"
    for at in range(0, MAX_CRYPTO_BYTES, 1024):
        send(pair, crypto(at, (head + bytes(1024))[:1024] if at == 0 else bytes(1024)))
        assert pair.quic._close_event is None
    assert len(pair.quic.tls._receive_buffer) == MAX_CRYPTO_BYTES
    send(pair, crypto(MAX_CRYPTO_BYTES, b"x"))
    assert pair.connection_error() == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED


# HTTP/3


@pytest.mark.parametrize("beyond", [0, 1])
def test_decoded_header_sections(beyond: int, pair: Pair) -> None:
    """A section counts as it is decoded, 32 bytes more for each field (RFC 9114, section 4.2.2), to the byte."""
    pseudo = [
        (b":method", b"CONNECT"),
        (b":protocol", b"webtransport"),
        (b":scheme", b"https"),
        (b":authority", b"headgate.test"),
        (b":path", b"/"),
    ]
    left = MAX_FIELD_SECTION_SIZE - sum(len(name) + len(value) + 32 for name, value in pseudo)
    # One field of the static table, as often as there is room, is a byte or two on the wire each.
    name, value = b"accept-encoding", b"gzip, deflate, br"
    many, rest = divmod(left - 33, len(name) + len(value) + 32)
    last = (b"x", b"y" * (rest + beyond))
    stream_id = pair.client.get_next_available_stream_id()
    pair.h3.send_headers(stream_id, [*pseudo, *[(name, value)] * many, last])
    pair.run()
    if beyond:
        assert pair.connection_error() == ErrorCode.H3_EXCESSIVE_LOAD
    else:
        assert pair.quic._close_event is None


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("frame_type", [FrameType.SETTINGS, FrameType.HEADERS])
def test_the_length_of_frames(frame_type: FrameType, beyond: int, make_pair: Callable[..., Pair]) -> None:
    """A frame that has to be held whole may say that it has so many bytes, and not one more."""
    pair = make_pair(late_settings=True)
    head = encode_uint_var(frame_type) + encode_uint_var(MAX_FIELD_SECTION_SIZE + beyond)
    if frame_type is FrameType.SETTINGS:
        pair.client.send_stream_data(pair.client.get_next_available_stream_id(True), b"\x00" + head)
    else:
        pair.client.send_stream_data(pair.client.get_next_available_stream_id(), head)
    pair.run()
    if beyond:
        assert pair.connection_error() == ErrorCode.H3_EXCESSIVE_LOAD
    else:
        assert pair.quic._close_event is None


def test_trailers_of_a_refused_request(make_pair: Callable[..., Pair]) -> None:
    """A request that was refused and goes on with trailers is answered once, and the connection goes on."""
    pair = make_pair()
    stream_id = pair.request(protocol=b"other")
    pair.h3.send_headers(stream_id, [(b"x", b"y")], end_stream=True)
    pair.run()
    assert pair.status(stream_id) >= 400
    assert pair.quic._close_event is None
    pair.open_session()


# Datagrams


def test_datagrams_of_one_batch(pair: Pair) -> None:
    """Of datagrams that come in one batch of packets so many are told of, the rest is counted; each batch anew."""
    for batch in (1, 2):
        queue(pair, *(datagram(pair.session_id, b"%d" % number) for number in range(MAX_RECEIVED_DATAGRAMS + 20)))
        pair.client.send_ping(0)
        pair.deliver()
        assert pair.quic.overrun == 20 * batch
        pair.handle_events()
        told = [event.data for event in events_of(pair.events, DatagramReceived)]
        assert told == [b"%d" % number for number in range(MAX_RECEIVED_DATAGRAMS)] * batch
        pair.run()


# Credit


def test_no_credit_while_paused(make_pair: Callable[..., Pair]) -> None:
    """A connection that is not read on grants nothing beyond its window, and the whole window when it is."""
    limits = FlowLimits(stream_window=1000, connection_window=3000)
    pair = make_pair(limits=limits)
    pair.open_session()
    pair.server.pause_reading()
    stream_id = pair.client_stream(b"x" * 10_000)
    pair.run()
    first = sum(len(event.data) for event in events_of(pair.events, StreamDataReceived))
    assert first <= 1000
    granted = pair.client._streams[stream_id].max_stream_data_remote, pair.client._remote_max_data
    pair.run()
    assert granted == (pair.client._streams[stream_id].max_stream_data_remote, pair.client._remote_max_data)
    pair.server.resume_reading()
    # What waits to be granted goes with the next packet to the client.
    pair.quic.send_ping(1)
    pair.run()
    assert sum(len(event.data) for event in events_of(pair.events, StreamDataReceived)) == 10_000
    assert pair.client._streams[stream_id].max_stream_data_remote - 10_000 <= 1000 + 3


def test_the_window_moves_with_streams_that_ended(make_pair: Callable[..., Pair]) -> None:
    """Bytes of streams that ended give their credit back, also those that a reset says there were: nothing stalls."""
    pair = make_pair(limits=FlowLimits(stream_window=1000, connection_window=3000))
    pair.open_session()
    sent = pair.client._remote_max_data_used
    head = encode_uint_var(StreamType.WEBTRANSPORT) + encode_uint_var(pair.session_id)
    for number in range(3, 63):
        stream_id = 2 + 4 * number
        if number % 2:
            send(pair, stream(stream_id, 0, head + b"x" * 800, end=True))
            sent += len(head) + 800
        else:
            send(pair, stream(stream_id, 0, head + b"x"), stream(stream_id, 100, b"x"), reset(stream_id, 7, 900))
            sent += 900
        assert pair.quic._close_event is None
        assert 1500 <= pair.client._remote_max_data - sent <= 3000
    assert sum(event.ended for event in events_of(pair.events, StreamDataReceived)) == 30


def test_gaps_give_no_credit(make_pair: Callable[..., Pair]) -> None:
    """Bytes behind a gap are held, so the connection's window does not move past them."""
    limits = FlowLimits(stream_window=1000, connection_window=3000)
    pair = make_pair(limits=limits)
    pair.open_session()
    before = pair.client._remote_max_data
    send(pair, *(stream(4 * number, 990, b"x") for number in range(1, 4)))
    assert pair.client._remote_max_data - before <= 64
    held = sum(len(one.receiver._buffer) for one in pair.quic._streams.values())
    assert held <= 3000


# What a client leaves open


def test_the_price_of_a_stream(pair: Pair) -> None:
    """A stream of this side's own costs its bytes and a fixed price, until the client has let it end."""
    assert held_bytes(pair.quic) == unacknowledged_bytes(pair.quic) == 0
    streams = [pair.server.open_bidirectional() for _ in range(5)]
    pair.run()
    assert held_bytes(pair.quic) == 5 * STREAM_BYTES
    assert pair.server.send(streams[0], b"x" * 100)
    assert held_bytes(pair.quic) == 5 * STREAM_BYTES + 100
    pair.run()
    for stream_id in streams:
        pair.server.send(stream_id, b"", end_stream=True)
    pair.run()
    assert held_bytes(pair.quic) == 5 * STREAM_BYTES
    for stream_id in streams:
        pair.client.send_stream_data(stream_id, b"", end_stream=True)
    pair.run()
    assert held_bytes(pair.quic) == 0


def test_retry_tokens_of_one_key() -> None:
    """Whoever has the key takes a token, for its address, its connection id and its time; nobody else does."""
    first, second, other = RetryTokens(b"k" * 32), RetryTokens(b"k" * 32), RetryTokens(b"o" * 32)
    token = first.create_token(
        address=CLIENT, original_destination_connection_id=b"original", retry_source_connection_id=b"retry", now=1.0
    )

    def original_id(tokens: RetryTokens, **changed: Any) -> bytes | None:
        given: dict[str, Any] = {"address": CLIENT, "destination_cid": b"retry", "token": token, "now": 2.0} | changed
        try:
            return tokens.validate_token(**given)
        except ValueError:
            return None

    assert original_id(second) == b"original"
    assert original_id(other) is None
    assert original_id(second, address=("192.0.2.9", 1000)) is None
    assert original_id(second, destination_cid=b"others") is None
    assert original_id(second, now=1000.0) is None
    assert original_id(second, token=token[:-1] + bytes([token[-1] ^ 1])) is None
