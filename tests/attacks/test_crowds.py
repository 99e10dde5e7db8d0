"""Attacks by many: slow clients, requests that are reset, all leaving at once, and one abuser among honest sessions."""

from __future__ import annotations

import asyncio
import time

import pytest
from aioquic.h3.connection import ErrorCode, FrameType

from tests.attacks.forging import Forger, connect_headers, h3_frame, reset, stream
from tests.attacks.sizes import size
from tests.attacks.world import World, world
from tests.support.client import Client
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: From a first packet to the session, then the server lets go (seconds): ListenerOptions.setup_timeout.
SETUP_S = 10.0
#: Crowds come faster than a gateway takes clients, and from few addresses: these tests are about what comes after.
CROWD = {"max_handshakes": "0", "max_connections_per_address": "0", "auth_timeout": "60"}
#: X14: what an abuser may do to the p99 of the others.
FAIR = 1.5


async def test_clients_that_never_get_on(redis: RedisServer) -> None:
    """Connections without a request, and with one that comes byte by byte, end when their time is up; sessions whose
    streams get a byte now and then may stay. Memory, files and others do not feel any of them."""
    quarter = size(25, 125)
    async with world(redis, **CROWD) as attacked:
        files = attacked.gateway.files()
        sessions = [Client(client) for client in await attacked.clients(2 * quarter)]
        for session in sessions:
            await session.authenticate("slow")
        async with attacked.attacked(f"{4 * quarter} slow clients"):
            clients = await attacked.clients(2 * quarter, request=False)
            forgers = [Forger(client) for client in clients[:quarter]]
            # The head of a HEADERS frame of 200 bytes that never all come.
            for at in range(20):
                for forger in forgers:
                    if not forger.client.is_disconnected:
                        forger.send([stream(0, at, b"\x01\x40\xc8\x00\x00"[at : at + 1] or b"\xd1")])
                for session in sessions if at % 10 == 0 else []:
                    await session.send_raw(b"{")
                await asyncio.sleep(SETUP_S / 20)
            await eventually(lambda: all(client.is_disconnected for client in clients), 5)
        assert not any(session.transport.is_disconnected for session in sessions)
        assert attacked.gateway.files() <= files + 5
        for client in [*clients, *(session.transport for session in sessions)]:
            client.vanish()


async def test_requests_that_are_reset(redis: RedisServer) -> None:
    """Requests for a session, each reset at once, as many as a connection lets in and then on the next connection: a
    stranger who shows no token gets nothing into the log at all."""
    connections, each = size(60, 320), 32
    async with world(redis, **CROWD) as attacked:
        kinds = ("session.auth_requested", "session.disconnected")
        before = [await attacked.verdicts.logged(kind) for kind in kinds]
        sent = 0
        async with attacked.attacked(f"{connections * each:,} requests reset on {connections} connections"):
            for first in range(0, connections, 10):
                clients = await attacked.clients(min(10, connections - first), request=False)
                for client in clients:
                    forger, body = Forger(client), connect_headers(client)
                    request = h3_frame(FrameType.HEADERS, len(body), body)
                    numbers = range(min(forger.credit(bidirectional=True), each))
                    code = ErrorCode.H3_REQUEST_CANCELLED
                    forger.send([stream(4 * n, 0, request) + reset(4 * n, code, len(request)) for n in numbers])
                    sent += len(numbers)
                await asyncio.gather(*(client.disconnect() for client in clients))
        print(f"{sent:,} requests")
        assert sent >= 31 * connections
        assert [await attacked.verdicts.logged(kind) for kind in kinds] == before


async def test_all_leave_at_once(redis: RedisServer) -> None:
    """Every session but the honest one ends in the same moment: their ends are logged, and nobody waits for it."""
    count = size(200, 1000)
    async with world(redis, **CROWD) as attacked:
        clients = await attacked.clients(count)
        for client in clients:
            await Client(client).authenticate("leaving")
        async with attacked.attacked(f"{count:,} sessions end at once"):
            for client in clients:
                client._link.close(error_code=ErrorCode.H3_NO_ERROR)
            await eventually(lambda: sessions(attacked, 1), 10)
        await eventually(lambda: logged(attacked, "session.disconnected", count), 10)
        for client in clients:
            client.vanish()


async def sessions(world: World, count: int) -> bool:
    """That many are open."""
    return await world.counted("headgate_sessions", transport="webtransport") == count


async def logged(world: World, kind: str, count: int) -> bool:
    """That many entries of a type are on the log."""
    return await world.verdicts.logged(kind) >= count


async def test_one_abuser_among_many(redis: RedisServer) -> None:
    """Somebody who sends as fast as a client can, is closed with 3013 and comes again, is not felt by 99 others."""
    async with world(redis, 99, **CROWD) as attacked:
        seconds, ends = size(3.0, 15.0), 0
        began = time.monotonic()
        async with attacked.attacked("one abuser, 99 honest sessions"):
            while time.monotonic() < began + seconds:
                client = Client(await attacked.client())
                await client.authenticate("abuser")
                while not client.transport._ended.done():
                    await client.send_raw(b'{"type":"ping"}\n' * 40)
                    client.transport.send_datagram(b'{"type":"cursor","channel":"c"}')
                    await asyncio.sleep(0.005)
                assert (await client.closed()).code == 3013
                ends += 1
                await client.transport.disconnect()
        print(f"closed with 3013 {ends} times")
        assert ends >= 2
