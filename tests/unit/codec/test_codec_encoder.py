"""What `encode_frame` writes and what it refuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.codec import Encoding, EncodingError, decode_frame, encode_frame

BOTH: tuple[Encoding, Encoding] = ("json", "msgpack")


def test_json_ends_with_a_newline() -> None:
    """A JSON frame is one line of UTF-8."""
    assert encode_frame({"type": "é"}, "json") == '{"type":"é"}\n'.encode()


def test_msgpack_keeps_bytes() -> None:
    """Bytes are written as bin and come back as bytes."""
    assert encode_frame({"a": b"\xff"}, "msgpack") == b"\x81\xa1a\xc4\x01\xff"
    assert decode_frame(encode_frame({"a": b"\xff"}, "msgpack")) == {"a": b"\xff"}


def test_json_refuses_bytes() -> None:
    """Bytes in a JSON frame are an error that names them and says what to do."""
    with pytest.raises(EncodingError, match=r"bytes.*use msgpack"):
        encode_frame({"a": [b"x"]}, "json")


@pytest.mark.parametrize("encoding", BOTH)
@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [None, float("inf")],
        {"b": [{"c": -float("inf")}]},
        1 << 64,
        -(1 << 63) - 1,
        "\ud800",
        datetime(2024, 1, 1, tzinfo=UTC),
        complex(1, 2),
        {1, 2},
    ],
    ids=repr,
)
def test_what_a_frame_cannot_carry_is_refused(value: Any, encoding: Encoding) -> None:
    """A value that the peer would have to refuse, or that would change on the way, is not written."""
    with pytest.raises(EncodingError):
        encode_frame({"a": value}, encoding)


@pytest.mark.parametrize("encoding", BOTH)
def test_null_and_what_looks_like_nan_pass(encoding: Encoding) -> None:
    """None, the word null and text whose bytes resemble NaN are no reason to refuse."""
    frame = {"a": None, "b": "null", "c": [1.5, {"d": 0.0}], "e": "\u02ff\u07f0"}
    assert decode_frame(encode_frame(frame, encoding)) == frame
    bytes_like_nan = {"a": b"\xcb\x7f\xf8"}
    assert decode_frame(encode_frame(bytes_like_nan, "msgpack")) == bytes_like_nan
