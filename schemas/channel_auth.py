"""A channel that the application opened to one session beforehand: `auth` and `channel_data` of a `subscribe` frame.

The form is Pusher's, so that what signs for Pusher signs for Headgate:
https://pusher.com/docs/channels/library_auth_reference/auth-signatures/. A signature holds for the session that it
names, and for no other: it is of no use to whoever else comes to see it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas.errors import InvalidSignature
from schemas.signing import MIN_SECRET_BYTES
from schemas.socket_ids import socket_id

#: The longest `channel_data`, in UTF-8 bytes.
MAX_CHANNEL_DATA_BYTES: Final = 8192


def channel_auth(key_id: str, secret: bytes, socket: str, channel: str, channel_data: str | None = None) -> str:
    """The `auth` by which whoever has `secret` lets the session `socket` into `channel`."""
    parts = [socket, channel] if channel_data is None else [socket, channel, channel_data]
    return f"{key_id}:{hmac.new(secret, ':'.join(parts).encode(), hashlib.sha256).hexdigest()}"


@dataclass(frozen=True, slots=True)
class ChannelVerifier:
    """Verifies `auth`; `secrets` maps a key id to its secret (the current one and those that only verify)."""

    secrets: Mapping[str, bytes]

    def verify(self, auth: str, session: str, channel: str, channel_data: str | None) -> None:
        """Check that `auth` lets `session` into `channel` with that `channel_data`; raises InvalidSignature.

        The session may be named by its id, or by that in Pusher's form.
        """
        key_id = auth.rpartition(":")[0]
        secret = self.secrets.get(key_id)
        # An unknown key costs the same as a wrong signature.
        usable = secret or b"\0" * MIN_SECRET_BYTES
        given = auth.encode("utf-8", "replace")
        matches = [
            hmac.compare_digest(channel_auth(key_id, usable, socket, channel, channel_data).encode(), given)
            for socket in _names(session)
        ]
        if secret is None or not any(matches):
            raise InvalidSignature("auth does not match: it is made of session, channel and channel_data, with the key")


def _names(session: str) -> tuple[str, ...]:
    try:
        return session, socket_id(session)
    except ValueError:
        return (session,)


def member_of(channel_data: str | None, user: str) -> dict[str, Any]:
    """What `channel_data` tells the other members of a presence channel: `info`, if there is any.

    Raises InvalidSignature if it is of another user than the verified `user` (empty: there is none).
    """
    try:
        data = orjson.loads(channel_data or "")
    except orjson.JSONDecodeError:
        raise InvalidSignature("channel_data is not JSON: a presence channel needs {user_id, user_info?}") from None
    if not isinstance(data, dict):
        raise InvalidSignature("channel_data is no JSON object")
    claimed = data.get("user_id")
    if isinstance(claimed, bool) or not isinstance(claimed, int | str):
        raise InvalidSignature("user_id in channel_data is neither text nor a whole number")
    if user and str(claimed) != user:
        raise InvalidSignature("channel_data is of another user than this session")
    return {"info": data["user_info"]} if data.get("user_info") is not None else {}
