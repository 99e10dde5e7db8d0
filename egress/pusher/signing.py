"""How requests to Pusher's API are signed.

HMAC-SHA-256 over three lines: method, path, and the query without the signature, sorted and not escaped. The query has
the MD5 of the body. Source: https://pusher.com/docs/channels/library_auth_reference/rest-api/#authentication
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from schemas.errors import InvalidSignature
from schemas.signing import MIN_SECRET_BYTES

#: How far a timestamp may be from the verifier's clock, in seconds.
TOLERANCE_S: Final = 600
_MAX_PARAMETERS: Final = 32
_REQUIRED: Final = ("auth_key", "auth_timestamp", "auth_version", "auth_signature")


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that was signed with the secret of `key_id`. The same request in the same second has the same one."""

    key_id: str
    signature: str
    """64 hexadecimal digits."""


def canonical(method: str, path: str, parameters: Mapping[str, str]) -> bytes:
    """The bytes that are signed."""
    signed = {name.lower(): value for name, value in parameters.items() if name != "auth_signature"}
    query = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
    return f"{method.upper()}\n{path}\n{query}".encode()


def signature(secret: bytes, message: bytes) -> str:
    """The value of `auth_signature`."""
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def verify(secrets: Mapping[str, bytes], method: str, path: str, query: str, body: bytes, *, now: int) -> Signed:
    """Check a request; `path` and `query` are as sent, `now` is in seconds. Raises InvalidSignature.

    `secrets` maps a key to its secret.
    """
    parameters = _parameters(query)
    if missing := [name for name in _REQUIRED if not parameters.get(name)]:
        raise InvalidSignature(f"the request is not signed: the query has no {missing[0]}")
    if parameters["auth_version"] != "1.0":
        raise InvalidSignature("auth_version is not 1.0: no other is known")
    key, timestamp, given = (parameters[name] for name in ("auth_key", "auth_timestamp", "auth_signature"))
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise InvalidSignature("auth_timestamp is not a number of seconds")
    if abs(now - int(timestamp)) > TOLERANCE_S:
        raise InvalidSignature(f"auth_timestamp is more than {TOLERANCE_S} s away: check both clocks")
    secret = secrets.get(key)
    # Libraries sign the path as they were given it, which may have been escaped since.
    expected = [
        # An unknown key costs the same as a wrong signature.
        signature(secret or b"\0" * MIN_SECRET_BYTES, canonical(method, form, parameters))
        for form in dict.fromkeys((path, unquote(path)))
    ]
    if not any(_same(one, given) for one in expected) or secret is None:
        raise InvalidSignature("auth_signature does not match: compare key, secret and the signed string")
    if body and not _same(hashlib.md5(body, usedforsecurity=False).hexdigest(), parameters.get("body_md5", "")):
        raise InvalidSignature("body_md5 is not that of the body")
    return Signed(key, given)


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError as error:
        raise InvalidSignature("the query cannot be read") from error
    parameters = dict(pairs)
    # Names are signed in lower case: two that differ in that alone would let the one be signed and the other be read.
    if len({name.lower() for name in parameters}) != len(pairs):
        raise InvalidSignature("a parameter is in the query twice")
    return parameters


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))
