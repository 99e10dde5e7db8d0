"""What no client can make the server do, whatever it writes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.server.certificates import TlsIdentity
from ingress.webtransport import (
    SessionClosed,
    SessionRequested,
)
from tests.unit.webtransport.pair import Pair, events_of

#: HTTP/3 and WebTransport frames and capsules with any content, to get past the first check.
capsules = st.builds(
    lambda kind, value: kind + bytes([len(value)]) + value,
    st.sampled_from([b"\x00", b"\x01", b"\x04", b"\x40\x41", b"\x40\x54", b"\x00\x68\x43", b"\x00\x80\x00\x78\xae"]),
    st.binary(max_size=40),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 2, 4, 8, 14, 18]), st.binary(max_size=40) | capsules, st.booleans()),
        max_size=12,
    ),
    st.booleans(),
)
def test_no_bytes_make_it_fail(identity: TlsIdentity, pieces: list[tuple[int, bytes, bool]], opened: bool) -> None:
    """Whatever a client writes on its streams, the server answers by the rules and never raises."""
    pair = Pair(identity)
    pair.run()
    if opened:
        pair.open_session()
    for stream_id in (0, 4, 8, 14, 18):
        pair.client.send_stream_data(stream_id, b"")
    for stream_id, data, end in pieces:
        stream = pair.client._streams.get(stream_id)
        if stream is not None and stream.sender._buffer_fin is stream.sender._reset_error_code is None:
            pair.client.send_stream_data(stream_id, data, end)
        pair.run()
        if events_of(pair.events, SessionRequested):
            pair.events = pair.server.accept()
    pair.lose_client()
    assert len(events_of(pair.events, SessionClosed)) <= 1
