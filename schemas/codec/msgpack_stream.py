"""Splits a stream of msgpack maps (github.com/msgpack/msgpack, spec.md) and bounds each before it is built.

A walk over the headers finds the frame's end; it jumps over strings and stops at `max_keys`, so a frame costs
at most about a thousand steps. `msgpack.Unpacker` alone would not do: its limits are per container, so that
neither depth nor the number of objects in a frame is bounded, and it takes NaN, and bytes as keys.
Of duplicate keys the last wins.
"""

from typing import Any

import msgpack

from schemas.codec.errors import FrameTooLarge, MalformedFrame
from schemas.codec.limits import FrameLimits
from schemas.codec.stream import FrameStream


def _sizes() -> bytes:
    """Whole size of a value by its first byte; 0 for those that need a closer look."""
    sizes = bytearray(256)
    for byte in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3):  # small integers, nil, false, true
        sizes[byte] = 1
    for byte in range(0xA0, 0xC0):  # fixstr
        sizes[byte] = 1 + byte - 0xA0
    for byte, width in zip(range(0xCC, 0xD4), (1, 2, 4, 8) * 2, strict=True):  # uint8..uint64, int8..int64
        sizes[byte] = 1 + width
    return bytes(sizes)


_SIZES = _sizes()
# First byte of a value -> bytes of the length or count that follows it.
_STRINGS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_LENGTHS = _STRINGS | {0xC4: 1, 0xC5: 2, 0xC6: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}
_COUNTS = _ARRAYS | _MAPS
_FLOAT32, _FLOAT64 = 0xCA, 0xCB

MAP_BYTES = frozenset((*range(0x80, 0x90), *_MAPS))
"""First bytes of a msgpack map."""

_OPENERS = bytes((*range(0x80, 0xA0), *_COUNTS))
# Not used, bin, extensions and floats: what the walk has to look at.
_UNSURE = bytes((0xC1, *range(0xC4, 0xCC), *range(0xD4, 0xD9)))
_HARMLESS = bytes(byte for byte in range(256) if byte not in _OPENERS + _UNSURE)

_ONE_FRAME = -1


class _ShortHeaderError(Exception):
    """The header at hand has not come whole."""


class MsgpackStream(FrameStream):
    """msgpack maps, one after the other."""

    def __init__(self, limits: FrameLimits) -> None:
        super().__init__(limits)
        self._left = _ONE_FRAME
        """What the innermost open container lacks: pairs if over 0 (a map), elements if under 0 (array)."""
        self._outer: list[int] = []
        """The same of the containers around it; the outermost is the stream, as an array of one frame."""
        self._keys = 0

    def next_frame(self) -> dict[str, Any] | None:
        """See `FrameStream.next_frame`."""
        start = self._start
        if start == len(self._buffer):
            self._release()
            return None
        if self._at == start:
            if self._buffer[start] not in MAP_BYTES:
                raise MalformedFrame("sender put something other than maps in its msgpack stream: send maps")
            if start >= self._tried and (whole := self._try_whole()) is not None:
                return whole
        end = self._find_end()
        if end is None:
            self._release()
            return None
        try:
            frame: dict[str, Any] = msgpack.unpackb(self._buffer[start:end])
        except ValueError:  # UTF-8 is all that is left to be wrong
            raise MalformedFrame("sender's msgpack frame has text that is not UTF-8: send bin") from None
        self._start = self._at = end
        self._left, self._keys = _ONE_FRAME, 0
        return frame

    def _try_whole(self) -> dict[str, Any] | None:
        """The frame, if all that is held is one and surely within limits; None: `_find_end` decides."""
        limits, start, have = self._limits, self._start, len(self._buffer)
        self._tried = have
        if have - start > min(limits.max_bytes, limits.max_keys):
            return None
        whole = self._buffer[start:]
        # Upper bounds, for bytes inside text count too: an entry has a byte, an empty container its own.
        opened = whole.translate(None, _HARMLESS)
        if len(opened) > limits.max_depth or len(whole) + len(opened) > limits.max_keys:
            return None
        if opened.translate(None, _OPENERS):
            return None
        try:
            frame: dict[str, Any] = msgpack.unpackb(whole)
        except ValueError:
            return None
        self._start = self._at = have
        return frame

    def _find_end(self) -> int | None:
        """Position after the frame's last byte, or None if it has not come. Raises `FrameError`."""
        buffer, outer, sizes = self._buffer, self._outer, _SIZES
        have, limit = len(buffer), self._start + self._limits.max_bytes
        stop = min(have, limit)
        at, left = self._at, self._left
        try:
            while True:
                # `at` and `left` move together, by a pair or an element; a jump may lead past what has come.
                while not left and outer:
                    left = outer.pop()
                value = at
                if not left:
                    break
                if value < stop and left > 0:
                    byte = buffer[value]
                    value += sizes[byte] if 0xA0 <= byte < 0xC0 else self._key_size(value, byte)
                if value >= stop:
                    break
                byte = buffer[value]
                if size := sizes[byte] or self._plain_size(value, byte):
                    at = value + size
                    left += 1 if left < 0 else -1
                else:
                    at, inner = self._open(value, byte)
                    outer.append(left + 1 if left < 0 else left - 1)
                    left = inner
        except _ShortHeaderError:
            pass
        return self._settle(at, left, value)

    def _settle(self, at: int, left: int, needed: int) -> int | None:
        """Keep how far the walk came; the frame's end if it got there. `needed` is where it reads next."""
        self._at, self._left = at, left
        done = not left
        most = self._start + self._limits.max_bytes
        if at > most or (not done and needed >= most):
            raise FrameTooLarge.in_bytes(self._limits)
        return at if done and at <= len(self._buffer) else None

    def _key_size(self, at: int, byte: int) -> int:
        """Whole size of a map key longer than 31 bytes."""
        width = _STRINGS.get(byte)
        if width is None:
            raise MalformedFrame("sender's msgpack frame has a map key that is not text: use strings as keys")
        return 1 + width + self._number(at + 1, width)

    def _plain_size(self, at: int, byte: int) -> int:
        """Whole size of a value that is not in `_SIZES`; 0 for a map or an array."""
        if (width := _LENGTHS.get(byte)) is not None:
            return 1 + width + self._number(at + 1, width)
        if byte in (_FLOAT32, _FLOAT64):
            exponent = 0x7F80 if byte == _FLOAT32 else 0x7FF0
            if self._number(at + 1, 2) & exponent == exponent:
                raise MalformedFrame("sender's msgpack frame holds NaN or Infinity: send nil")
            return 5 if byte == _FLOAT32 else 9
        if byte < 0xA0 or byte in _COUNTS:
            return 0
        raise MalformedFrame("sender's msgpack frame holds an extension or unknown type: send text")

    def _open(self, at: int, byte: int) -> tuple[int, int]:
        """Where the contents of the map or array begin, and what it lacks at first, as `_left` says it."""
        limits = self._limits
        if len(self._outer) >= limits.max_depth:
            raise FrameTooLarge.in_depth(limits)
        width = _COUNTS.get(byte, 0)
        count = self._number(at + 1, width) if width else byte & 0x0F
        self._keys += count or 1
        if self._keys > limits.max_keys:
            raise FrameTooLarge.in_keys(limits)
        is_map = byte < 0x90 or byte in _MAPS
        return at + 1 + width, count if is_map else -count

    def _number(self, at: int, width: int) -> int:
        """The big-endian number at `at`. Raises `_ShortHeaderError`."""
        if at + width > len(self._buffer):
            raise _ShortHeaderError
        return int.from_bytes(self._buffer[at : at + width], "big")
