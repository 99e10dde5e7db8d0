"""Bytes of a peer in, frames out. Nothing here waits, reads a clock or touches a socket."""

from collections.abc import Iterator
from typing import Any, Literal, NoReturn

from schemas.codec.errors import FrameError, MalformedFrame
from schemas.codec.json_stream import JsonStream
from schemas.codec.limits import DEFAULT_LIMITS, FrameLimits
from schemas.codec.msgpack_stream import MAP_BYTES, MsgpackStream
from schemas.codec.stream import FrameStream

Encoding = Literal["json", "msgpack"]

_JSON_SPACE = b" \t\r\n"


class FrameDecoder:
    """Decodes one stream, whose first byte chooses the encoding for all of it."""

    def __init__(self, limits: FrameLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._stream: FrameStream | None = None
        self._encoding: Encoding | None = None
        self._error: FrameError | None = None

    @property
    def encoding(self) -> Encoding | None:
        """The stream's encoding; None until its first byte came."""
        return self._encoding

    @property
    def pending(self) -> int:
        """Bytes held that are not part of a frame given out yet; at most `max_bytes` and one msgpack header
        (9 bytes) once what `feed` gave was read to its end."""
        return self._stream.pending if self._stream else 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Take in `data` at once, and give the frames that are whole now, each built when it is asked for.

        The frames before a bad one are given out first, then the iterator raises its `FrameError`; from then
        on every call raises the same again. A first byte that begins no frame raises at once. An iterator
        left unread loses nothing: the next one goes on where it stopped. So a caller may stop between two
        frames of a sender that is over its rate, and 1 MiB of empty maps in a read is never a million dicts.
        """
        if self._error:
            raise type(self._error)(self._error.message)
        if data:
            if not self._stream:
                try:
                    self._encoding, self._stream = _open_stream(data[0], self._limits)
                except FrameError as error:
                    self._fail(error)
            self._stream.push(data)
        return self._whole_frames()

    def finish(self) -> None:
        """The peer ended the stream. Raises `MalformedFrame` if inside a frame, or the error had before."""
        if self._error:
            raise type(self._error)(self._error.message)
        if self.pending:
            self._fail(MalformedFrame("sender ended the stream inside a frame: send it whole"))

    def _whole_frames(self) -> Iterator[dict[str, Any]]:
        while self._stream:
            try:
                frame = self._stream.next_frame()
            except FrameError as error:
                self._fail(error)
            if frame is None:
                return
            yield frame

    def _fail(self, error: FrameError) -> NoReturn:
        self._error = error
        self._stream = None  # and with it every byte held
        raise error


def decode_frame(data: bytes, limits: FrameLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """The one frame that `data` (a datagram or a WebSocket message) is; JSON may have whitespace after it.

    Raises `FrameError`; `MalformedFrame` if the frame is cut short or anything follows it.
    """
    if not data:
        raise MalformedFrame("sender's message is empty: send one frame a message")
    encoding, stream = _open_stream(data[0], limits)
    stream.push(data.rstrip(_JSON_SPACE) if encoding == "json" else data)
    frame = stream.next_frame()
    if frame is None:
        raise MalformedFrame("sender's message ends inside its frame: send one whole frame a message")
    if stream.pending:
        raise MalformedFrame("sender's message goes on after its frame: send one frame a message")
    return frame


def _open_stream(first: int, limits: FrameLimits) -> tuple[Encoding, FrameStream]:
    """What reads a stream that begins with the byte `first`. Raises `MalformedFrame`."""
    if first == ord("{"):
        return "json", JsonStream(limits)
    if first in MAP_BYTES:
        return "msgpack", MsgpackStream(limits)
    raise MalformedFrame("sender's stream starts with no frame: send a JSON object or a msgpack map")
