"""Compressed frames: a frame whose `data` is another frame, deflated (RFC 1951, as browsers' `deflate-raw`)."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, Final

from schemas.codec import Encoding, FrameLimits, FrameTooLarge, MalformedFrame, decode_frame, encode_frame

ENCODING: Final = "deflate-raw"
#: Frames up to this many bytes are sent as they are.
THRESHOLD: Final = 1000
_RAW: Final = -zlib.MAX_WBITS


def compressed(data: bytes, encoding: Encoding) -> bytes:
    """The encoded frame `data` inside a compressed frame where that is shorter, else as it is."""
    if len(data) <= THRESHOLD:
        return data
    deflate = zlib.compressobj(wbits=_RAW)
    packed = deflate.compress(data) + deflate.flush()
    inner = base64.b64encode(packed).decode() if encoding == "json" else packed
    frame = encode_frame({"type": "compressed", "encoding": ENCODING, "data": inner}, encoding)
    return frame if len(frame) < len(data) else data


def expanded(frame: dict[str, Any], limits: FrameLimits) -> dict[str, Any]:
    """The frame inside a compressed one; raises MalformedFrame, and FrameTooLarge before memory is spent on it."""
    inner = frame.get("data")
    try:
        packed = inner if isinstance(inner, bytes) else base64.b64decode(str(inner), validate=True)
    except binascii.Error:
        raise MalformedFrame("sender's compressed frame is not base64: encode it again") from None
    if frame.get("encoding") != ENCODING:
        raise MalformedFrame(f"sender's compressed frame is not {ENCODING}: use what auth agreed on")
    inflate = zlib.decompressobj(wbits=_RAW)
    try:
        data = inflate.decompress(packed, limits.max_bytes + 1)
    except zlib.error:
        raise MalformedFrame("sender's compressed frame does not inflate: compress it again") from None
    if len(data) > limits.max_bytes:
        raise FrameTooLarge.in_bytes(limits)
    if not inflate.eof or inflate.unused_data:
        raise MalformedFrame("sender's compressed frame is cut off or has more behind it: send one whole frame")
    found = decode_frame(data, limits)
    if found.get("type") == "compressed":
        raise MalformedFrame("sender's compressed frame holds another one: compress once")
    return found
