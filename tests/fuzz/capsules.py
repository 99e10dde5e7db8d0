"""Capsules, cut into pieces: a CapsuleError or capsules that are the same however they were cut."""

from __future__ import annotations

from ingress.webtransport.capsules import Capsule, CapsuleReader, Close, encode
from ingress.webtransport.errors import CapsuleError
from tests.fuzz.reading import Reader

#: Of a CLOSE capsule: head, code and reason.
_LONGEST = 1024 + 4 + 16


def fuzz(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    reader = Reader(data)
    step = reader.byte() + 1
    rest = reader.rest()
    whole = outcome([rest], len(rest))
    assert whole == outcome([rest[at : at + step] for at in range(0, len(rest), step)], step)
    for capsule in whole[0]:
        if isinstance(capsule, Close):
            assert list(CapsuleReader().feed(encode(capsule))) == [capsule]


def outcome(pieces: list[bytes], most: int) -> tuple[list[Capsule], bool]:
    """The capsules, and whether they were well-formed to the end."""
    reader = CapsuleReader()
    found: list[Capsule] = []
    try:
        for piece in pieces:
            found.extend(reader.feed(piece))
            assert len(reader._buffer) <= _LONGEST + most
        reader.end()
    except CapsuleError:
        return found, False
    return found, True
