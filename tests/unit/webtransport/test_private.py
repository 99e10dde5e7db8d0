"""What is leaned on in aioquic does what it is leaned on for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType

from ingress.webtransport import private
from ingress.webtransport.private import FlowLimits
from tests.unit.webtransport.pair import Pair


def test_the_settings_name_every_draft(pair: Pair) -> None:
    """The client is told of WebTransport in drafts 02, 07 and 13, and of a QPACK without dynamic table."""
    settings = pair.h3.received_settings
    assert settings is not None
    assert {key: settings[key] for key in (0x2B603742, 0xC671706A, 0x14E9CD29, 0x8, 0x33)} == {
        0x2B603742: 1,
        0xC671706A: 1,
        0x14E9CD29: 1,
        0x8: 1,
        0x33: 1,
    }
    assert (settings[0x1], settings[0x7], settings[0x6]) == (0, 0, 16_384)


def test_a_dynamic_table_is_refused(pair: Pair) -> None:
    """A client that sets up a QPACK table, which could blow a few bytes up to megabytes, is cut off."""
    encoder_stream = pair.h3._local_encoder_stream_id
    assert encoder_stream is not None
    pair.client.send_stream_data(encoder_stream, b"\x3f\xe1\x1f")
    pair.run()
    assert pair.connection_error() == ErrorCode.QPACK_ENCODER_STREAM_ERROR


def test_ended_streams_are_forgotten(pair: Pair) -> None:
    """Nothing of a stream that both sides ended is kept, over any number of streams."""
    for _ in range(200):
        stream_id = pair.client_stream(b"ping", end=True)
        pair.run()
        pair.server.send(stream_id, b"pong", end_stream=True)
        pair.run()
    assert len(list(pair.server._h3.session_streams())) == 0
    assert len(pair.server._h3._stream) < 10


def test_gaps_in_a_stream_do_not_take_memory(pair: Pair) -> None:
    """A client that sends single bytes at ever larger offsets is bounded by the window of the stream."""
    stream_id = pair.client_stream(b"x")
    sender = pair.client._streams[stream_id].sender
    pair.run()
    held = 0
    for exponent in range(10, 30):
        # What lies between is taken as sent and acknowledged, so that it never is.
        gap = 2**exponent
        sender._buffer_start = sender._buffer_stop = sender.highest_offset = gap
        sender._buffer.clear()
        pair.client._remote_max_data = pair.client._streams[stream_id].max_stream_data_remote = 2**62
        pair.client.send_stream_data(stream_id, b"x")
        pair.run()
        stream = pair.quic._streams.get(stream_id)
        held = max(held, 0 if stream is None else len(stream.receiver._buffer))
    assert held <= FlowLimits().stream_window
    assert pair.connection_error() == 0x3


@pytest.mark.parametrize("frame_type", [FrameType.HEADERS, FrameType.SETTINGS])
def test_large_frames_are_refused_by_their_length(frame_type: FrameType, make_pair: Callable[..., Pair]) -> None:
    """A frame that would have to be held whole is refused when its length is read, not when it is there."""
    pair = make_pair(late_settings=True)
    header = encode_uint_var(frame_type) + encode_uint_var(2**30)
    if frame_type is FrameType.SETTINGS:
        pair.client.send_stream_data(pair.client.get_next_available_stream_id(True), b"\x00" + header)
    else:
        pair.client.send_stream_data(pair.client.get_next_available_stream_id(), header)
    pair.run()
    assert pair.connection_error() == ErrorCode.H3_EXCESSIVE_LOAD


def test_the_client_may_open_as_many_streams_as_configured(make_pair: Callable[..., Pair]) -> None:
    """The client learns the limits on streams, and gets one more for each that ends."""
    pair = make_pair(limits=FlowLimits(bidirectional_streams=3, unidirectional_streams=5))
    assert pair.client._remote_max_streams_bidi == 3
    assert pair.client._remote_max_streams_uni == 5
    pair.open_session()
    for _ in range(20):
        stream_id = pair.client_stream(b"x", end=True)
        pair.run()
        assert pair.server.send(stream_id, b"y", end_stream=True)
        pair.run()
    assert pair.client._remote_max_streams_bidi > 20


def test_the_largest_datagram_is_exact(pair: Pair) -> None:
    """A datagram of the announced capacity arrives, one byte more would not fit a packet."""
    capacity = pair.server.datagram_capacity
    assert pair.server.send_datagram(b"x" * capacity)
    assert not pair.server.send_datagram(b"x" * (capacity + 1))
    assert pair.server.send_datagram(b"next")
    pair.run()
    assert pair.client_datagrams() == [b"x" * capacity, b"next"]
    assert private.datagram_capacity(pair.quic, pair.session_id) == capacity == 1169
