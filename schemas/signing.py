"""Signed requests between Headgate and the application, in both directions.

HMAC-SHA-256 over seven lines: version, method, request target, timestamp, nonce, session, user and the SHA-256 of
the body. Replay is refused by the timestamp (±300 s) and by the nonce, which the verifier remembers.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.errors import ConfigurationError, InvalidSignature

KEY_HEADER: Final = "X-Headgate-Key"
TIMESTAMP_HEADER: Final = "X-Headgate-Timestamp"
NONCE_HEADER: Final = "X-Headgate-Nonce"
SIGNATURE_HEADER: Final = "X-Headgate-Signature"
SESSION_HEADER: Final = "X-WebTransport-Session"
USER_HEADER: Final = "X-User-Id"

#: How far a timestamp may be from the verifier's clock, in seconds.
TOLERANCE_S: Final = 300
#: How long a verifier must remember a nonce, in seconds: twice the tolerance.
NONCE_TTL_S: Final = 600
MIN_SECRET_BYTES: Final = 32
_MAX_HEADER: Final = 128


def check_secret(secret: str) -> bytes:
    """`secret` as bytes; raises ConfigurationError when it is shorter than 32 bytes."""
    raw = secret.encode()
    if len(raw) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"HEADGATE_SECRET has {len(raw)} bytes and needs at least {MIN_SECRET_BYTES}: "
            "make one with `openssl rand -hex 32` and give the same to the application"
        )
    return raw


def canonical(method: str, target: str, timestamp: str, nonce: str, session: str, user: str, body: bytes) -> bytes:
    """The bytes that are signed; `target` is the path with its query string as sent."""
    digest = hashlib.sha256(body).hexdigest()
    return f"v1\n{method.upper()}\n{target}\n{timestamp}\n{nonce}\n{session}\n{user}\n{digest}".encode()


def signature(secret: bytes, message: bytes) -> str:
    """The value of the signature header."""
    return "v1=" + hmac.new(secret, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests with the current key."""

    key_id: str
    secret: bytes

    def headers(
        self,
        method: str,
        target: str,
        body: bytes,
        *,
        timestamp: int,
        nonce: str,
        session: str = "",
        user: str = "",
    ) -> dict[str, str]:
        """The headers to send; `timestamp` in seconds, `nonce` never used before. Empty session or user: no header."""
        message = canonical(method, target, str(timestamp), nonce, session, user, body)
        headers = {
            KEY_HEADER: self.key_id,
            TIMESTAMP_HEADER: str(timestamp),
            NONCE_HEADER: nonce,
            SIGNATURE_HEADER: signature(self.secret, message),
        }
        if session:
            headers[SESSION_HEADER] = session
        if user:
            headers[USER_HEADER] = user
        return headers


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies requests; `secrets` maps a key id to its secret (the current one and those that only verify)."""

    secrets: Mapping[str, bytes]

    def verify(
        self, method: str, target: str, body: bytes, header: Callable[[str], str | None], *, now: int
    ) -> tuple[str, str]:
        """Check everything but the nonce's freshness and give (key id, nonce), which the caller must burn.

        `header` looks a header up by name; `now` is in seconds. Raises InvalidSignature.
        """
        key_id, timestamp, nonce, given = (
            header(name) or "" for name in (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
        )
        if not (key_id and timestamp and nonce and given):
            raise InvalidSignature("the request is not signed: send the four X-Headgate-… headers")
        if max(map(len, (key_id, timestamp, nonce, given))) > _MAX_HEADER:
            raise InvalidSignature("a signature header is too long")
        if not (timestamp.isascii() and timestamp.isdigit()):
            raise InvalidSignature("X-Headgate-Timestamp is not a number of seconds")
        if abs(now - int(timestamp)) > TOLERANCE_S:
            raise InvalidSignature(f"the timestamp is more than {TOLERANCE_S} s away: check both clocks")
        secret = self.secrets.get(key_id)
        # An unknown key costs the same as a wrong signature.
        expected = signature(
            secret or b"\0" * MIN_SECRET_BYTES,
            canonical(
                method,
                target,
                timestamp,
                nonce,
                header(SESSION_HEADER) or "",
                header(USER_HEADER) or "",
                body,
            ),
        )
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")) or secret is None:
            raise InvalidSignature("the signature does not match: compare key id, secret and the signed string")
        return key_id, nonce
