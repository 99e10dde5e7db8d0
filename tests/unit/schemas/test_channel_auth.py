"""What the application signs to let one session into one channel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.channel_auth import ChannelVerifier, channel_auth, member_of
from schemas.errors import InvalidSignature
from schemas.socket_ids import session_of, socket_id

FILE: Final = Path(__file__).parents[2] / "vectors" / "channel_auth.json"
VECTORS: Final[list[dict[str, Any]]] = json.loads(FILE.read_text("utf-8"))["cases"]
SESSION: Final = "0192f0c1-7b7a-7c3e-9d3f-5a1c2b3d4e5f"
SECRET: Final = b"a-secret-of-the-tests-and-of-nothing-else"
VERIFIER: Final = ChannelVerifier({"default": SECRET, "former": b"another-secret-that-only-verifies-by-now"})


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["name"]))
def test_signatures_agree_with_the_vectors(vector: dict[str, Any]) -> None:
    """Pusher's own examples among them; a session is known by either of its names."""
    key, secret, socket = vector["key"], vector["secret"].encode(), vector["socket_id"]
    channel, data = vector["channel"], vector["channel_data"]
    assert channel_auth(key, secret, socket, channel, data) == vector["auth"]
    ChannelVerifier({key: secret}).verify(vector["auth"], session_of(socket) or socket, channel, data)


def test_keys_that_only_verify_do() -> None:
    """After a change of the secret, pages have signatures of the one before."""
    auth = channel_auth("former", VERIFIER.secrets["former"], socket_id(SESSION), "private-a")
    VERIFIER.verify(auth, SESSION, "private-a", None)


@pytest.mark.parametrize(
    "auth",
    [
        "",
        ":",
        "default",
        "default:",
        channel_auth("default", SECRET, SESSION, "private-b"),
        channel_auth("default", SECRET, "0192f0c1-7b7a-7c3e-9d3f-000000000000", "private-a"),
        channel_auth("default", SECRET, SESSION, "private-a", "{}"),
        channel_auth("unknown", b"\0" * 32, SESSION, "private-a"),
        channel_auth("former", SECRET, SESSION, "private-a"),
        channel_auth("default", SECRET, SESSION, "private-a").upper(),
        "default:ü" + channel_auth("default", SECRET, SESSION, "private-a"),
    ],
)
def test_what_was_signed_for_something_else_opens_nothing(auth: str) -> None:
    """Another channel, session, channel_data or key; a key that is unknown; no signature at all."""
    with pytest.raises(InvalidSignature):
        VERIFIER.verify(auth, SESSION, "private-a", None)


@pytest.mark.parametrize(
    ("data", "user", "told"),
    [
        ('{"user_id":7,"user_info":{"name":"Ada"}}', "7", {"info": {"name": "Ada"}}),
        ('{"user_id":"7"}', "7", {}),
        ('{"user_id":7,"user_info":null}', "7", {}),
        ('{"user_id":"7","user_info":"Ada"}', "", {"info": "Ada"}),
    ],
)
def test_members_are_told_of_by_what_was_signed(data: str, user: str, told: dict[str, Any]) -> None:
    """Others see the `user_info` that the application signed; the id is not taken from there."""
    assert member_of(data, user) == told


@pytest.mark.parametrize(
    "data",
    [None, "", "no JSON", "[7]", "{}", '{"user_id":true}', '{"user_id":7.0}', '{"user_id":8}', '{"user_id":"07"}'],
)
def test_nobody_is_present_as_somebody_else(data: str | None) -> None:
    """channel_data without a user, or with another than the verified one."""
    with pytest.raises(InvalidSignature):
        member_of(data, "7")
