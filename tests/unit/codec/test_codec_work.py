"""How often the bytes of a stream are gone over: counted, not timed."""

from types import SimpleNamespace
from typing import Any

import msgpack
import orjson
import pytest

from schemas.codec import Encoding, FrameDecoder, FrameLimits, encode_frame, json_stream, msgpack_stream

FRAME = {"type": "message", "channel": "private-room.42", "data": {"text": "hello", "tags": ["a", "b"]}}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what the parsers were given, one for each call."""
    sizes: list[int] = []

    def loads(data: bytes) -> Any:
        sizes.append(len(data))
        return orjson.loads(data)

    def unpackb(data: bytes) -> Any:
        sizes.append(len(data))
        return msgpack.unpackb(data)

    monkeypatch.setattr(json_stream, "orjson", SimpleNamespace(loads=loads, JSONDecodeError=orjson.JSONDecodeError))
    monkeypatch.setattr(msgpack_stream, "msgpack", SimpleNamespace(unpackb=unpackb))
    return sizes


@pytest.mark.parametrize(
    "data",
    [
        b"{} " * 900 + b"{}",
        b"{}" * 9000,
        b"{}\n" * 9000,
        b'{"a":"}{"}' * 3000,
        b"{\n} " * 6000,
        b"\x80" * 400,
    ],
    ids=["spaced", "joined", "lines", "split in text", "split in frames", "msgpack"],
)
@pytest.mark.parametrize("piece", [1 << 20, 501])
def test_no_byte_is_parsed_more_than_twice(data: bytes, piece: int, parsed: list[int]) -> None:
    """A wrong guess at a frame's end is made once for a stretch of bytes, whatever a peer arranges."""
    decoder = FrameDecoder(FrameLimits(max_depth=1000, max_keys=1 << 16))  # so that guesses are not ruled out
    for start in range(0, len(data), piece):
        for _ in decoder.feed(data[start : start + piece]):
            pass
    decoder.finish()
    assert sum(parsed) <= 2 * len(data)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_whole_frame_in_a_read_is_not_walked(encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case, one whole frame a read, is parsed at once at every read, not only at the first."""
    walks = []
    for stream in (json_stream.JsonStream, msgpack_stream.MsgpackStream):
        monkeypatch.setattr(stream, "_find_end", lambda self: walks.append(self))
    decoder = FrameDecoder()
    for _ in range(20):
        assert list(decoder.feed(encode_frame(FRAME, encoding))) == [FRAME]
    assert not walks


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_what_was_walked_is_not_walked_again(encoding: Encoding) -> None:
    """Each read of a long frame goes on where the last one ended: the place never moves back."""
    frame = {"text": 'a\\"' * 9000, "list": [{"x": 1.5, "y": "é"}] * 100}
    data = encode_frame(frame, encoding).removesuffix(b"\n")
    limits = FrameLimits()
    stream = json_stream.JsonStream(limits) if encoding == "json" else msgpack_stream.MsgpackStream(limits)
    place = 0
    for start in range(0, len(data) - 1, 100):
        stream.push(data[start : min(start + 100, len(data) - 1)])
        assert stream.next_frame() is None
        assert stream._at >= max(place, start)
        place = stream._at
    stream.push(data[-1:])
    assert stream.next_frame() == frame
