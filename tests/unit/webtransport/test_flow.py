"""How much of a session is in flight at once."""

from __future__ import annotations

from ingress.webtransport import (
    StreamDataReceived,
)
from tests.unit.webtransport.pair import Pair, events_of


def test_a_fast_client_is_held_to_its_window(pair: Pair) -> None:
    """A client can upload any amount through the fixed window while it is read, on one stream or many."""
    size = 0
    for _ in range(3):
        pair.client_stream(b"x" * 1_000_000, unidirectional=True, end=True)
        pair.run()
        size += sum(len(event.data) for event in events_of(pair.events, StreamDataReceived))
        pair.events.clear()
    assert size == 3_000_000
    assert pair.quic._local_max_data.value < 3_000_000 + 2 * 262_144


def test_a_paused_client_waits(pair: Pair) -> None:
    """While reading is paused the client sends no more than its credit, and the rest when it is resumed."""
    pair.server.pause_reading()
    pair.client_stream(b"x" * 500_000, end=True)
    pair.run()
    paused = sum(len(event.data) for event in events_of(pair.events, StreamDataReceived))
    assert 0 < paused <= 65_536
    pair.server.resume_reading()
    pair.run()
    assert sum(len(event.data) for event in events_of(pair.events, StreamDataReceived)) == 500_000


def test_unsent_bytes_count_what_is_not_acknowledged(pair: Pair) -> None:
    """Bytes count from the write until the client acknowledges them, and not after a reset."""
    stream_id = pair.client_stream(b"x")
    pair.run()
    assert pair.server.unsent_bytes() == 0
    pair.server.send(stream_id, b"y" * 10_000)
    assert pair.server.unsent_bytes() == 10_000
    pair.run()
    assert pair.server.unsent_bytes() == 0
    pair.server.send(stream_id, b"y" * 10_000)
    pair.server.reset_stream(stream_id, 1)
    assert pair.server.unsent_bytes() == 0
