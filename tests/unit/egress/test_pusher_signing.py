"""Requests signed as Pusher's libraries sign them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import pytest

from egress.pusher.signing import TOLERANCE_S, Signed, canonical, signature, verify
from schemas.errors import InvalidSignature

FILE: Final[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors" / "pusher.json").read_text("utf-8"))
NOW: Final[int] = FILE["now"]
SECRETS: Final = {"key": b"s" * 32, "old": b"o" * 32}


def signed(body: bytes = b"{}", *, path: str = "/apps/3/events", key: str = "key", **changes: str | None) -> str:
    """The query of a signed POST; `changes` are to its parameters before it is signed, None leaves one out."""
    parameters: dict[str, str | None] = {
        "auth_key": key,
        "auth_timestamp": str(NOW),
        "auth_version": "1.0",
        "body_md5": hashlib.md5(body).hexdigest(),
        **changes,
    }
    there = {name: value for name, value in parameters.items() if value is not None}
    made = signature(SECRETS.get(key, b"other"), canonical("POST", path, there))
    return urlencode(there | {"auth_signature": made})


def check(query: str, body: bytes = b"{}", *, method: str = "POST", path: str = "/apps/3/events") -> Signed:
    return verify(SECRETS, method, path, query, body, now=NOW)


@pytest.mark.parametrize("vector", FILE["vectors"], ids=lambda one: one["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """The signed text, its signature, and that the request is let in; that of the first is in Pusher's own words."""
    parameters = dict(parse_qsl(vector["query"]))
    path = vector["canonical"].split("\n")[1]
    assert canonical(vector["method"], path, parameters).decode() == vector["canonical"]
    assert signature(vector["secret"].encode(), vector["canonical"].encode()) == vector["signature"]
    secrets = {vector["key"]: vector["secret"].encode()}
    body = vector["body"].encode()
    found = verify(secrets, vector["method"], vector["path"], vector["query"], body, now=NOW)
    assert found == Signed(vector["key"], vector["signature"])
    with pytest.raises(InvalidSignature):
        verify(secrets, vector["method"], vector["path"], vector["query"], body + b" ", now=NOW)


def test_the_key_that_signed_is_known() -> None:
    """A previous key verifies as well, and a request says which it was."""
    assert check(signed(key="old")).key_id == "old"


@pytest.mark.parametrize("away", [-TOLERANCE_S, TOLERANCE_S])
def test_a_clock_may_be_ten_minutes_away(away: int) -> None:
    """As far as that and not a second more, either way."""
    assert check(signed(auth_timestamp=str(NOW + away)))
    further = NOW + away + (1 if away > 0 else -1)
    with pytest.raises(InvalidSignature, match="600 s away"):
        check(signed(auth_timestamp=str(further)))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "no auth_key"),
        (signed(auth_timestamp=None), "no auth_timestamp"),
        (signed(auth_timestamp="soon"), "not a number"),
        (signed(auth_timestamp="9" * 4000), "not a number"),
        (signed(auth_timestamp="\u0661"), "not a number"),
        (signed(auth_version="2.0"), "auth_version"),
        (signed(key="stranger"), "does not match"),
        (signed().replace("auth_signature=", "auth_signature=0"), "does not match"),
        (signed().partition("&auth_signature")[0], "no auth_signature"),
        (signed() + "&auth_signature=%C3%A9", "twice"),
        (signed() + "&AUTH_TIMESTAMP=1", "twice"),
        (signed() + "&info=user_count", "does not match"),
        (signed(body_md5=None), "body_md5"),
        (signed(body_md5="\u00e9"), "body_md5"),
        (signed() + "&a=%FF", "cannot be read"),
        (signed() + "&a=b" * 40, "cannot be read"),
    ],
)
def test_a_wrong_signature_is_named(query: str, words: str) -> None:
    """What is missing, stale or wrong is said, whatever is in the query."""
    with pytest.raises(InvalidSignature, match=words):
        check(query)


def test_a_signature_is_of_what_is_read() -> None:
    """One that was seen cannot be given another time and body, with its own under names in capitals."""
    was = dict(parse_qsl(signed()))
    body = b'{"evil":1}'
    names = {"AUTH_TIMESTAMP": was.pop("auth_timestamp"), "BODY_MD5": was.pop("body_md5")}
    now = {"auth_timestamp": str(NOW + 3600), "body_md5": hashlib.md5(body, usedforsecurity=False).hexdigest()}
    with pytest.raises(InvalidSignature, match="twice"):
        verify(SECRETS, "POST", "/apps/3/events", urlencode(now | was | names), body, now=NOW + 3600)


def test_method_path_and_body_are_signed() -> None:
    """A signature for one request is none for another."""
    query = signed()
    for method, path, body in (
        ("GET", "/apps/3/events", b"{}"),
        ("POST", "/apps/3/batch_events", b"{}"),
        ("POST", "/apps/3/events", b"{} "),
    ):
        with pytest.raises(InvalidSignature):
            check(query, body, method=method, path=path)
