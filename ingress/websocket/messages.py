"""What WebSocket messages and close codes stand for in a session. Told bytes, gives bytes: nothing here does I/O."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack

from schemas.close_codes import CloseCode
from schemas.codec import FrameLimits, MalformedFrame, decode_frame, encode_frame

#: The client's streams as its session counts them, one for each manner of writing: JSON in text messages, msgpack
#: and JSON in binary ones. So an answer comes back in the manner of its question.
TEXT_STREAM: Final = 0
MSGPACK_STREAM: Final = 4
JSON_BYTES_STREAM: Final = 8
#: Every stream that the gateway opens: what is sent on one is a message of its own anyway.
PUSH_STREAM: Final = 1

#: Bytes of the largest frame marked unreliable, either way: about what a WebTransport datagram holds, so that
#: members on the other transport get it too.
MAX_UNRELIABLE: Final = 1200

_OPEN_BRACE: Final = b"{"
_JSON_MARK: Final = b',"unreliable":true}'
_MSGPACK_MARK: Final[bytes] = msgpack.packb("unreliable") + msgpack.packb(True)
_MAP16, _MAP32 = 0xDE, 0xDF

_NORMAL, _GOING_AWAY, _NO_CODE = 1000, 1001, 1005


class Message(NamedTuple):
    """A message from the client, read."""

    stream: int
    """The stream that its frame belongs to."""
    data: bytes
    """The frame, without the mark if it had one."""
    unreliable: bool


def stream_of(data: bytes, text: bool) -> int:
    """The stream for a message of this kind."""
    if text:
        return TEXT_STREAM
    return JSON_BYTES_STREAM if data.startswith(_OPEN_BRACE) else MSGPACK_STREAM


def read(data: bytes, text: bool, limits: FrameLimits) -> Message:
    """The one frame of a message. Raises FrameError when it holds none, more than one, or one over the limits."""
    frame = decode_frame(data, limits)
    stream = stream_of(data, text)
    if text and not data.startswith(_OPEN_BRACE):
        raise MalformedFrame("sender's text message is no JSON object: send msgpack in binary messages")
    if frame.get("unreliable") is not True:
        return Message(stream, data, False)
    del frame["unreliable"]
    return Message(stream, encode_frame(frame, "msgpack" if stream == MSGPACK_STREAM else "json"), True)


def is_text(stream: int, data: bytes) -> bool:
    """Whether a frame for `stream` goes as a text message. Raw bytes go to JSON clients in msgpack, so in a binary."""
    return stream != JSON_BYTES_STREAM and data.startswith(_OPEN_BRACE)


def marked(data: bytes) -> bytes:
    """A frame with `"unreliable": true` as its last entry, which counts if the frame had one of that name already.

    Spliced, not decoded: this is done for every receiver.
    """
    if data.startswith(_OPEN_BRACE):
        return data.rstrip()[:-1] + _JSON_MARK
    first = data[0]
    header = {_MAP16: 3, _MAP32: 5}.get(first, 1)
    entries = int.from_bytes(data[1:header], "big") if header > 1 else first & 0x0F
    mapped: bytes = msgpack.Packer().pack_map_header(entries + 1)
    return mapped + data[header:] + _MSGPACK_MARK


def to_close_frame(code: int) -> int:
    """The close frame's code for a session's: the same, where close frames may carry it (RFC 6455, section 7.4.2)."""
    return code if 3000 <= code < 5000 else _NORMAL


def from_close_frame(code: int) -> int:
    """The session's code for that of a client's close frame: 0 for a page that is done, left, or gives none."""
    return CloseCode.NORMAL if code in (_NORMAL, _GOING_AWAY, _NO_CODE) else code
