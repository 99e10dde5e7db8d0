"""Streams of every kind, cut anywhere: one byte a packet, ended or reset inside their heads, before their session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.server.certificates import TlsIdentity
from ingress.webtransport import SessionRequested, State, StreamDataReceived, StreamReset
from tests.unit.webtransport.pair import Pair, events_of

#: Stream id, and its head as it is written in two ways.
KINDS = {
    "bidirectional": (4, b"\x40\x41\x00"),
    "bidirectional, long": (4, b"\x80\x00\x00\x41\xc0" + bytes(7)),
    "unidirectional": (14, b"\x40\x54\x00"),
    "unidirectional, long": (14, b"\xc0" + bytes(6) + b"\x54\x80" + bytes(3)),
}
CUTS = [(kind, at) for kind, (_, head) in KINDS.items() for at in range(len(head) + 1)]


def write(pair: Pair, stream_id: int, pieces: list[bytes], *, end: bool = False) -> None:
    """Send each piece in a packet of its own."""
    for number, piece in enumerate(pieces, 1):
        pair.client.send_stream_data(stream_id, piece, end and number == len(pieces))
        pair.run()


def received(pair: Pair, stream_id: int) -> tuple[bytes, bool]:
    """What the session was told of a stream, and whether that was all. Nothing may follow the end."""
    events = [event for event in events_of(pair.events, StreamDataReceived) if event.stream_id == stream_id]
    assert not any(event.ended for event in events[:-1])
    return b"".join(event.data for event in events), bool(events) and events[-1].ended


def kept(pair: Pair) -> Iterator[int]:
    """The streams that HTTP/3 or QUIC still holds a record of, without those that live as long as the connection."""
    for stream_id in {*pair.server._h3._stream, *pair.quic._streams}:
        if stream_id not in (pair.session_id, 2, 6, 10, 3, 7, 11):
            yield stream_id


def end_ours(pair: Pair, stream_id: int) -> None:
    """End this side's half of a stream, if it has one."""
    pair.server.send(stream_id, b"", end_stream=True)
    pair.run()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_reads_the_same_byte_by_byte(kind: str, pair: Pair) -> None:
    """A stream that comes one byte a packet is told whole, with its end, and then forgotten."""
    stream_id, head = KINDS[kind]
    data = head + b"hello"
    write(pair, stream_id, [data[at : at + 1] for at in range(len(data))], end=True)
    assert received(pair, stream_id) == (b"hello", True)
    end_ours(pair, stream_id)
    assert list(kept(pair)) == []


@pytest.mark.parametrize(("kind", "at"), CUTS)
def test_a_head_may_be_cut_at_each_byte(kind: str, at: int, pair: Pair) -> None:
    """Wherever a head is cut in two packets, the same data is told, and nothing before the head is whole."""
    stream_id, head = KINDS[kind]
    write(pair, stream_id, [head[:at]])
    assert pair.events == []
    write(pair, stream_id, [head[at:] + b"hello"])
    assert received(pair, stream_id) == (b"hello", False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("apart", [False, True])
def test_a_stream_of_a_head_alone_ends(apart: bool, kind: str, pair: Pair) -> None:
    """A stream that ends right behind its head is told as an empty one that has ended, and then forgotten."""
    stream_id, head = KINDS[kind]
    write(pair, stream_id, [head, b""] if apart else [head], end=True)
    assert received(pair, stream_id) == (b"", True)
    end_ours(pair, stream_id)
    assert list(kept(pair)) == []


@pytest.mark.parametrize(("kind", "at"), [(kind, at) for kind, at in CUTS if at < len(KINDS[kind][1])])
def test_a_stream_may_end_inside_its_head(kind: str, at: int, pair: Pair) -> None:
    """A stream that ends before it said whose it is is told to nobody: one that is cut short both ways is an error of
    HTTP/3, any other is forgotten, and the session goes on.
    """
    stream_id, head = KINDS[kind]
    write(pair, stream_id, [head[:at]], end=True)
    assert received(pair, stream_id) == (b"", False)
    if stream_id == 4 and at:
        assert pair.connection_error() == ErrorCode.H3_FRAME_ERROR
        return
    assert pair.server.state is State.OPEN
    assert list(kept(pair)) == []
    assert pair.server.send_datagram(b"still here")


@pytest.mark.parametrize(("kind", "at"), CUTS)
def test_a_stream_may_be_reset_inside_its_head(kind: str, at: int, pair: Pair) -> None:
    """A reset is told once the head was whole, and never else; either way the stream is forgotten."""
    stream_id, head = KINDS[kind]
    write(pair, stream_id, [head[:at]])
    pair.client.reset_stream(stream_id, 0x52E4A40FA8DB + 7)
    pair.run()
    assert pair.events == ([StreamReset(stream_id, 7)] if at == len(head) else [])
    end_ours(pair, stream_id)
    assert list(kept(pair)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [False, True])
def test_a_head_alone_may_overtake_the_request(end: bool, kind: str, make_pair: Callable[..., Pair]) -> None:
    """A stream whose head comes before its session belongs to it afterwards, ended or not."""
    pair = make_pair()
    pair.client.send_stream_data(0, b"")
    stream_id, head = KINDS[kind]
    write(pair, stream_id, [head], end=end)
    pair.session_id = pair.request_on(0)
    pair.run()
    pair.take(SessionRequested)
    pair.events += pair.server.accept()
    assert received(pair, stream_id) == (b"", end)
    if not end:
        write(pair, stream_id, [b"hello"], end=True)
        assert received(pair, stream_id) == (b"hello", True)
    end_ours(pair, stream_id)
    assert list(kept(pair)) == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_stream_reads_the_same_wherever_it_is_cut(identity: TlsIdentity, data: st.DataObject) -> None:
    """Streams of all kinds, woven together and cut anywhere, are each told whole and forgotten."""
    pair = Pair(identity)
    pair.run()
    pair.open_session()
    wholes: dict[int, bytes] = {}
    pieces: dict[int, list[bytes]] = {}
    for bidirectional in data.draw(st.lists(st.booleans(), min_size=1, max_size=4), "bidirectional"):
        stream_id = pair.client.get_next_available_stream_id(not bidirectional)
        pair.client.send_stream_data(stream_id, b"")
        head = encode_uint_var(0x41 if bidirectional else 0x54) + encode_uint_var(pair.session_id)
        wholes[stream_id] = data.draw(st.binary(max_size=30), "data")
        stream = head + wholes[stream_id]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4), "cuts"))
        pieces[stream_id] = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    while pieces:
        stream_id = data.draw(st.sampled_from(sorted(pieces)), "next")
        write(pair, stream_id, [pieces[stream_id].pop(0)], end=not pieces[stream_id])
        if not pieces[stream_id]:
            del pieces[stream_id]
    for stream_id, whole in wholes.items():
        assert received(pair, stream_id) == (whole, True)
        end_ours(pair, stream_id)
    assert list(kept(pair)) == []


def test_datagrams_of_any_length_are_told(pair: Pair) -> None:
    """A datagram is told as it came, from an empty one to the largest that fits a packet."""
    for size in (0, 1, 600, 1_150):
        pair.h3.send_datagram(pair.session_id, b"x" * size)
    pair.run()
    assert [len(event.data) for event in pair.events] == [0, 1, 600, 1_150]  # type: ignore[union-attr]
