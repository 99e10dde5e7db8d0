"""A user's sessions on two gateways: how many there may be, and what becomes of them when a gateway dies or sleeps."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from schemas.close_codes import CloseCode
from tests.support.client import Client, SocketClient, TransportName
from tests.support.laravel import Login
from tests.support.system import System, system
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Long enough that a gateway is not taken for lost because the machine is busy, short enough to wait for.
LEASE_S = 4.0
#: How long the sessions of a lost gateway wait to be resumed.
RESUME_S = 2.0
#: A loss is noticed after one lease, and its consequences take their way through the log.
WITHIN_S = LEASE_S + RESUME_S + 11.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """Two gateways and everything behind them."""
    async with system(gateways=2, gateway_lease_seconds=str(LEASE_S), resume_seconds=str(RESUME_S)) as made:
        yield made


async def entered(stack: AsyncExitStack, running: System, login: Login, n: int) -> Client | SocketClient:
    """The `n`th session of a user: gateways and transports by turns."""
    transport: TransportName = "websocket" if n // 2 % 2 else "webtransport"
    client = await stack.enter_async_context(running.party(transport, n % 2))
    await client.authenticate(login.token)
    return client


async def listed(running: System, user: str) -> set[str]:
    rows = (await running.get(f"/sessions?user={user}")).json()["sessions"]
    return {row["id"] for row in rows}


async def told(running: System, session: str) -> list[tuple[str, str | None, str | None]]:
    """What the application was told of a session: the event, whose session it was, why it ended."""
    rows = [row for row in await running.laravel.events() if row["data"]["sessionId"] == session]
    return [(row["event"], row["data"]["userId"], row["data"].get("reason")) for row in rows]


async def test_a_user_has_ten_sessions_on_all_gateways_together(running: System) -> None:
    """Over both transports the eleventh is told 3504 and not to come back; the others stay, and a place can be had."""
    login = await running.laravel.token("crowd")
    async with AsyncExitStack() as stack:
        clients = [await entered(stack, running, login, n) for n in range(10)]
        user = str(login.user_id)
        await eventually(lambda: _has(running, user, {client.session for client in clients}))
        for transport in ("webtransport", "websocket"):
            async with running.party(transport, 1) as eleventh:
                await eleventh.send({"type": "auth", "token": login.token, "protocol": 1})
                notice = await eleventh.wait_type("disconnect")
                assert (notice["code"], notice["reconnect"]) == (3504, False)
                assert "connection limit" in notice["reason"]
                assert (await eleventh.closed()).code == 3504
        await eventually(lambda: _has(running, user, {client.session for client in clients}))
        await running.post("/send-to-user", {"userId": user, "message": {"type": "still-here"}})
        for client in clients:
            await client.wait_type("still-here")
        clients[0].transport.close(0, "")
        await eventually(lambda: _has(running, user, {client.session for client in clients[1:]}))
        await entered(stack, running, login, 1)
    assert await running.services["egress"].metric("headgate_router_over_limit_total") >= 2


async def test_of_eleven_at_once_ten_stay(running: System) -> None:
    """A race over both gateways leaves exactly as many as there may be."""
    login = await running.laravel.token("race")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(running.client(n % 2)) for n in range(11)]
        for client in clients:
            await client.send({"type": "auth", "token": login.token, "protocol": 1})
        ends = [asyncio.create_task(client.closed()) for client in clients]
        done, staying = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert [end.result().code for end in done] == [3504]
        await eventually(lambda: _count(running, str(login.user_id), 10))
        await running.settled()
        assert len([end for end in ends if end.done()]) == 1
        for end in staying:
            end.cancel()


async def test_a_killed_gateways_sessions_are_over_for_everybody(running: System) -> None:
    """They are unlisted, others see the user leave, the application hears of each end, and the user gets in again."""
    login = await running.laravel.token("survivor")
    watching = await running.laravel.token("watching")
    user = str(login.user_id)
    async with AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(running.client(0))
        await watcher.authenticate(watching.token)
        await watcher.subscribe("presence-wake")
        clients = [await entered(stack, running, login, n) for n in range(10)]
        lost = [client for n, client in enumerate(clients) if n % 2]
        await lost[0].subscribe("presence-wake")
        assert (await watcher.wait_type("presence"))["joined"]["id"] == user
        await running.settled()
        gateway = running.gateways[1]
        await gateway.kill()
        ended = asyncio.get_running_loop().time()
        assert (await watcher.wait_type("presence"))["left"]["id"] == user
        kept = {client.session for n, client in enumerate(clients) if not n % 2}
        await eventually(lambda: _has(running, user, kept), WITHIN_S)
        assert asyncio.get_running_loop().time() - ended < WITHIN_S * PATIENCE
        for _ in range(5):
            back = await stack.enter_async_context(running.client(0))
            await back.authenticate(login.token)
        await eventually(lambda: _count(running, user, 10))
        await eventually(lambda: _told_of_end(running, lost[0].session))
        assert await told(running, lost[0].session) == [
            ("connection.opened", user, None),
            ("connection.subscribed", user, None),
            ("connection.unsubscribed", user, "closed"),
            ("connection.closed", user, "gateway_lost"),
        ]
        await gateway.start()
        async with running.client(1) as again:
            await again.authenticate(watching.token)


async def test_a_killed_gateways_sessions_go_on_elsewhere(running: System) -> None:
    """At once, with all that was published meanwhile to the session, its user and its channel; nobody saw it leave."""
    login = await running.laravel.token("immortal")
    user, gateway = str(login.user_id), running.gateways[1]
    async with running.client(0) as watcher, running.party("websocket", 1) as client:
        await watcher.authenticate((await running.laravel.token("witness")).token)
        await watcher.subscribe("presence-life")
        success = await client.authenticate(login.token)
        place = await client.subscribe("presence-life")
        await watcher.wait_type("presence")
        await gateway.kill()
        await running.post("/send-to-session", {"sessionId": client.session, "message": {"type": "for-it"}})
        await running.post("/send-to-user", {"userId": user, "message": {"type": "for-them"}})
        await running.post("/broadcast-to-channel", {"channel": "presence-life", "message": 1})
    async with running.client(0) as again:
        offsets = success["offsets"] | {"channel:presence-life": {"epoch": place["epoch"], "offset": place["offset"]}}
        wish = {"session": client.session, "secret": success["resumeSecret"], "offsets": offsets}
        back = await again.authenticate(login.token, resume=wish)
        assert (back["sessionId"], back["generation"], back["recovered"]) == (client.session, 2, True)
        await again.wait_type("for-it")
        await again.wait_type("for-them")
        given = await again.wait_type("subscribed")
        assert [one["frame"]["data"] for one in given["publications"]] == [1]
        await running.settled()
        assert [frame for frame in watcher.received if frame["type"] == "presence"] == []
        assert [event for event, _, _ in await told(running, client.session)] == [
            "connection.opened", "connection.subscribed", "connection.resumed",
        ]  # fmt: skip
        await gateway.start()
        # Its loss is noticed, and what it had before is not ended for it.
        await eventually(lambda: _is_forgotten(running), WITHIN_S + LEASE_S)
        await running.post("/send-to-session", {"sessionId": client.session, "message": {"type": "still-here"}})
        await again.wait_type("still-here")


async def test_a_gateway_that_slept_lets_its_sessions_go(running: System) -> None:
    """What it still acknowledges is handled; then its sessions are told to reconnect, which they can."""
    login = await running.laravel.token("sleeper")
    user, gateway = str(login.user_id), running.gateways[1]
    async with running.client(1) as client, running.client(0) as other:
        await client.authenticate(login.token)
        await client.subscribe("presence-nap")
        await other.authenticate((await running.laravel.token("awake")).token)
        await other.subscribe("presence-nap")
        os.kill(gateway.pid, signal.SIGSTOP)
        try:
            await client.send({"type": "message", "channel": "presence-nap", "data": {"content": "hm"}, "id": "late"})
            await client.send({"type": "subscribe", "channel": "room-late", "id": "too-late"})
            assert (await other.wait_type("presence"))["left"]["id"] == user
            await eventually(lambda: _has(running, user, set()), WITHIN_S)
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
        notice = await client.wait_type("disconnect")
        assert (notice["code"], notice["reconnect"]) == (CloseCode.STATE_LOST, True)
        assert (await client.closed()).code == CloseCode.STATE_LOST
        await running.settled()
        # Whether there was the time for it is chance; what was acknowledged was handled.
        acknowledged = {frame["event"] for frame in client.received if frame["type"] == "ack"}
        assert acknowledged <= {row["event_id"] for row in await running.laravel.messages()}
        assert await _count(running, user, 0)
        assert await running.log.hlen(running.keys.topic("channel:room-late", "subscribers")) == 0
        rows = [row for row in await running.laravel.events() if row["data"]["sessionId"] == client.session]
        closed = {row["event_id"] for row in rows if row["event"] == "connection.closed"}
        assert len(closed) == 1
        ends = [entry for entry in await running.entries() if entry.session == client.session]
        assert {entry.id for entry in ends if entry.type == "session.closed"} == closed
    assert await gateway.metric("headgate_gateway_declared_lost_total") == 1
    async with running.client(1) as back, running.client(0) as other:
        await back.authenticate(login.token)
        await back.subscribe("presence-nap")
        await other.authenticate((await running.laravel.token("awake")).token)
        await other.subscribe("presence-nap")
        await other.message("presence-nap", "good morning")
        assert (await back.wait_type("channel_broadcast"))["data"]["content"] == "good morning"


async def test_a_lost_gateway_is_forgotten(running: System) -> None:
    """In the end neither its name nor its delivery stream is left."""

    async def gone() -> bool:
        return await _is_forgotten(running) and not await running.log.exists(running.keys.delivery("gateway-1"))

    await eventually(gone, 60)


async def _is_forgotten(running: System) -> bool:
    return await _gateways(running) == await _alive(running)


async def _gateways(running: System) -> set[str]:
    names: Any = await running.log.zrange(running.keys.gateways(), 0, -1)
    return {name.decode() for name in names}


async def _alive(running: System) -> set[str]:
    names: Any = await running.log.zrangebyscore(running.keys.gateways(), 1, "inf")
    return {name.decode() for name in names}


async def _has(running: System, user: str, sessions: set[str]) -> bool:
    found = await listed(running, user)
    assert found == sessions, found
    return True


async def _count(running: System, user: str, number: int) -> bool:
    return len(await listed(running, user)) == number


async def _told_of_end(running: System, session: str) -> bool:
    return "connection.closed" in {event for event, _, _ in await told(running, session)}
