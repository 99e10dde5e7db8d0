"""A frame on its way out, encoded at most once per form however many sessions receive it."""

from __future__ import annotations

from typing import Any

from ingress.session.compression import compressed
from schemas.codec import Encoding, EncodingError, encode_frame


class Outgoing:
    """`frame` with its encoded forms."""

    __slots__ = ("_forms", "frame")

    def __init__(self, frame: dict[str, Any]) -> None:
        self.frame = frame
        self._forms: dict[tuple[Encoding, bool], bytes] = {}

    def encoded(self, encoding: Encoding, *, compress: bool = False) -> bytes:
        """The frame's bytes, compressed where that is asked for and shorter.

        Raw bytes have no JSON form: such a frame goes out as msgpack, which a client can recognise and refuse.
        """
        form = self._forms.get((encoding, compress))
        if form is None:
            try:
                form = encode_frame(self.frame, encoding)
            except EncodingError:
                encoding = "msgpack"
                form = encode_frame(self.frame, encoding)
            if compress:
                form = compressed(form, encoding)
            self._forms[encoding, compress] = form
        return form
