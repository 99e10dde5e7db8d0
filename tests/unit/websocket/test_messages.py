"""What messages and close codes of WebSocket stand for."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.websocket import messages
from schemas.codec import DEFAULT_LIMITS, FrameError, FrameLimits, decode_frame, encode_frame

FRAME = {"type": "cursor", "channel": "c"}
PACKED = msgpack.packb(FRAME)


@pytest.mark.parametrize(
    ("data", "text", "stream"),
    [(b'{"type":"x"}', True, 0), (PACKED, False, 4), (b'{"type":"x"}', False, 8)],
)
def test_each_manner_of_writing_has_its_stream(data: bytes, text: bool, stream: int) -> None:
    """Text, msgpack and JSON in bytes are read as frames of three streams, unchanged."""
    assert messages.read(data, text, DEFAULT_LIMITS) == (stream, data, False)


@pytest.mark.parametrize(
    ("data", "text", "code"),
    [
        (b"", True, 4400),
        (b"", False, 4400),
        (b"hello", True, 4400),
        (b'{"type":"x"', True, 4400),
        (b'{"type":"x"}{"type":"y"}', True, 4400),
        (PACKED + PACKED, False, 4400),
        (PACKED[:-1], False, 4400),
        (PACKED, True, 4400),
        (b'{"type":"x","pad":"' + b"x" * 100 + b'"}', True, 4413),
    ],
)
def test_a_message_that_is_not_one_frame_is_refused(data: bytes, text: bool, code: int) -> None:
    """No frame, half of one, two, msgpack as text, or one that is too long: each with its code."""
    with pytest.raises(FrameError) as refused:
        messages.read(data, text, FrameLimits(max_bytes=100))
    assert refused.value.code == code
    assert len(refused.value.message.encode()) <= 123


@pytest.mark.parametrize(("encoding", "text"), [("json", True), ("json", False), ("msgpack", False)])
def test_a_marked_frame_is_unreliable_and_loses_its_mark(encoding: Any, text: bool) -> None:
    """`"unreliable": true` makes a datagram of the rest, in the same encoding."""
    message = messages.read(encode_frame(FRAME | {"unreliable": True}, encoding), text, DEFAULT_LIMITS)
    assert message.unreliable
    assert (message.data[:1] == b"{") is (encoding == "json")
    assert decode_frame(message.data) == FRAME


@pytest.mark.parametrize("value", [False, 1, "true", None, [True]])
def test_only_true_is_the_mark(value: object) -> None:
    """A frame whose `unreliable` is anything else is an ordinary one, passed on as it is."""
    data = json.dumps(FRAME | {"unreliable": value}).encode()
    assert messages.read(data, True, DEFAULT_LIMITS) == (0, data, False)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8")), st.integers(-(2**53), 2**53) | st.text("aé\n}{"), min_size=1
    ),
    st.sampled_from(["json", "msgpack"]),
)
def test_the_mark_is_spliced_into_any_frame(frame: dict[str, Any], encoding: Any) -> None:
    """What goes out is the frame and the mark, whatever the frame is and even if it had an entry of that name."""
    limits = FrameLimits(max_keys=100_000)
    for one in (frame, {"unreliable": False, **frame, "type": "t"}):
        assert decode_frame(messages.marked(encode_frame(one, encoding)), limits) == one | {"unreliable": True}


@pytest.mark.parametrize("size", [1, 14, 15, 16, 65_534, 65_535, 65_536])
def test_the_mark_fits_maps_of_every_header(size: int) -> None:
    """msgpack counts a map's entries in 4, 16 or 32 bits: the mark is counted in each, and from one to the next."""
    frame = {str(number): 0 for number in range(size)}
    assert msgpack.unpackb(messages.marked(msgpack.packb(frame))) == frame | {"unreliable": True}


@pytest.mark.parametrize(
    ("stream", "data", "text"),
    [(0, b"{}", True), (0, PACKED, False), (4, PACKED, False), (8, b"{}", False), (1, b"{}", True), (1, PACKED, False)],
)
def test_answers_go_out_as_the_question_came(stream: int, data: bytes, text: bool) -> None:
    """JSON is text but for those who write it in binary messages; msgpack is binary, also as a fallback."""
    assert messages.is_text(stream, data) is text


@pytest.mark.parametrize(("code", "sent"), [(0, 1000), (3000, 3000), (4999, 4999), (17, 1000), (5000, 1000)])
def test_codes_go_out_where_a_close_frame_may_carry_them(code: int, sent: int) -> None:
    """The codes of the protocol are close codes; what is none ends as 1000, which nobody reconnects for either."""
    assert messages.to_close_frame(code) == sent


@pytest.mark.parametrize(("sent", "code"), [(1000, 0), (1001, 0), (1005, 0), (1011, 1011), (3999, 3999)])
def test_codes_come_in_as_the_clients_own(sent: int, code: int) -> None:
    """A page that is done, left, or gives no code ended its session normally; other codes stay."""
    assert messages.from_close_frame(sent) == code
