"""Retry tokens that all workers take."""

from __future__ import annotations

from typing import Final

from aioquic.quic.retry import QuicRetryTokenHandler
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ingress.webtransport.private.leaned_on import LeanedOn

# Re-exported by aioquic.buffer, which type checkers do not take for an export.


#: See the package.
LEANED_ON: Final[LeanedOn] = (("QuicRetryTokenHandler", "_aead", "Retry tokens that all workers take"),)


class RetryTokens(QuicRetryTokenHandler):
    """Makes and checks Retry tokens with a given key (of AES, 16 or 32 bytes) in place of one of its own."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
