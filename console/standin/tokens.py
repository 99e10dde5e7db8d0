"""Demo tokens: `demo.<payload>.<mac>`, signed, so that they outlive a restart without being stored."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import orjson

LIFETIME_S: Final = 3600
_PURPOSE: Final = b"headgate/stand-in-token/v1"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who said a name."""

    id: str
    name: str

    @classmethod
    def named(cls, name: str) -> User:
        """The user of that name: the same name is the same user, however it is capitalised."""
        return cls(hashlib.sha256(name.casefold().encode()).hexdigest()[:12], name)


class Tokens:
    """Issues and reads tokens under a key derived from the shared secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")

    def issue(self, user: User, now: int) -> str:
        """A token of `user` that is good for an hour; `now` is in seconds."""
        payload = orjson.dumps({"id": user.id, "name": user.name, "exp": now + LIFETIME_S})
        text = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
        return f"demo.{text}.{self._mac(text)}"

    def read(self, token: str, now: int) -> tuple[User, int] | None:
        """The user and the end (in seconds) of a token; None when it is forged, over or no token."""
        parts = token.split(".")
        if len(parts) != 3 or parts[0] != "demo":
            return None
        if not hmac.compare_digest(self._mac(parts[1]).encode(), parts[2].encode()):
            return None
        try:
            payload = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except (binascii.Error, orjson.JSONDecodeError):
            return None
        if payload["exp"] <= now:
            return None
        return User(payload["id"], payload["name"]), payload["exp"]

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
