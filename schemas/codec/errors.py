"""What can be wrong with a frame, and the close code that says so.

Messages are sent to the peer as a close reason: they never hold bytes of the frame and stay within the 123
bytes that a WebSocket close reason may have (RFC 6455 section 5.5).
"""

from typing import ClassVar

from schemas.close_codes import CloseCode
from schemas.codec.limits import FrameLimits
from schemas.errors import HeadgateError


class FrameError(HeadgateError, ValueError):
    """The peer sent bytes that are not an acceptable frame; the stream cannot be read further."""

    code: ClassVar[int]
    """Close code of the wire protocol: 4400 or 4413, both of which tell a client not to reconnect."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """Whose fault it is and what to do, fit for a close reason."""


class MalformedFrame(FrameError):
    """The bytes are no JSON object or msgpack map, or hold what a frame may not carry."""

    code = CloseCode.MALFORMED


class FrameTooLarge(FrameError):
    """The frame goes over one of `FrameLimits`."""

    code = CloseCode.TOO_LARGE

    @classmethod
    def in_bytes(cls, limits: FrameLimits) -> "FrameTooLarge":
        """The frame has, or declares, more than `max_bytes`."""
        return cls(f"sender's frame is over {limits.max_bytes} bytes: split it")

    @classmethod
    def in_depth(cls, limits: FrameLimits) -> "FrameTooLarge":
        """Maps and arrays go more than `max_depth` levels down."""
        return cls(f"sender's frame is over {limits.max_depth} levels deep: flatten it")

    @classmethod
    def in_keys(cls, limits: FrameLimits) -> "FrameTooLarge":
        """The frame has, or declares, more than `max_keys` keys and elements."""
        return cls(f"sender's frame has over {limits.max_keys} keys and elements: split it")


class EncodingError(HeadgateError, ValueError):
    """A frame of our own holds a value that the chosen encoding cannot carry; the fault is the caller's."""
