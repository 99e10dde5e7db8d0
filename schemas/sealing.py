"""Sealing of a client's token, so that the durable log never holds a readable credential."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import HeadgateError


class SealBroken(HeadgateError):
    """The sealed value was made with another secret, for another session, or was changed."""


class Unseals(Protocol):
    """Gives back what was sealed."""

    def unseal(self, sealed: str, session: str) -> str:
        """The token; raises SealBroken."""


class Sealer:
    """AES-256-GCM under a key derived from the shared secret (HKDF-SHA-256, RFC 5869)."""

    def __init__(self, secret: bytes) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"headgate/token-seal/v1").derive(secret)
        self._aead = AESGCM(key)

    def seal(self, token: str, session: str, nonce: bytes) -> str:
        """`token` sealed for `session`; `nonce` is 12 random bytes. URL-safe base64."""
        return base64.urlsafe_b64encode(nonce + self._aead.encrypt(nonce, token.encode(), session.encode())).decode()

    def unseal(self, sealed: str, session: str) -> str:
        """The token; raises SealBroken."""
        try:
            raw = base64.urlsafe_b64decode(sealed)
            return self._aead.decrypt(raw[:12], raw[12:], session.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SealBroken("the token cannot be unsealed: do all services share one HEADGATE_SECRET?") from error
