"""The decoder's promises to its caller: order, errors, laziness, memory."""

import tracemalloc
from itertools import islice

import pytest

from schemas.codec import (
    FrameDecoder,
    FrameError,
    FrameLimits,
    FrameTooLarge,
    MalformedFrame,
    decode_frame,
)

MIB = 1 << 20
CLOSE_REASON_BYTES = 123


def test_frames_before_a_bad_one_come_first() -> None:
    """Good frames in the same read as a bad one are given out before the error is raised."""
    frames = FrameDecoder().feed(b'{"a":1}\n{"b":2}\n[]\n')
    assert [next(frames), next(frames)] == [{"a": 1}, {"b": 2}]
    with pytest.raises(MalformedFrame):
        next(frames)


@pytest.mark.parametrize("bad", [b"x", b'{"a":}', b"\x81\x01\x01", b'{"a":' + b"[" * 40])
def test_after_an_error_everything_is_refused(bad: bytes) -> None:
    """A decoder that failed holds nothing and raises the same error at each later call."""
    decoder = FrameDecoder()
    with pytest.raises(FrameError) as first:
        list(decoder.feed(bad))
    assert decoder.pending == 0
    for again in (lambda: decoder.feed(b"{}"), decoder.finish):
        with pytest.raises(type(first.value)) as later:
            again()
        assert later.value.message == first.value.message


@pytest.mark.parametrize("data", [b'{"a":1}\n{"b":2}{"c":3}', b"\x81\xa1a\x01\x81\xa1b\x02\x81\xa1c\x03"])
def test_an_iterator_left_unread_loses_nothing(data: bytes) -> None:
    """A caller that stops between two frames gets the rest from the next call."""
    decoder = FrameDecoder()
    assert next(decoder.feed(data)) == {"a": 1}
    decoder.feed(b"")
    assert list(decoder.feed(data)) == [{"b": 2}, {"c": 3}, {"a": 1}, {"b": 2}, {"c": 3}]
    assert decoder.pending == 0


def test_pending_counts_what_is_held() -> None:
    """Held bytes are those of the frame that is not whole yet, and none once it is."""
    decoder = FrameDecoder()
    assert (decoder.pending, decoder.encoding) == (0, None)
    assert list(decoder.feed(b'{"a":1}\n{"b"')) == [{"a": 1}]
    assert (decoder.pending, decoder.encoding) == (4, "json")
    assert list(decoder.feed(b":2} \n ")) == [{"b": 2}]
    assert decoder.pending == 0
    decoder.finish()


def test_ending_inside_a_frame_is_an_error() -> None:
    """A stream that ends with a part of a frame is malformed."""
    decoder = FrameDecoder()
    assert list(decoder.feed(b"\x81\xa1a")) == []
    with pytest.raises(MalformedFrame):
        decoder.finish()


@pytest.mark.parametrize(
    ("start", "filler"),
    [(b'{"a":"', b"x"), (b"{", b" "), (b"\x81\xa1a\xc5\xff\xf0", b"\0"), (b"\x81\xa1a\xdc\x03\x00", b"\xa0")],
)
def test_held_bytes_stay_within_the_limit(start: bytes, filler: bytes) -> None:
    """However a peer trickles, no more than a frame's limit and one header is ever held."""
    limits = FrameLimits()
    decoder = FrameDecoder(limits)
    frames = list(decoder.feed(start))
    for _ in range(limits.max_bytes // 512 + 2):
        try:
            frames += decoder.feed(filler * 512)
        except FrameError:
            break
        assert decoder.pending <= limits.max_bytes + 9


def read_to_its_end(data: bytes) -> None:
    """Decode a stream that consists of `data`."""
    decoder = FrameDecoder()
    for _ in decoder.feed(data):
        pass
    decoder.finish()


def peak_of(data: bytes, frames: int) -> int:
    """Most bytes that were allocated while up to `frames` frames of `data` were read."""
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        for _ in islice(decoder.feed(data), frames):
            pass
    except FrameTooLarge:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "data",
    [
        b"\x80" * MIB,
        b"{}" * (MIB // 2),
        b"{}\n" * (MIB // 3),
        b"\x81\xa1a\xdd\x00\x10\x00\x00" + b"\x80" * MIB,
        b'{"a":[{}' + b",{}" * (MIB // 3) + b"]}",
        b'{"a":"' + b"\\n" * (MIB // 2) + b'"}',
        b'{"a":' * (MIB // 5),
    ],
    ids=["msgpack maps", "maps", "maps on lines", "maps in msgpack", "maps in JSON", "escapes", "levels"],
)
def test_memory_stays_bounded(data: bytes) -> None:
    """Reading 1 MiB made to be costly takes little more than the bytes themselves."""
    assert peak_of(data, 20_000) < 2 * MIB


@pytest.mark.parametrize("head", [b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9"])
def test_declared_lengths_cost_nothing(head: bytes) -> None:
    """A declared length of 2^32 - 1 is refused from its header, before any of it comes."""
    data = b"\x81\xa1a" + head + b"\xff" * 4
    with pytest.raises(FrameError):
        list(FrameDecoder().feed(data))
    if head != b"\xc9":
        assert peak_of(data, 1) < 32_768


@pytest.mark.parametrize(
    "data",
    [
        b"SECRET",
        b'{"SECRET":SECRET}',
        b'{}SECRET"',
        b'{"SECRET":"\xff"}',
        b"\x80SECRET",
        b"\x81\xa1a\xa7SECRET\xff",
        b"\x81\xc4\x06SECRET\x01",
        b"\x81\xa6SECRET\xc1",
        b"\x81\xa6SECRET\xca\x7f\xff\xff\xff",
        b'{"SECRET":' + b"[" * 99,
        b'{"SECRET":[0' + b",0" * 2000,
        b'{"SECRET":"' + b"a" * 99_999,
        b'{"SECRET',
    ],
)
def test_messages_are_fit_for_a_close_reason(data: bytes) -> None:
    """A message is short, names the sender, and repeats nothing that was sent, and nor does its cause."""
    with pytest.raises(FrameError) as caught:
        read_to_its_end(data)
    message = caught.value.message
    assert "sender" in message
    assert ": " in message
    assert "SECRET" not in message
    assert str(caught.value) == message
    assert caught.value.__cause__ is None
    assert len(message.encode()) <= CLOSE_REASON_BYTES


def test_decode_frame_takes_one_frame_only() -> None:
    """A message is one frame: whitespace may follow JSON, a second frame may not."""
    assert decode_frame(b'{"a":1} \n') == {"a": 1}
    for data in (b'{"a":1}{}', b"\x80\x80", b"", b'{"a"', b"\xde"):
        with pytest.raises(MalformedFrame) as caught:
            decode_frame(data)
        assert len(caught.value.message) <= CLOSE_REASON_BYTES


@pytest.mark.parametrize("bad", [{"max_bytes": 0}, {"max_depth": 0}, {"max_keys": -1}, {"max_depth": 1001}])
def test_limits_that_cannot_hold_are_refused(bad: dict[str, int]) -> None:
    """A limit under 1, or a depth that the parsers do not reach, is an error when it is set."""
    with pytest.raises(ValueError, match=r"at (least|most)"):
        FrameLimits(**bad)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_the_deepest_limit_can_be_reached(encoding: str) -> None:
    """At the deepest limit that can be set, both parsers still read a frame of that depth."""
    limits = FrameLimits(max_depth=1000)
    data = {
        "json": b'{"a":' + b"[" * 999 + b"]" * 999 + b"}",
        "msgpack": b"\x81\xa1a" + b"\x91" * 998 + b"\x90",
    }
    assert list(decode_frame(data[encoding], limits)) == ["a"]
