"""Identifiers: time-ordered for what is new, derived for what follows from something else."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

#: Namespace of every derived identifier (RFC 9562, section 5.5).
NAMESPACE: Final = uuid.UUID("6f1d3f0a-52c5-5c5e-9a57-1d1a0b6f4e11")
_NAMESPACE_BYTES: Final = NAMESPACE.bytes


def uuid7(now_ms: int, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 bits of `entropy` (10 bytes)."""
    value = (now_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(entropy[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def derived(cause: str, position: int | str) -> str:
    """The identifier of what `cause` leads to: the same cause and position always give the same one.

    A redelivered cause therefore emits entries that can be recognised as repeats.
    """
    # As uuid.uuid5, at a third of its price: it is made for every message.
    digest = bytearray(hashlib.sha1(_NAMESPACE_BYTES + f"{cause}/{position}".encode(), usedforsecurity=False).digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def digest(*parts: bytes) -> str:
    """Sixteen hex digits that are the same for the same bytes: to tell whether something has changed."""
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()


def of_handling(entry: str, group: str) -> str:
    """The id of the trail's entry that says what `group` did with an entry."""
    return derived(entry, f"handled/{group}")


def of_client_frame(lineage: str, frame_type: str, client_id: str) -> str:
    """The event id of a frame that carries a client-chosen id: a resent frame gives the same event."""
    return derived(lineage, f"frame/{frame_type}/{client_id}")


def of_session_end(session: str) -> str:
    """The event id of the end of `session`, which it has once."""
    return derived(session, "closed")


def of_disconnection(session: str, generation: int) -> str:
    """The event id of the end of a session's connection: whoever sees it, its gateway or those who miss the gateway."""
    return derived(session, f"disconnected/{generation}")
