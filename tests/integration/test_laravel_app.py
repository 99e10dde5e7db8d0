"""The Laravel application that the other tests talk to: its contract, and its own half of the signature."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.support.laravel import APP, REQUEST_TIMEOUT_S, LaravelApp, laravel_app
from tests.support.php import run_php

SECRET: Final = "a-secret-of-the-tests-and-of-nothing-else"
VECTORS: Final = Path(__file__).parents[1] / "vectors" / "signing.json"
SESSION: Final = "0192f0c1-7b7a-7c3e-9d3f-5a1c2b3d4e5f"
TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VERIFY: Final = "/api/auth/verify"
HANDLE: Final = "/api/webtransport/handle"
EVENT: Final = "/api/webtransport/event"
AUTHORIZE: Final = "/api/webtransport/authorize"
ECHO: Final = b'{"type": "echo"}'


def signed(
    target: str,
    body: bytes = b"",
    *,
    user: str = "",
    secret: str = SECRET,
    key_id: str = "default",
    age: int = 0,
) -> dict[str, str]:
    """The headers of a signed POST; `age` is in seconds. Written apart from ours, so that it can disagree."""
    timestamp, nonce = str(int(time.time()) - age), secrets.token_hex(16)
    lines = ["v1", "POST", target, timestamp, nonce, SESSION, user, hashlib.sha256(body).hexdigest()]
    digest = hmac.new(secret.encode(), "\n".join(lines).encode(), "sha256").hexdigest()
    headers = {
        "Accept": "application/json",
        "X-Headgate-Key": key_id,
        "X-Headgate-Timestamp": timestamp,
        "X-Headgate-Nonce": nonce,
        "X-Headgate-Signature": f"v1={digest}",
        "X-WebTransport-Session": SESSION,
    }
    return {**headers, "X-User-Id": user} if user else headers


@pytest.fixture
async def app() -> AsyncIterator[LaravelApp]:
    async with laravel_app(SECRET) as running:
        yield running


@pytest.fixture
async def http(app: LaravelApp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=app.url, trust_env=False, timeout=REQUEST_TIMEOUT_S) as client:
        yield client


async def post(http: httpx.AsyncClient, target: str, body: object, *, user: str = "", **headers: str) -> httpx.Response:
    """Send a signed request; `headers` by their names with _ for -."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post(target, content=raw, headers=signed(target, raw, user=user) | extra)


def channel_message(content: str) -> dict[str, Any]:
    return {"type": "channel_message", "channel": "private-room", "data": {"content": content}}


async def test_a_token_says_whose_it_is(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """A token that the application issued verifies to its user, and to an end only when it has one."""
    for_ever, for_an_hour = await app.token("ada"), await app.token("ada", ttl=3600)

    answer = await http.post(VERIFY, headers=signed(VERIFY) | {"Authorization": f"Bearer {for_ever.token}"})
    assert (answer.status_code, answer.json()) == (
        200,
        {"user": {"id": for_ever.user_id, "info": {"name": "ada"}}},
    )

    answer = await http.post(VERIFY, headers=signed(VERIFY) | {"Authorization": f"Bearer {for_an_hour.token}"})
    assert answer.json()["user"]["id"] == for_ever.user_id
    assert answer.json()["expires_at"] == pytest.approx(time.time() + 3600, abs=60)


async def test_a_token_that_is_unknown_or_over_is_nobodys(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """An invented, an expired and a missing token are each answered 401 with a message."""
    expired = await app.token("ada", ttl=-1)
    for headers in ({"Authorization": "Bearer invented"}, {"Authorization": f"Bearer {expired.token}"}, {}):
        answer = await http.post(VERIFY, headers=signed(VERIFY) | headers)
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})


def refused() -> list[tuple[str, dict[str, str], str]]:
    """(what is wrong, headers to send with the body {}, the error that names it)."""
    right = signed(EVENT, b"{}")
    return [
        ("unsigned", {}, "Unknown key"),
        ("unknown key", signed(EVENT, b"{}", key_id="other"), "Unknown key"),
        ("other secret", signed(EVENT, b"{}", secret=SECRET[::-1]), "Invalid signature"),
        ("changed body", signed(EVENT, b"{} "), "Invalid signature"),
        ("changed query", signed(f"{EVENT}?a=1", b"{}"), "Invalid signature"),
        ("changed user", signed(EVENT, b"{}", user="7") | {"X-User-Id": "8"}, "Invalid signature"),
        ("changed session", right | {"X-WebTransport-Session": "another"}, "Invalid signature"),
        ("changed nonce", right | {"X-Headgate-Nonce": "another"}, "Invalid signature"),
        ("no nonce", right | {"X-Headgate-Nonce": ""}, "Invalid nonce"),
        ("no number", right | {"X-Headgate-Timestamp": "1e9"}, "Stale timestamp"),
        ("too old", signed(EVENT, b"{}", age=301), "Stale timestamp"),
        ("from the future", signed(EVENT, b"{}", age=-360), "Stale timestamp"),
    ]


async def test_only_what_the_gateway_signed_is_heard(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """A request whose signature does not cover exactly what was sent, now, is refused and leaves no trace."""
    for wrong, headers, error in refused():
        answer = await http.post(EVENT, content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"error": error}), wrong

    assert await app.events() == []


async def test_a_clock_may_be_some_minutes_off(http: httpx.AsyncClient) -> None:
    """A timestamp less than 300 s away, before or after, is accepted."""
    for age in (240, -240):
        answer = await http.post(HANDLE, content=ECHO, headers=signed(HANDLE, ECHO, age=age))
        assert answer.status_code == 200, age


async def test_a_nonce_counts_once(http: httpx.AsyncClient) -> None:
    """Of the same signed request sent to all workers at once, one is accepted."""
    headers = signed(HANDLE, ECHO)

    answers = await asyncio.gather(*(http.post(HANDLE, content=ECHO, headers=headers) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    assert {answer.json().get("error") for answer in answers} == {None, "Replayed nonce"}


async def test_a_forgery_does_not_use_up_a_nonce(http: httpx.AsyncClient) -> None:
    """A request is accepted although somebody sent its nonce before under a wrong signature."""
    headers = signed(HANDLE, ECHO)
    forged = headers | {"X-Headgate-Signature": "v1=" + "0" * 64}

    assert (await http.post(HANDLE, content=ECHO, headers=forged)).status_code == 401
    assert (await http.post(HANDLE, content=ECHO, headers=headers)).status_code == 200


async def test_the_query_string_is_signed_as_sent(http: httpx.AsyncClient) -> None:
    """A target whose query is neither sorted nor canonical verifies as it stands."""
    target = f"{HANDLE}?z=1&a=%20x&flag&empty="

    answer = await post(http, target, {"type": "private_message"})

    assert (answer.status_code, answer.json()) == (200, {"type": "private_message", "ok": True})


async def test_a_message_is_stored_and_answered_with_a_broadcast(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """A channel message is kept to the last space, with its trace, and its answer is for the channel."""
    ada, content = await app.token("ada"), "  Grüße, 世界 🌊 \n"

    answer = await post(
        http,
        HANDLE,
        channel_message(content),
        user=str(ada.user_id),
        X_Headgate_Event_Id="event-1",
        traceparent=TRACEPARENT,
    )

    (stored,) = await app.messages()
    assert answer.status_code == 200
    assert answer.json() == {
        "broadcast": True,
        "data": {
            "id": stored["id"],
            "user": {"id": ada.user_id, "name": "ada"},
            "content": content,
            "created_at": stored["created_at"],
        },
    }
    assert stored["content"] == content
    assert (stored["event_id"], stored["traceparent"]) == ("event-1", TRACEPARENT)
    assert (stored["session"], stored["channel"]) == (SESSION, "private-room")


async def test_an_event_id_is_applied_once(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """Delivered often and at once, an event id stores one message, and all answers agree."""
    answers = await asyncio.gather(
        *(post(http, HANDLE, channel_message("hello"), X_Headgate_Event_Id="event-1") for _ in range(8))
    )

    (stored,) = await app.messages()
    assert stored["deliveries"] == 8
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {answer.text for answer in answers} == {answers[0].text}


async def test_messages_are_answered_by_their_type(http: httpx.AsyncClient) -> None:
    """An echo comes back byte for byte, a room action without a body, and an unknown type as an error."""
    echo = await post(http, HANDLE, {"type": "echo", "text": " kept ", "empty": {}})
    action = await post(http, HANDLE, {"type": "room_action"})
    unknown = await post(http, HANDLE, {"type": "mystery"})
    broken = await post(http, HANDLE, "no object")

    assert echo.json() == {"type": "echo", "text": " kept ", "empty": {}}
    assert (action.status_code, action.content) == (204, b"")
    assert (unknown.status_code, unknown.json()) == (400, {"error": "Unknown message type"})
    assert broken.status_code == 400


async def test_events_are_kept_in_order(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """Connection events are listed as they were told, with what came along."""
    told = [
        {"event": f"connection.{what}", "data": {"sessionId": SESSION, "userId": None, "timestamp": n}}
        for n, what in enumerate(["opened", "resumed", "closed"])
    ]
    for n, event in enumerate(told):
        answer = await post(http, EVENT, event, X_Headgate_Event_Id=f"event-{n}", traceparent=TRACEPARENT)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    stored = await app.events()
    assert [{"event": row["event"], "data": row["data"]} for row in stored] == told
    assert [row["event_id"] for row in stored] == ["event-0", "event-1", "event-2"]
    assert {row["traceparent"] for row in stored} == {TRACEPARENT}


async def test_a_known_user_may_enter_what_is_not_forbidden(app: LaravelApp, http: httpx.AsyncClient) -> None:
    """Private and presence channels open to a known user alone, unless their name ends in -forbidden."""
    ada = await app.token("ada")

    async def ask(user: str | None, channel: str) -> httpx.Response:
        return await post(http, AUTHORIZE, {"session": SESSION, "user": user, "channel": channel})

    for channel in ("private-orders.7", "presence-room"):
        answer = await ask(str(ada.user_id), channel)
        assert answer.status_code == 200, channel
        assert answer.json() == {"member": {"id": ada.user_id, "info": {"name": "ada"}}}
        assert [(await ask(user, channel)).status_code for user in ("999", None)] == [403, 403], channel
    for channel in ("private-forbidden", "presence-room-forbidden", "orders.7"):
        assert (await ask(str(ada.user_id), channel)).status_code == 403, channel


async def test_it_can_be_taken_away_and_brought_back(app: LaravelApp) -> None:
    """Stopped it refuses connections; started again it is at the same address and has kept what it stored."""
    await app.token("ada")
    before = await app.token("bob")

    await app.stop()
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(app.url)
    await app.start()

    assert (await app.token("bob")).user_id == before.user_id


async def test_php_signs_the_vectors() -> None:
    """The application's own signing class agrees with every shared vector."""
    vectors = json.loads(VECTORS.read_text())["vectors"]

    signed_by_php = json.loads(await run_php("bin/sign-vectors.php", str(VECTORS), cwd=APP))

    assert signed_by_php == [{key: v[key] for key in ("name", "canonical", "signature")} for v in vectors]
    assert len(vectors) >= 6
