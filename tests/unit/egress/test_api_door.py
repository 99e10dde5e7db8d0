"""The door of the API: nothing unsigned, repeated or oversized comes through."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from redis.exceptions import ConnectionError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from egress.api.admission import Admission, NonceUsed, TooManyRequests
from egress.api.bodies import MAX_BODY
from egress.api.signed import SignedRequests
from schemas.signing import Signer, Verifier

SECRET, OLD_SECRET = b"s" * 32, b"o" * 32
NOW = int(time.time())


class Guests(Admission):
    """Who was let in, without Redis."""

    def __init__(self) -> None:
        self.admitted: list[tuple[str, str | None]] = []
        self.away = False
        self.wait = 0

    async def admit(self, key_id: str, nonce: str | None) -> None:
        if self.away:
            raise ConnectionError("away")
        if (key_id, nonce) in self.admitted:
            raise NonceUsed("the nonce was used before")
        self.admitted.append((key_id, nonce))
        if self.wait:
            raise TooManyRequests(self.wait)


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    """Says who came through the door and with what."""
    request = Request(scope, receive)
    body = await request.body()
    answer = {"key": getattr(request.state, "key_id", None), "body": body.decode("latin-1")}
    await JSONResponse(answer)(scope, receive, send)


class Door:
    """A client in front of the door."""

    def __init__(self) -> None:
        self.guests = Guests()
        app = SignedRequests(
            inside,
            admission=self.guests,
            verifier=Verifier({"default": SECRET, "old": OLD_SECRET}),
            now=lambda: NOW,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    async def post(
        self, target: str = "/a?b=c%20d", body: bytes = b"{}", *, sent: bytes | None = None, **changes: Any
    ) -> httpx.Response:
        """A signed POST; `sent` is the body that goes out, `changes` are to the headers (None: left out)."""
        signer = Signer("default", SECRET)
        headers: dict[str, Any] = dict(signer.headers("POST", target, body, timestamp=NOW, nonce="n1"))
        for name, value in changes.items():
            headers[f"X-Headgate-{name.capitalize()}"] = value
        headers = {name: value for name, value in headers.items() if value is not None}
        return await self.client.post(target, content=body if sent is None else sent, headers=headers)


@pytest.fixture
def door() -> Door:
    return Door()


async def test_a_signed_request_comes_through_whole(door: Door) -> None:
    """The application behind the door gets the body as sent and knows which key signed it."""
    answer = await door.post(body=b'{"a": 1}')
    assert (answer.status_code, answer.json()) == (200, {"key": "default", "body": '{"a": 1}'})
    assert door.guests.admitted == [("default", "n1")]


async def test_a_previous_key_still_verifies(door: Door) -> None:
    """A request signed with a key that only verifies is let in."""
    headers = Signer("old", OLD_SECRET).headers("GET", "/sessions", b"", timestamp=NOW, nonce="n")
    assert (await door.client.get("/sessions", headers=headers)).json()["key"] == "old"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signature": None}, "not signed"),
        ({"nonce": None}, "not signed"),
        ({"key": "other"}, "does not match"),
        ({"signature": "v1=" + "0" * 64}, "does not match"),
        ({"nonce": "n2"}, "does not match"),
        ({"timestamp": str(NOW - 301)}, "300 s away"),
        ({"timestamp": str(NOW + 301)}, "300 s away"),
        ({"timestamp": "soon"}, "not a number"),
        ({"nonce": "n" * 200}, "too long"),
        ({"sent": b"{ }"}, "does not match"),
    ],
)
async def test_a_wrong_signature_is_named_and_uses_nothing_up(door: Door, changes: dict[str, Any], words: str) -> None:
    """401 with the reason; nonce and requests of the key are as before: only who has the secret can use them up."""
    answer = await door.post(**changes)
    assert answer.status_code == 401
    assert words in answer.json()["error"]
    assert door.guests.admitted == []


async def test_the_query_string_is_signed(door: Door) -> None:
    """A signature for one target is none for another."""
    headers = Signer("default", SECRET).headers("GET", "/sessions?limit=1", b"", timestamp=NOW, nonce="n")
    assert (await door.client.get("/sessions?limit=2", headers=headers)).status_code == 401
    assert (await door.client.get("/sessions?limit=1", headers=headers)).status_code == 200


async def test_a_nonce_works_once(door: Door) -> None:
    """A replayed request is refused."""
    assert (await door.post()).status_code == 200
    answer = await door.post()
    assert answer.status_code == 401
    assert "nonce" in answer.json()["error"]


async def test_a_key_that_has_had_its_requests_is_told_when_to_come_again(door: Door) -> None:
    """429 with the seconds to wait."""
    door.guests.wait = 7
    answer = await door.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert "try again in 7 s" in answer.json()["error"]


async def test_no_redis_no_entry(door: Door) -> None:
    """When nonces cannot be checked nobody comes in, and the caller is told when to try again."""
    door.guests.away = True
    answer = await door.post()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_the_longest_body_is_let_in_and_one_byte_more_is_not(door: Door) -> None:
    """413 from the declared length alone, before the signature is looked at."""
    assert (await door.post(body=b"x" * MAX_BODY)).status_code == 200
    answer = await door.post(body=b"", sent=b"x" * (MAX_BODY + 1))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


async def test_a_body_without_a_length_is_cut_off(door: Door) -> None:
    """Of a chunked body no more than the limit and one chunk is taken."""
    taken = 0

    async def chunks() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 65_536
            yield b"x" * 65_536

    answer = await door.client.post("/a", content=chunks())
    assert answer.status_code == 413
    assert taken <= MAX_BODY + 2 * 65_536


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_monitoring_needs_no_signature(door: Door, path: str) -> None:
    """Health and metrics are open, and nothing beside them is."""
    assert (await door.client.get(path)).status_code == 200
    assert (await door.client.get(f"{path}/more")).status_code == 401
