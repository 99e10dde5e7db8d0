"""A frame on its way out, encoded at most once per encoding however many sessions receive it."""

from __future__ import annotations

from typing import Any

from schemas.codec import Encoding, encode_frame


class Outgoing:
    """`frame` with its encoded forms."""

    __slots__ = ("_encoded", "frame")

    def __init__(self, frame: dict[str, Any]) -> None:
        self.frame = frame
        self._encoded: dict[Encoding, bytes] = {}

    def encoded(self, encoding: Encoding) -> bytes:
        """The frame's bytes; raises EncodingError when `encoding` cannot carry it."""
        data = self._encoded.get(encoding)
        if data is None:
            data = self._encoded[encoding] = encode_frame(self.frame, encoding)
        return data
