"""Frames in both encodings, cut into pieces: what a peer sends raises a FrameError or nothing, however it is cut."""

from __future__ import annotations

from typing import Any

from schemas.codec import FrameDecoder, FrameError, FrameLimits, decode_frame, encode_frame
from tests.fuzz.reading import Reader

LIMITS = FrameLimits(max_bytes=2048, max_depth=8, max_keys=64)


def fuzz(data: bytes) -> None:
    """The first byte says how the rest is cut; whole or in pieces, the same frames come out."""
    reader = Reader(data)
    step = reader.byte() + 1
    rest = reader.rest()
    whole, in_pieces = outcome([rest]), outcome([rest[at : at + step] for at in range(0, len(rest), step)])
    assert whole == in_pieces, (whole, in_pieces)
    try:
        frame = decode_frame(rest, LIMITS)
    except FrameError:
        return
    assert decode_frame(encode_frame(frame, "msgpack"), FrameLimits(max_bytes=1 << 20)) == frame


def outcome(pieces: list[bytes]) -> tuple[str, str]:
    """Frames, then what ended them; as text, in which 1 and 1.0 and True are not the same."""
    decoder = FrameDecoder(LIMITS)
    frames: list[dict[str, Any]] = []
    try:
        for piece in pieces:
            frames.extend(decoder.feed(piece))
            assert decoder.pending <= LIMITS.max_bytes + 9
        decoder.finish()
    except FrameError as error:
        return repr(frames), type(error).__name__
    return repr(frames), ""
