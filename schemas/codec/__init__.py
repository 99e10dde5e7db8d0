"""Frames on the wire: JSON objects or msgpack maps that follow one another, split, bounded and decoded."""

from schemas.codec.decoder import Encoding, FrameDecoder, decode_frame
from schemas.codec.encoder import encode_frame
from schemas.codec.errors import EncodingError, FrameError, FrameTooLarge, MalformedFrame
from schemas.codec.limits import DEFAULT_LIMITS, FrameLimits

__all__ = [
    "DEFAULT_LIMITS",
    "Encoding",
    "EncodingError",
    "FrameDecoder",
    "FrameError",
    "FrameLimits",
    "FrameTooLarge",
    "MalformedFrame",
    "decode_frame",
    "encode_frame",
]
