"""The stand-in application answers as Laravel would, and only to whom Laravel would."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from console.standin.app import stand_in_app
from console.standin.rules import CONTENT_LIMIT, Bounded
from console.standin.tokens import LIFETIME_S, Tokens, User
from runtime.settings import Settings
from schemas.signing import Signer

NOW = 1_700_000_000
SECRET = "a-secret-that-is-long-enough-to-be-one"


class Gateway:
    """Calls the stand-in as Headgate does."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.now = NOW
        self._nonces = (f"nonce-{number}" for number in itertools.count())

    async def post(
        self,
        path: str,
        body: Any = None,
        *,
        secret: str = SECRET,
        event_id: str = "",
        user: str = "",
        **headers: str,
    ) -> httpx.Response:
        """A signed request; `headers` replace those of the signature."""
        raw = b"" if body is None else orjson.dumps(body)
        signed = Signer("default", secret.encode()).headers(
            "POST", path, raw, timestamp=self.now, nonce=next(self._nonces), user=user
        )
        extra = {"Content-Type": "application/json", "X-Headgate-Event-Id": event_id}
        return await self.http.post(path, content=raw, headers=signed | extra | headers)

    async def login(self, name: str) -> dict[str, Any]:
        """The answer to a login."""
        answer = await self.http.post("/api/demo/token", json={"name": name})
        assert answer.status_code == 200
        return dict(answer.json())

    async def say(self, user: str, content: Any, event_id: str = "") -> httpx.Response:
        """A channel message of `user`."""
        body = {"type": "channel_message", "channel": "presence-lobby", "data": {"content": content}}
        return await self.post("/api/webtransport/handle", body, user=user, event_id=event_id)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A caller whose clock the stand-in shares."""
    settings = Settings(secret=SecretStr(SECRET))
    app = stand_in_app(settings, lambda: caller.now)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stand-in.test") as client:
        caller = Gateway(client)
        yield caller


async def test_it_says_what_it_is(gateway: Gateway) -> None:
    """It never passes for Laravel: its health, its logins and a header of every answer say so."""
    health = await gateway.http.get("/health")
    assert "not Laravel" in health.json()["application"]
    assert health.headers["X-Headgate-Application"] == "stand-in"
    assert (await gateway.login("Ada"))["application"] == "stand-in"


async def test_a_login_is_verified(gateway: Gateway) -> None:
    """The token of a login verifies as that user, with its end in seconds."""
    login = await gateway.login("  Ada   Lovelace ")
    answer = await gateway.post("/api/auth/verify", Authorization=f"Bearer {login['token']}")
    assert answer.status_code == 200
    assert answer.json() == {
        "user": {"id": login["user"]["id"], "info": {"name": "Ada Lovelace"}},
        "expires_at": NOW + LIFETIME_S,
    }


async def test_the_same_name_is_the_same_user(gateway: Gateway) -> None:
    """A second login under a name gives the same id; another name gives another."""
    ids = [(await gateway.login(name))["user"]["id"] for name in ("Ada", "ada", "Bob")]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\x00b", "a\u202eb"])
async def test_a_name_has_bounds(gateway: Gateway, name: str) -> None:
    """A name that is empty, too long or would not show is refused."""
    assert (await gateway.http.post("/api/demo/token", json={"name": name})).status_code == 422


@pytest.mark.parametrize("token", ["", "x", "demo.e30", "demo.e30.00", "demo.!.x", "a.b.c.d"])
async def test_a_made_up_token_is_refused(gateway: Gateway, token: str) -> None:
    """What was not issued here is 401, whatever it looks like."""
    answer = await gateway.post("/api/auth/verify", Authorization=f"Bearer {token}")
    assert answer.status_code == 401


def test_tokens_end_and_cannot_be_changed() -> None:
    """A token ends after an hour; one with another payload or of another secret is not read."""
    tokens, user = Tokens(SECRET.encode()), User.named("Ada")
    token = tokens.issue(user, NOW)
    assert tokens.read(token, NOW + LIFETIME_S - 1) == (user, NOW + LIFETIME_S)
    assert tokens.read(token, NOW + LIFETIME_S) is None
    kind, payload, mac = token.split(".")
    other = tokens.issue(User.named("Bob"), NOW).split(".")[1]
    assert tokens.read(f"{kind}.{other}.{mac}", NOW) is None
    assert tokens.read(f"{kind}.{payload}.{mac[:-1]}", NOW) is None
    assert Tokens(b"another-secret").read(token, NOW) is None
    assert tokens.read(f"{kind}.\u00e9.\u00e9", NOW) is None


SIGNED_ROUTES = [
    "/api/auth/verify",
    "/api/webtransport/handle",
    "/api/webtransport/event",
    "/api/webtransport/authorize",
]


@pytest.mark.parametrize("path", SIGNED_ROUTES)
async def test_every_route_of_headgate_is_signed(gateway: Gateway, path: str) -> None:
    """A request without signature, with another secret's, too old, or for another body is 401."""
    body = {
        "type": "x",
        "event": "connection.opened",
        "data": {},
        "session": "s",
        "user": "u",
        "channel": "private-a",
    }
    bad = [
        await gateway.http.post(path, json=body),
        await gateway.post(path, body, secret="another-secret-that-is-long-enough-too"),
        await gateway.post(path, body, **{"X-Headgate-Timestamp": str(NOW - 301)}),
        await gateway.post(f"{path}?a=1", body, **{"X-User-Id": "somebody"}),
    ]
    assert [answer.status_code for answer in bad] == [401] * 4
    assert "signature" in bad[1].json()["message"]


async def test_a_request_is_taken_once(gateway: Gateway) -> None:
    """The same signed request a second time is 401: its nonce was used."""
    raw = orjson.dumps({"type": "hello"})
    headers = Signer("default", SECRET.encode()).headers(
        "POST", "/api/webtransport/handle", raw, timestamp=NOW, nonce="once"
    )
    answers = [await gateway.http.post("/api/webtransport/handle", content=raw, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 401]


async def test_a_message_is_broadcast_with_its_author(gateway: Gateway) -> None:
    """A channel message comes back to be broadcast: trimmed, with its author's name and the time."""
    user = (await gateway.login("Ada"))["user"]
    answer = (await gateway.say(user["id"], "  hello \n", event_id="e1")).json()
    assert answer == {
        "broadcast": True,
        "data": {
            "id": "e1",
            "user": {"id": user["id"], "name": "Ada"},
            "content": "hello",
            "created_at": "2023-11-14T22:13:20.000+00:00",
        },
    }


async def test_a_message_is_capped(gateway: Gateway) -> None:
    """A long message is cut, not refused."""
    answer = await gateway.say("u", "x" * (CONTENT_LIMIT + 1))
    assert len(answer.json()["data"]["content"]) == CONTENT_LIMIT


@pytest.mark.parametrize("content", [None, "", "  ", 7, ["a"]])
async def test_a_message_needs_content(gateway: Gateway, content: Any) -> None:
    """Content that is missing, empty or no text is 422."""
    assert (await gateway.say("u", content)).status_code == 422


async def test_a_redelivered_message_is_handled_once(gateway: Gateway) -> None:
    """The second delivery of an event id gets the first one's answer, however late."""
    first = (await gateway.say("u", "hello", event_id="e1")).json()
    gateway.now += 100
    assert (await gateway.say("u", "hello", event_id="e1")).json() == first
    assert (await gateway.say("u", "hello", event_id="e2")).json()["data"]["id"] == "e2"


async def test_other_types_are_echoed(gateway: Gateway) -> None:
    """A message of any other type comes back inside an echo; a body that is no object is 422."""
    answer = await gateway.post("/api/webtransport/handle", {"type": "position", "x": 1})
    assert answer.json() == {
        "type": "echo",
        "application": "stand-in",
        "received": {"type": "position", "x": 1},
    }
    assert (await gateway.post("/api/webtransport/handle", [1])).status_code == 422


async def test_events_are_accepted(gateway: Gateway) -> None:
    """A connection event is 2xx."""
    body = {"event": "connection.opened", "data": {"sessionId": "s"}}
    assert (await gateway.post("/api/webtransport/event", body, event_id="e1")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("channel", "known", "status"),
    [
        ("presence-lobby", True, 200),
        ("private-room", True, 200),
        ("private-forbidden", True, 403),
        ("presence-lobby", False, 403),
        ("public", True, 403),
        ("other:prefix", True, 403),
    ],
)
async def test_channels_are_for_known_users(gateway: Gateway, channel: str, known: bool, status: int) -> None:
    """Known users may join private and presence channels, but none that ends in -forbidden; nobody else may."""
    user = (await gateway.login("Ada"))["user"]["id"] if known else "nobody"
    body = {"session": "s", "user": user, "channel": channel}
    answer = await gateway.post("/api/webtransport/authorize", body)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"member": {"id": user, "info": {"name": "Ada"}}}


def test_memory_is_bounded() -> None:
    """A bounded map forgets its oldest entry first."""
    remembered: Bounded[int, str] = Bounded(2)
    for number in range(3):
        remembered[number] = "x"
    assert list(remembered) == [1, 2]
