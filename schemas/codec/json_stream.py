"""Splits a stream of JSON objects (RFC 8259), with or without whitespace between them; orjson parses each.

What orjson decides, and so holds here: of duplicate keys the last wins; NaN, Infinity, numbers beyond a
double, lone surrogates, invalid UTF-8 and a byte order mark are refused; an integer outside -2^63 .. 2^64-1
becomes a float.
"""

import re
from typing import Any

import orjson

from schemas.codec.errors import FrameTooLarge, MalformedFrame
from schemas.codec.limits import FrameLimits
from schemas.codec.stream import FrameStream

# Possessive quantifiers everywhere: a byte once matched is never tried a second way.
_STRING_REST = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_PLAIN = rb'[^"{}\[\],]*+'
_TO_STRUCTURE = re.compile(_PLAIN + rb'(?:"' + _STRING_REST + rb'"' + _PLAIN + rb")*+", re.DOTALL)
_TO_QUOTE = re.compile(_STRING_REST, re.DOTALL)
_OPENING = b"{["
_SPACE = re.compile(rb"[ \t\r\n]*+")

_QUOTE, _BACKSLASH, _COMMA, _OPEN_MAP, _CLOSE_MAP, _NEWLINE = b'"\\,{}\n'


class JsonStream(FrameStream):
    """JSON objects, one after the other.

    Where a frame seems to end (at a newline, before `}{`, at the end of the read) is tried first. Failing
    that, its end is found by counting brackets outside of strings, each read going on where the last ended.
    """

    def __init__(self, limits: FrameLimits) -> None:
        super().__init__(limits)
        self._line_end = 0
        """The newline after the current frame, else the end of the read. Looked for once a line, or short
        frames in a long line would cost its length each."""
        self._depth = 0
        self._keys = 0
        self._in_string = False

    def next_frame(self) -> dict[str, Any] | None:
        """See `FrameStream.next_frame`."""
        if not self._depth:
            if not self._find_start():
                return None
            if self._start >= self._tried and (frame := self._try_whole()) is not None:
                return frame
        end = self._find_end()
        if end is None:
            self._release()
            return None
        try:
            parsed: dict[str, Any] = orjson.loads(self._buffer[self._start : end])
        except orjson.JSONDecodeError:
            # The cause is left out: its text quotes the peer's bytes.
            raise MalformedFrame("sender's frame is not valid JSON: correct the encoder") from None
        self._start = self._at = end
        self._keys = 0
        return parsed

    def _release(self) -> None:
        self._line_end -= self._start
        super()._release()

    def _find_start(self) -> bool:
        """Go over whitespace to the next frame's first byte; False if it is not there yet."""
        buffer, start = self._buffer, self._start
        have = len(buffer)
        if start < have and buffer[start] == _NEWLINE:  # the usual case, without the pattern
            start += 1
        if start < have and buffer[start] != _OPEN_MAP and (space := _SPACE.match(buffer, start)) is not None:
            start = space.end()
        self._start = self._at = start
        if start == have:
            self._release()
            return False
        if buffer[start] != _OPEN_MAP:
            raise MalformedFrame("sender put something other than objects in its JSON stream: send objects")
        return True

    def _try_whole(self) -> dict[str, Any] | None:
        """The frame, if it ends where it seems to and surely is within limits; None: `_find_end` decides."""
        buffer, start, limits = self._buffer, self._start, self._limits
        if start >= self._line_end:
            newline = buffer.find(b"\n", start)
            self._line_end = newline if newline >= 0 else len(buffer)
        # Outside of strings `}{` occurs only between two objects.
        end = buffer.find(b"}{", start, self._line_end) + 1 or self._line_end
        self._tried = end
        if end - start > limits.max_bytes or buffer[end - 1] != _CLOSE_MAP:
            return None
        whole = buffer[start:end]
        # Brackets and commas inside strings are counted too, so these are upper bounds.
        opened = whole.count(b"{") + whole.count(b"[")
        if opened > limits.max_depth or opened + whole.count(b",") > limits.max_keys:
            return None
        try:
            frame: dict[str, Any] = orjson.loads(whole)
        except orjson.JSONDecodeError:
            return None
        self._start = self._at = end
        return frame

    def _find_end(self) -> int | None:
        """Position after the frame's last byte, or None if it has not come. Raises `FrameTooLarge`."""
        buffer, limits = self._buffer, self._limits
        limit = self._start + limits.max_bytes
        stop = min(len(buffer), limit)
        at = self._at
        while at < stop:
            pattern = _TO_QUOTE if self._in_string else _TO_STRUCTURE
            if (run := pattern.match(buffer, at, stop)) is not None:
                at = run.end()
            if at == stop:
                break
            byte = buffer[at]
            if byte == _BACKSLASH:  # only at the very end: what it escapes has not come
                break
            at += 1
            if byte == _QUOTE:
                # Outside a string this one has no end yet, or the pattern would have gone over it.
                self._in_string = not self._in_string
            elif byte == _COMMA:
                self._keys += 1
            elif byte in _OPENING:
                self._depth += 1
                self._keys += 1
                if self._depth > limits.max_depth:
                    raise FrameTooLarge.in_depth(limits)
            else:
                self._depth -= 1
                if not self._depth:
                    return at
            if self._keys > limits.max_keys:
                raise FrameTooLarge.in_keys(limits)
        self._at = at
        if stop == limit:
            raise FrameTooLarge.in_bytes(limits)
        return None
