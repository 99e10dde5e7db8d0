"""What the application takes away is away on every gateway within a second: channels and whole sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.channel_auth import channel_auth
from tests.support.client import Client
from tests.support.laravel import REQUEST_TIMEOUT_S, Login
from tests.support.system import SECRET, System, system
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = "presence-taken"
WITHIN_S = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """Two gateways and everything behind them."""
    async with system(gateways=2) as made:
        yield made


async def entered(stack: AsyncExitStack, running: System, login: Login, gateway: int) -> Client:
    client = await stack.enter_async_context(running.client(gateway))
    await client.authenticate(login.token)
    return client


async def heard(running: System, session: str) -> list[tuple[str, str | None]]:
    rows = [row for row in await running.laravel.events() if row["data"]["sessionId"] == session]
    return [(row["event"], row["data"].get("reason")) for row in rows]


async def _times(waits: list[Any]) -> tuple[list[Any], float]:
    """What was waited for, and how long that took from now (s)."""
    began = time.monotonic()
    found = await asyncio.gather(*waits)
    return list(found), time.monotonic() - began


async def test_a_channel_is_taken_away_from_a_user_everywhere(running: System) -> None:
    """Both sessions are told why, nothing that they send comes through, and others see the user leave."""
    login, other = await running.laravel.token("taken"), await running.laravel.token("other")
    async with AsyncExitStack() as stack:
        watcher = await entered(stack, running, other, 0)
        clients = [await entered(stack, running, login, 0), await entered(stack, running, login, 1)]
        for client in (watcher, *clients):
            assert (await client.subscribe(ROOM))["type"] == "subscribed"
        order = {"userId": login.user_id, "channel": ROOM, "reason": "out"}
        (posted, *frames), took = await _times(
            [running.post("/unsubscribe", order), *(client.wait_type("unsubscribed") for client in clients)]
        )
        assert posted.json()["success"] is True
        assert frames == [{"type": "unsubscribed", "channel": ROOM, "reason": "revoked", "message": "out"}] * 2
        assert took < WITHIN_S * PATIENCE
        assert (await watcher.wait_type("presence", channel=ROOM))["joined"]["id"] == str(login.user_id)
        assert (await watcher.wait_type("presence", channel=ROOM))["left"]["id"] == str(login.user_id)
        for client in clients:
            refused = await client.ask({"type": "client-hi", "channel": ROOM, "data": 1})
            assert refused["code"] == 104
            client.datagram({"type": "cursor", "channel": ROOM, "x": 1})
        await running.post("/broadcast-to-channel", {"channel": ROOM, "message": "after"})
        await watcher.wait_type("channel_broadcast")
        await running.settled()
        for client in clients:
            assert [one for one in client.received if one.get("type") in ("channel_broadcast", "unsubscribed")] == []
            ends = [one for one in await heard(running, client.session) if one[0] == "connection.unsubscribed"]
            assert ends == [("connection.unsubscribed", "revoked")]


async def test_a_session_comes_back_without_what_was_taken_away_meanwhile(running: System) -> None:
    """Its connection broke, the application took a channel away: resuming brings back the others alone."""
    login = await running.laravel.token("back")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(running.party("websocket", 0))
        success = await client.authenticate(login.token)
        room = "private-taken"
        signed = channel_auth("default", SECRET.encode(), client.session, room)
        assert (await client.ask({"type": "subscribe", "channel": room, "auth": signed}))["type"] == "subscribed"
        assert (await client.subscribe("private-kept"))["type"] == "subscribed"
        session = client.session
        client.transport.close(3000, "back soon")
        await eventually(lambda: _waits(running, session))
        assert (await running.post("/unsubscribe", {"sessionId": session, "channel": room})).status_code == 200
        await running.settled()
        again = await stack.enter_async_context(running.client(1))
        wish = {"session": session, "secret": success["resumeSecret"], "offsets": {}}
        assert (await again.authenticate(login.token, resume=wish))["sessionId"] == session
        assert (await again.wait_type("subscribed"))["channel"] == "private-kept"
        await running.settled()
        assert [one for one in again.received if one.get("channel") == room] == []


async def test_a_user_is_disconnected_everywhere(running: System) -> None:
    """Both gateways close; a session whose connection had broken cannot be resumed, and ends for the application."""
    login = await running.laravel.token("gone")
    async with AsyncExitStack() as stack:
        away = await stack.enter_async_context(running.party("websocket", 0))
        success = await away.authenticate(login.token)
        away.transport.close(3000, "back soon")
        await eventually(lambda: _waits(running, success["sessionId"]))
        clients = [await entered(stack, running, login, 0), await entered(stack, running, login, 1)]
        order = {"userId": login.user_id, "reason": "signed out everywhere"}
        (posted, *notices), took = await _times(
            [running.post("/disconnect", order), *(client.wait_type("disconnect") for client in clients)]
        )
        assert posted.status_code == 200
        assert [(one["code"], one["reason"]) for one in notices] == [(3500, "signed out everywhere")] * 2
        assert took < WITHIN_S * PATIENCE
        await eventually(lambda: _ended(running, success["sessionId"]))
        ends = [one for one in await heard(running, success["sessionId"]) if one[0] == "connection.closed"]
        assert ends == [("connection.closed", "signed out everywhere")]
        back = await stack.enter_async_context(running.client(1))
        wish = {"session": success["sessionId"], "secret": success["resumeSecret"], "offsets": {}}
        assert (await back.authenticate(login.token, resume=wish))["sessionId"] != success["sessionId"]


async def _waits(running: System, session: str) -> bool:
    log = running.keys.inbound_of(session)
    return await running.log.zscore(running.keys.disconnected(log), session) is not None


async def _ended(running: System, session: str) -> bool:
    return any(event == "connection.closed" for event, _ in await heard(running, session))


async def test_orders_are_checked(running: System) -> None:
    """Signed, for one target, of a channel that can exist."""
    login = await running.laravel.token("checked")
    wrong: list[dict[str, Any]] = [
        {"channel": "news"},
        {"channel": "news", "sessionId": "a", "userId": 7},
        {"channel": "a b", "userId": 7},
        {"channel": "news", "userId": 7, "reason": "x" * 1025},
    ]
    for body in wrong:
        assert (await running.post("/unsubscribe", body)).status_code == 422
    assert (await running.post("/unsubscribe", {"channel": "news", "sessionId": "nobody"})).status_code == 404
    assert (await running.post("/unsubscribe", {"channel": "news", "userId": "nobody"})).status_code == 200
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        unsigned = await http.post(running.api_url + "/unsubscribe", json={"channel": "news", "userId": login.user_id})
    assert unsigned.status_code == 401
