"""Who gets a WebSocket connection: so many a second, so many from one address, behind a proxy or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from prometheus_client import REGISTRY
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from ingress.server.networks import PerNetwork
from ingress.websocket.listener import TOLD
from ingress.websocket.proxies import TrustedProxies
from tests.support.waiting import eventually
from tests.support.ws_client import trusting
from tests.support.ws_server import PING, Server, Start, starting

OTHER: Final = ("127.0.0.2", 0)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(tmp_path) as start:
        yield start


def counted(event: str) -> float:
    return REGISTRY.get_sample_value("headgate_websocket_events_total", {"event": event}) or 0.0


async def status(server: Server, **options: Any) -> int:
    """The status that a client is refused with."""
    with pytest.raises(InvalidStatus) as refused:
        await server.open(**options)
    return int(refused.value.response.status_code)


async def open_through(server: Server, proxy: str, *forwarded: str) -> ClientConnection:
    """A session from the address of a proxy, which says for whom it speaks."""
    headers = [("X-Forwarded-For", value) for value in forwarded]
    return await server.open(local_addr=(proxy, 0), headers=headers)


async def test_an_address_has_its_share(start: Start) -> None:
    """One beyond the limit is told 429 in words and counted, another address is served, and who leaves makes room."""
    server = await start(addresses=PerNetwork(2))
    before = counted("address_refused")
    async with await server.open(), await server.open() as second:
        with pytest.raises(InvalidStatus) as refused:
            await server.open()
        assert refused.value.response.status_code == 429
        assert b"too many connections from this address" in (refused.value.response.body or b"")
        assert counted("address_refused") == before + 1
        async with await server.open(local_addr=OTHER) as other:
            await other.send(json.dumps(PING))
            assert json.loads(await other.recv()) == PING
        await second.close()
        await eventually(lambda: server.listener.connection_count == 1)
        async with await server.open():
            assert await status(server) == 429
    assert len(server.sessions) == 4


async def test_those_who_are_told_are_few(start: Start) -> None:
    """An address far over its limit is not told any more: its connections are closed before TLS."""
    addresses: PerNetwork[object] = PerNetwork(1)
    server = await start(addresses=addresses)
    waiting = [await asyncio.open_connection("127.0.0.1", server.listener.port) for _ in range(1 + TOLD)]
    await eventually(lambda: len(addresses) == 1 + TOLD)
    before = counted("connection")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert counted("connection") == before
    async with await server.open(local_addr=OTHER):
        assert len(server.sessions) == 1
    for _, each in [*waiting, (reader, writer)]:
        each.close()
    await eventually(lambda: len(addresses) == 0)


async def test_places_are_given_back(start: Start) -> None:
    """Of connections that fail in TLS, never ask, are refused or are lost nothing is kept."""
    addresses: PerNetwork[object] = PerNetwork(100)
    server = await start(addresses=addresses, setup_timeout=2)
    _, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
    writer.write(b"no TLS at all\r\n\r\n")
    await asyncio.open_connection("127.0.0.1", server.listener.port, ssl=trusting())
    assert await status(server, path="/full") == 503
    lost = await server.open()
    lost.transport.abort()
    await eventually(lambda: len(server.sessions) == 1 and len(addresses) == 0)
    writer.close()


async def test_handshakes_have_a_rate(start: Start) -> None:
    """One address gets its half of what may come at once, and what each second brings; its others are closed before
    TLS and counted. Another address is served meanwhile."""
    server = await start(max_handshakes=20)
    accepted, limited = counted("connection"), counted("handshake_limited")
    loop = asyncio.get_running_loop()
    began = loop.time()
    opened = [await asyncio.open_connection("127.0.0.1", server.listener.port) for _ in range(60)]
    await eventually(lambda: counted("connection") + counted("handshake_limited") == accepted + limited + 60)
    took = loop.time() - began
    assert 20 <= counted("connection") - accepted <= 20 + 1 + took * 10
    async with await server.open(local_addr=OTHER):
        assert len(server.sessions) == 1
    for _, writer in opened:
        writer.close()


async def test_over_the_rate_of_all_clients_wait(start: Start) -> None:
    """Nobody is refused who comes from an address of their own: they get in one after the other, at the rate."""
    server = await start(max_handshakes=10)
    refused, delayed = counted("handshake_limited"), counted("accept_delayed")
    loop = asyncio.get_running_loop()
    began = loop.time()
    opening = (server.open(local_addr=(f"127.0.1.{number}", 0), open_timeout=20) for number in range(1, 41))
    sockets = await asyncio.gather(*opening)
    # Twenty at once, then ten a second.
    assert loop.time() - began >= 2 * 0.95
    assert counted("handshake_limited") == refused
    assert counted("accept_delayed") > delayed
    await asyncio.gather(*(socket.close() for socket in sockets))


async def test_clients_behind_a_proxy_count_by_their_own_address(start: Start) -> None:
    """A trusted proxy says for whom it speaks: each client has its own limit, and the session its address."""
    server = await start(addresses=PerNetwork(1), trusted_proxies=TrustedProxies(["127.0.0.2"]))
    clients = [await open_through(server, "127.0.0.2", f"192.0.2.{number}") for number in range(1, 4)]
    addresses = {session.transport.remote_address for session in server.sessions}
    assert addresses == {session.calls[0][1].remote_address for session in server.sessions}
    assert addresses == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    with pytest.raises(InvalidStatus) as refused:
        await open_through(server, "127.0.0.2", "10.1.1.1, 192.0.2.1")
    assert refused.value.response.status_code == 429
    await clients[0].close()
    await eventually(lambda: server.listener.connection_count == 2)
    clients[0] = await open_through(server, "127.0.0.2", "192.0.2.1")
    await asyncio.gather(*(client.close() for client in clients))


async def test_what_others_say_of_themselves_counts_for_nothing(start: Start) -> None:
    """Without a trusted proxy in between `X-Forwarded-For` changes neither the address nor the limit."""
    server = await start(addresses=PerNetwork(1), trusted_proxies=TrustedProxies(["127.0.0.9"]))
    async with await open_through(server, "127.0.0.2", "192.0.2.1") as client:
        assert server.sessions[0].transport.remote_address == "127.0.0.2"
        with pytest.raises(InvalidStatus):
            await open_through(server, "127.0.0.2", "192.0.2.2")
        await client.send(json.dumps(PING))
        assert json.loads(await client.recv()) == PING


@pytest.mark.parametrize(
    "scenario",
    [
        test_an_address_has_its_share,
        test_those_who_are_told_are_few,
        test_places_are_given_back,
        test_over_the_rate_of_all_clients_wait,
        test_clients_behind_a_proxy_count_by_their_own_address,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[Start], Awaitable[None]], tmp_path: Path) -> None:
    """Services run on uvloop, which accepts and shakes hands in its own way."""

    async def run() -> None:
        async with starting(tmp_path) as start:
            await scenario(start)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
