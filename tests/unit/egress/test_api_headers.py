"""Which headers answers have, and which pages may read them."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from egress.api.headers import with_headers

ORIGIN = "https://tools.example"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-headgate-key,content-type"}


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    """The door, to those without a signature."""
    await PlainTextResponse("no", 401)(scope, receive, send)


def client(*origins: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(with_headers(refusing, origins))
    return httpx.AsyncClient(transport=transport, base_url="http://api")


def cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def test_by_default_no_page_may_read_anything() -> None:
    """Without configured origins there is no CORS header, and a preflight is refused like any unsigned request."""
    async with client() as http:
        for answer in (
            await http.get("/sessions", headers={"Origin": ORIGIN}),
            await http.options("/sessions", headers={"Origin": ORIGIN} | ASKS),
        ):
            assert answer.status_code == 401
            assert cors(answer) == {}


async def test_every_answer_has_the_headers_of_one_that_no_page_is_made_of() -> None:
    """Also one that refuses."""
    async with client() as http:
        headers = (await http.get("/")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_a_configured_origin_may_ask_and_read() -> None:
    """Its preflight is answered with what it may send; answers name it, and never allow cookies."""
    async with client(ORIGIN) as http:
        preflight = await http.options("/send-to-user", headers={"Origin": ORIGIN} | ASKS)
        answer = await http.post("/send-to-user", headers={"Origin": ORIGIN})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Headgate-Signature" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["x-content-type-options"] == "nosniff"
    assert answer.status_code == 401
    assert cors(answer) == {
        "access-control-allow-origin": ORIGIN,
        "access-control-expose-headers": "Retry-After",
    }
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://tools.example.evil", "http://tools.example", "https://tools.example:8443", "null"]
)
async def test_any_other_origin_may_not(origin: str) -> None:
    """Origins are compared whole."""
    async with client(ORIGIN) as http:
        preflight = await http.options("/sessions", headers={"Origin": origin} | ASKS)
        answer = await http.get("/sessions", headers={"Origin": origin})
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answer.headers


async def test_any_origin_where_it_is_configured() -> None:
    """`*` is for all, without cookies."""
    async with client("*") as http:
        answer = await http.get("/sessions", headers={"Origin": "https://anywhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
