"""A frame on its way out, encoded at most once per form however many sessions receive it."""

from __future__ import annotations

from typing import Any, Final

from ingress.session.compression import compressed
from schemas.codec import Encoding, EncodingError, encode_frame

#: The field that tells clients of protocol 1 the place of a frame that the application made.
PLACE: Final = "headgate"


class Outgoing:
    """`frame` with its encoded forms."""

    __slots__ = ("_forms", "_place", "frame")

    def __init__(self, frame: dict[str, Any], place: dict[str, Any] | None = None) -> None:
        """`place`: {topic, epoch, offset} of a frame that is not Headgate's own and so has no field for it."""
        self.frame = frame
        self._place = place
        self._forms: dict[tuple[Encoding, bool, bool], bytes] = {}

    def encoded(self, encoding: Encoding, *, compress: bool = False, placed: bool = False) -> bytes:
        """The frame's bytes, compressed where that is asked for and shorter; `placed`: with its place, if it has one.

        Raw bytes have no JSON form: such a frame goes out as msgpack, which a client can recognise and refuse.
        """
        placed = placed and self._place is not None
        form = self._forms.get((encoding, compress, placed))
        if form is None:
            frame = self.frame | {PLACE: self._place} if placed else self.frame
            try:
                form = encode_frame(frame, encoding)
            except EncodingError:
                encoding = "msgpack"
                form = encode_frame(frame, encoding)
            if compress:
                form = compressed(form, encoding)
            self._forms[encoding, compress, placed] = form
        return form
