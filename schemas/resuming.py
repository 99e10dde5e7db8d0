"""Secrets by which a client resumes its session: made from the shared secret, so that nobody has to keep them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: `GENERATION.MAC`; 32 bytes are 43 characters of base64url without padding (RFC 4648, section 5).
_FORM: Final = re.compile(r"([1-9][0-9]{0,8})\.([A-Za-z0-9_-]{43})\Z")


class ResumeSecrets:
    """HMAC-SHA-256 (RFC 2104) of session and generation, under a key derived with HKDF-SHA-256 (RFC 5869).

    A secret proves which session and which of its connections a client had. That the session is the user's, still
    there, and not gone on since is decided where sessions are kept.
    """

    def __init__(self, secret: bytes) -> None:
        """`secret`: HEADGATE_SECRET."""
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"headgate/resume/v1").derive(secret)

    def issue(self, session: str, generation: int) -> str:
        """The secret of one generation of `session`."""
        mac = hmac.new(self._key, f"{generation}\n{session}".encode(), hashlib.sha256).digest()
        return f"{generation}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    def generation(self, session: str, secret: str) -> int | None:
        """The generation that `secret` is of, or None when it is no secret of `session`."""
        form = _FORM.match(secret)
        if form is None:
            return None
        generation = int(form[1])
        return generation if hmac.compare_digest(self.issue(session, generation), secret) else None
