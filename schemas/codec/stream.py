"""What the two splitters share: the bytes held, and how far they were read."""

from abc import ABC, abstractmethod
from typing import Any

from schemas.codec.limits import FrameLimits


class FrameStream(ABC):
    """Frames of one encoding, one after the other: `push` takes bytes in, `next_frame` gives frames out."""

    def __init__(self, limits: FrameLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._start = 0
        """Where the current frame begins in the buffer."""
        self._at = 0
        """Where the search for the current frame's end goes on; what lies before is not looked at again."""
        self._tried = 0
        """Where the last guess at a frame's end ended: nothing before it is guessed at again."""

    @property
    def pending(self) -> int:
        """Bytes held that belong to no frame given out yet."""
        return len(self._buffer) - self._start

    def push(self, data: bytes) -> None:
        """Hold `data` behind what is held already."""
        self._release()
        self._buffer += data

    @abstractmethod
    def next_frame(self) -> dict[str, Any] | None:
        """The next whole frame, or None until more bytes come. Raises `FrameError`."""

    def _release(self) -> None:
        """Forget the bytes of frames that were given out."""
        if self._start:
            # A bytearray drops bytes at its front without moving the rest: no quadratic cost hides here.
            del self._buffer[: self._start]
            self._at -= self._start
            self._tried -= self._start
            self._start = 0
