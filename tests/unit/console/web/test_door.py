"""What passes the door of the web console."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from console.web.access import COOKIE, Access
from console.web.door import FORM_KEY, MAX_FORM, PUBLIC, SECURITY_HEADERS, Door, peer_of
from runtime.settings import Settings

SECRET = "a secret of at least thirty-two bytes"
HERE = {"Sec-Fetch-Site": "same-origin"}


class World:
    """A door before an application that answers everything."""

    def __init__(self, http: httpx.AsyncClient, access: Access, door: Door) -> None:
        self.http = http
        self.door = door
        self.access = access
        self.key = ""

    def sign_in(self, name: str) -> None:
        """Become one of the two."""
        cookie = self.access.sign_in(f"{SECRET} {name}", "127.0.0.1")
        self.http.cookies.set(COOKIE, cookie)
        visitor = self.access.visitor("", lambda _: [], {COOKIE: cookie})
        assert visitor is not None
        self.key = self.access.form_key(visitor)

    async def post(self, path: str, key: str = "", headers: dict[str, str] = HERE) -> int:
        """Send a form with a key; gives the status."""
        return (await self.http.post(path, data={FORM_KEY: key}, headers=headers)).status_code


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    visitor = scope["state"]["visitor"]
    await PlainTextResponse(f"inside {visitor and visitor.operator.name}")(scope, receive, send)


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An operator ada and a viewer grace."""
    tokens = f"ada:operator:{SECRET} ada,grace:viewer:{SECRET} grace"
    access = Access(Settings(_env_file=None, console_tokens=tokens), lambda: 0.0)
    door = Door(inside, access, lambda _, status, words: PlainTextResponse(words, status))
    transport = httpx.ASGITransport(door, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as http:
        yield World(http, access, door)


async def test_nothing_is_shown_to_whoever_is_not_known(world: World) -> None:
    """Every path but the public ones leads to the sign-in, and back afterwards."""
    for path in ("/dead", "/no/such/page", "/live/overview", "/docs", "/openapi.json", "/staticx"):
        answer = await world.http.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["Location"] == f"/sign-in?next={path}"
    assert (await world.http.get("/")).headers["Location"] == "/sign-in"
    assert (await world.http.get("/dead?group=a&after=b")).headers[
        "Location"
    ] == "/sign-in?next=/dead%3Fgroup%3Da%26after%3Db"
    for path in PUBLIC:
        assert (await world.http.get(path)).text == "inside None"
    world.sign_in("grace")
    assert (await world.http.get("/dead")).text == "inside grace"


@pytest.mark.parametrize(
    ("path", "host"), [("/dead", b"x/static/?"), ("/dead", b"x/static/#"), ("/dead", b"["), ("/sta\ntic/x", b"console")]
)
async def test_the_door_and_the_routes_go_by_the_same_path(world: World, path: str, host: bytes) -> None:
    """Neither a `Host` nor characters that a URL cannot have make another path public."""
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", host)],
        "server": None,
        "state": {},
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await world.door(scope, receive, send)
    assert sent[0]["status"] == 303


async def test_the_way_back_is_the_path_that_was_asked_for(world: World) -> None:
    """Also one with characters that would end it."""
    answer = await world.http.get("/channels/a%23b%3Fc")
    assert answer.headers["Location"] == "/sign-in?next=/channels/a%2523b%253Fc"


async def test_a_part_of_a_page_is_not_replaced_by_the_sign_in(world: World) -> None:
    """What a page asks for in the background makes it load anew when the sign-in has ended."""
    answer = await world.http.get("/live/overview", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (401, "true")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_whoever_is_not_known_changes_nothing(world: World, method: str) -> None:
    """Whatever the method and the path."""
    answer = await world.http.request(method, "/dead", headers=HERE)
    assert answer.status_code == 401


async def test_forms_carry_the_key_of_their_sign_in(world: World) -> None:
    """Without it, and with that of another sign-in, nothing is done."""
    world.sign_in("ada")
    former = world.key
    assert await world.post("/dead") == 403
    assert await world.post("/dead", former) == 200
    world.sign_in("ada")
    assert await world.post("/dead", former) == 403


async def test_forms_of_other_sites_are_refused(world: World) -> None:
    """By what the browser says, also where the key is right; the sign-in too."""
    world.sign_in("ada")
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://console.evil.example"},
        {"Origin": "http://["},
        {"Origin": "console"},
    ):
        assert await world.post("/dead", world.key, headers) == 403, headers
        assert await world.post("/sign-in", world.key, headers) == 403, headers
    assert await world.post("/dead", world.key, {"Origin": "http://console"}) == 200


async def test_who_only_looks_operates_nothing(world: World) -> None:
    """A viewer may sign out, and that is all."""
    world.sign_in("grace")
    for path in ("/dead", "/users/disconnect", "/sessions/a/disconnect", "/whatever/comes"):
        assert await world.post(path, world.key) == 403
    assert await world.post("/sign-out", world.key) == 200


async def test_forms_are_bounded(world: World) -> None:
    """A long body, many fields and other bytes are refused before anything is made of them."""
    world.sign_in("ada")
    for body in (b"a=" + b"x" * MAX_FORM, b"a=1&" * 500, b"\xff=1"):
        answer = await world.http.post("/dead", content=body, headers=HERE)
        assert answer.status_code == 413


async def test_every_answer_has_the_policy(world: World) -> None:
    """Pages, refusals and files; pages are not stored."""
    world.sign_in("ada")
    for path in ("/", "/sign-in", "/static/base.css"):
        answer = await world.http.get(path)
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert answer.headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_the_peer_is_who_connected() -> None:
    """Not whom a header names."""
    scope = {"type": "http", "client": ("192.0.2.1", 1), "headers": [(b"x-forwarded-for", b"10.0.0.5")]}
    assert peer_of(Request(scope)) == "192.0.2.1"
