"""What must hold for any frames, any cuts and any bytes."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import Encoding, FrameDecoder, FrameError, FrameLimits, decode_frame, encode_frame

SMALL = FrameLimits(max_bytes=48, max_depth=3, max_keys=6)
TIGHT = [SMALL, FrameLimits(max_bytes=24, max_depth=3), FrameLimits(max_depth=10, max_keys=12)]
BOTH: tuple[Encoding, Encoding] = ("json", "msgpack")

text = st.text(max_size=12) | st.sampled_from(['"', "\\", "}{", "\n", '\\"', "[,", "é日😀"])
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Frames with `leaves` in them."""
    value = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=8,
    )
    return st.dictionaries(text, value, max_size=4)


json_frames = trees(plain)
msgpack_frames = trees(plain | st.binary(max_size=40))
cuts = st.lists(st.integers(0, 1 << 16), max_size=12)
jsonish = st.text(alphabet='{}[],:"\\ \n1a\u00e9', max_size=80).map(lambda tail: b"{" + tail.encode())
msgpackish = st.lists(
    st.sampled_from([b"\x80", b"\x81\xa1a", b"\x82", b"\x92", b"\xa1b", b"\x01", b"\xdc\x00\x02", b"\xde\x00\x01"])
    | st.sampled_from([b"\xca\x40\x00\x00\x00", b"\xc4\x02ab", b"\xd9\x03abc", b"\xc0", b"\xd4", b"\xdd\x00\x00"])
    | st.binary(min_size=1, max_size=2),
    max_size=30,
).map(lambda parts: b"\x81\xa1a" + b"".join(parts))


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    """`data` cut at the positions of `at` that lie in it."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(places)]


def outcome(parts: list[bytes], limits: FrameLimits) -> tuple[list[dict[str, Any]], int | None]:
    """The frames that came of the parts and the code of the error that ended them."""
    decoder = FrameDecoder(limits)
    frames: list[dict[str, Any]] = []
    try:
        for part in parts:
            for frame in decoder.feed(part):  # one by one: an error must lose none
                frames.append(frame)
        decoder.finish()
    except FrameError as error:
        return frames, error.code
    return frames, None


def written(frames: list[dict[str, Any]], encoding: Encoding, between: list[str], indent: int | None) -> bytes:
    """The frames' bytes as a peer may write them: JSON with any whitespace between and inside."""
    if encoding == "msgpack":
        return b"".join(encode_frame(frame, "msgpack") for frame in frames)
    texts = (json.dumps(frame, ensure_ascii=False, indent=indent) for frame in frames)
    return "".join(body + between[place % len(between)] for place, body in enumerate(texts)).encode()


@given(
    frames=st.lists(json_frames, max_size=6),
    between=st.lists(st.sampled_from(["", "\n", "\r\n", " \t\n "]), min_size=1, max_size=3),
    indent=st.sampled_from([None, 1]),
    at=cuts,
)
def test_json_frames_survive_any_cuts(
    frames: list[dict[str, Any]], between: list[str], indent: int | None, at: list[int]
) -> None:
    """JSON frames, however spaced, come out the same wherever the stream is cut."""
    data = written(frames, "json", between, indent)
    assert outcome(pieces(data, at), FrameLimits()) == (frames, None)


@given(frames=st.lists(msgpack_frames, max_size=6), at=cuts)
def test_msgpack_frames_survive_any_cuts(frames: list[dict[str, Any]], at: list[int]) -> None:
    """msgpack frames come out the same wherever the stream is cut."""
    data = written(frames, "msgpack", [""], None)
    assert outcome(pieces(data, at), FrameLimits()) == (frames, None)


@given(frame=json_frames, encoding=st.sampled_from(BOTH))
def test_one_frame_goes_there_and_back(frame: dict[str, Any], encoding: Encoding) -> None:
    """A frame that is encoded and decoded is the same frame, to the types of its values."""
    assert repr(decode_frame(encode_frame(frame, encoding))) == repr(frame)


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"auth","token":"é\\"}{\\\\","n":[1,{"a":[]},-2.5e3]}\n'.encode()
        + '{"b":"😀"}{}\r\n {"c":\n[true]}'.encode(),
        encode_frame({"type": "auth", "n": [1, {"a": []}, -2.5], "long": "é" * 40, "b": b"\0" * 300}, "msgpack")
        + encode_frame({}, "msgpack")
        + encode_frame({"k" * 40: 1 << 40}, "msgpack"),
    ],
    ids=BOTH,
)
def test_every_cut_gives_the_same_frames(data: bytes) -> None:
    """Two pieces, cut at every byte position, give the frames that the whole gives."""
    whole = outcome([data], FrameLimits())
    assert whole[1] is None
    for place in range(len(data) + 1):
        assert outcome([data[:place], data[place:]], FrameLimits()) == whole


@settings(max_examples=400)
@given(data=st.binary(max_size=120) | jsonish | msgpackish, at=cuts, limits=st.sampled_from(TIGHT))
@example(data=b'{"a":"\\', at=[7], limits=SMALL)
@example(data=b'{"":[0,0,0,0,0]}  {"":[0,0,0,0,0,0]}', at=[], limits=SMALL)
@example(data=b"\x81\xa1a\xd9\x2b" + b"b" * 43 + b"\x80", at=[], limits=SMALL)
def test_garbage_is_refused_alike_however_cut(data: bytes, at: list[int], limits: FrameLimits) -> None:
    """Any bytes give frames and then at most a FrameError, the same however they are cut."""
    whole = outcome([data], limits)
    assert outcome(pieces(data, at), limits) == whole
    assert outcome([data[place : place + 1] for place in range(len(data))], limits) == whole


@settings(max_examples=400)
@given(
    frame=msgpack_frames,
    place=st.integers(0, 1 << 16),
    byte=st.integers(0, 255),
    encoding=st.sampled_from(BOTH),
)
def test_one_wrong_byte_never_raises_anything_else(
    frame: dict[str, Any], place: int, byte: int, encoding: Encoding
) -> None:
    """A frame with one byte changed is a frame or a FrameError, and the same byte by byte."""
    try:
        data = bytearray(encode_frame(frame, encoding))
    except ValueError:  # bytes, which JSON does not carry
        data = bytearray(encode_frame(frame, "msgpack"))
    data[place % len(data)] = byte
    limits = FrameLimits()
    whole = outcome([bytes(data)], limits)
    assert outcome([bytes(data[at : at + 1]) for at in range(len(data))], limits) == whole


def measure(value: Any) -> tuple[int, int]:
    """Levels, and entries with empty containers as one, of a decoded value."""
    if not isinstance(value, dict | list):
        return 0, 0
    inside = [measure(item) for item in (value.values() if isinstance(value, dict) else value)]
    return 1 + max((depth for depth, _ in inside), default=0), max(len(value), 1) + sum(keys for _, keys in inside)


@settings(max_examples=400)
@given(frame=json_frames, encoding=st.sampled_from(BOTH), spaced=st.booleans(), limits=st.sampled_from(TIGHT))
def test_a_frame_passes_just_when_it_is_within_limits(
    frame: dict[str, Any], encoding: Encoding, spaced: bool, limits: FrameLimits
) -> None:
    """A well-formed frame is refused as too large just when its bytes, levels or entries go over a limit."""
    data = written([frame], encoding, [""], 1 if spaced else None)
    depth, keys = measure(frame)
    fits = len(data) <= limits.max_bytes and depth <= limits.max_depth and keys <= limits.max_keys
    assert outcome([data], limits) == (([frame], None) if fits else ([], 4413))
