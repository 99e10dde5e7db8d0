"""Capsules on the CONNECT stream (RFC 9297, section 3.2; draft-ietf-webtrans-http3, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from aioquic.buffer import encode_uint_var

from ingress.webtransport.errors import CapsuleError
from schemas.close_codes import MAX_REASON_BYTES, clip_reason

CLOSE: Final = 0x2843
DRAIN: Final = 0x78AE
#: WT_MAX_STREAM_DATA and WT_STREAM_DATA_BLOCKED belong to HTTP/2 only (draft, section 5). The other capsules
#: of flow control are skipped like unknown ones, since it is never negotiated here.
FORBIDDEN: Final = (0x190B4D3E, 0x190B4D42)

_CODE_BYTES = 4


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE_WEBTRANSPORT_SESSION: the sender has ended the session."""

    code: int
    """Application code of 32 bits."""
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """DRAIN_WEBTRANSPORT_SESSION: the sender asks to bring the session to an end."""


Capsule: TypeAlias = Close | Drain


def encode(capsule: Capsule) -> bytes:
    """The bytes of a capsule. A reason that is too long is cut at a character's border.

    Raises OverflowError when the code does not fit 32 bits.
    """
    match capsule:
        case Close(code, reason):
            value = code.to_bytes(_CODE_BYTES, "big") + clip_reason(reason).encode()
            return encode_uint_var(CLOSE) + encode_uint_var(len(value)) + value
        case Drain():
            return encode_uint_var(DRAIN) + encode_uint_var(0)


class CapsuleReader:
    """Reads capsules from bytes cut anywhere. Holds at most the 1,028 bytes of one CLOSE capsule."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._to_skip = 0
        self._closed = False

    def feed(self, data: bytes) -> Iterator[Capsule]:
        """The capsules that `data` completes, to be iterated to the end; unknown ones are skipped.

        Raises CapsuleError on a malformed capsule and on anything after CLOSE; the reader is of no use then.
        """
        self._buffer += data
        while self._buffer:
            if self._closed:
                raise CapsuleError("the client sent bytes after its CLOSE_WEBTRANSPORT_SESSION capsule")
            if self._to_skip:
                skipped = min(self._to_skip, len(self._buffer))
                del self._buffer[:skipped]
                self._to_skip -= skipped
                continue
            header = self._header()
            if header is None:
                break
            kind, length, size = header
            _check(kind, length)
            if kind not in (CLOSE, DRAIN):
                del self._buffer[:size]
                self._to_skip = length
                continue
            if len(self._buffer) < size + length:
                break
            value = bytes(self._buffer[size : size + length])
            del self._buffer[: size + length]
            self._closed = kind == CLOSE
            yield _decode(kind, value)

    def end(self) -> None:
        """The stream has ended. Raises CapsuleError when it ended inside a capsule."""
        if self._buffer or self._to_skip:
            raise CapsuleError("the client ended the CONNECT stream inside a capsule")

    def _header(self) -> tuple[int, int, int] | None:
        """Type, length of the value, and bytes of both; None while they are incomplete."""
        kind, after_kind = _varint(self._buffer, 0)
        length, after_length = _varint(self._buffer, after_kind)
        return (kind, length, after_length) if after_length <= len(self._buffer) else None


def _varint(data: bytearray, start: int) -> tuple[int, int]:
    """The integer at `start` and its end, past the data when it is incomplete (RFC 9000, section 16)."""
    if start >= len(data):
        return 0, start + 1
    end = start + (1 << (data[start] >> 6))
    return int.from_bytes(data[start:end], "big") & ((1 << (8 * (end - start) - 2)) - 1), end


def _check(kind: int, length: int) -> None:
    if kind in FORBIDDEN:
        raise CapsuleError(f"the client sent a capsule of type {kind:#x}, which HTTP/3 does not allow")
    if kind == DRAIN and length:
        raise CapsuleError(f"the client sent {length} bytes in a DRAIN_WEBTRANSPORT_SESSION capsule")
    if kind == CLOSE and not _CODE_BYTES <= length <= _CODE_BYTES + MAX_REASON_BYTES:
        raise CapsuleError(
            f"the client sent a CLOSE_WEBTRANSPORT_SESSION capsule of {length} bytes, "
            f"it has {_CODE_BYTES} to {_CODE_BYTES + MAX_REASON_BYTES}"
        )


def _decode(kind: int, value: bytes) -> Capsule:
    if kind == DRAIN:
        return Drain()
    try:
        return Close(int.from_bytes(value[:_CODE_BYTES], "big"), value[_CODE_BYTES:].decode())
    except UnicodeDecodeError as error:
        raise CapsuleError("the client's reason for closing is not UTF-8") from error
