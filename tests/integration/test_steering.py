"""A UDP port that several listeners share: a client stays with its own, wherever its packets come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ingress.server.certificates import development_certificate
from ingress.server.options import ListenerOptions
from ingress.server.workers import Place, bind_all, steer
from tests.support.echo_gateway import EchoGateway
from tests.support.moving import asked_to_retry, change_port, server_ids
from tests.support.waiting import PATIENCE
from tests.support.wt_client import WebTransportClient, connect

WORKERS: Final = 2
CLIENTS: Final = 20
MOVES: Final = 3
#: Longer than a reply takes on a busy machine, as often as it is waited for in vain.
REPLY_S: Final = 3.0 * PATIENCE


def worker_of(client: WebTransportClient) -> int:
    """The index of the worker that a client's packets name."""
    return server_ids(client)[0][0] % WORKERS


@asynccontextmanager
async def listeners(folder: Path, *, steered: bool = True, **options: Any) -> AsyncIterator[list[EchoGateway]]:
    """A listener for each place on one port until the block ends."""
    files = development_certificate(folder, datetime.now(UTC))
    async with AsyncExitStack() as stack:
        sockets = bind_all("127.0.0.1", 0, WORKERS)
        if steered:
            steer(sockets)
        made = []
        for index, sock in enumerate(sockets):
            place = Place(index, WORKERS, sock.detach())
            gateway = EchoGateway(files, "127.0.0.1", ListenerOptions(**options), place)
            await gateway.listener.start()
            stack.push_async_callback(gateway.listener.stop)
            made.append(gateway)
        yield made


async def connect_all(stack: AsyncExitStack, url: str, **options: Any) -> list[WebTransportClient]:
    """Clients with a session each."""
    return [await stack.enter_async_context(await connect(url, **options)) for _ in range(CLIENTS)]


async def replies(client: WebTransportClient) -> bool:
    """Whether a word comes back."""
    stream = await client.open_bidirectional()
    stream.write(b"ping", end=True)
    try:
        return await stream.read_all(REPLY_S) == b"ping"
    except (TimeoutError, ConnectionError):
        return False


async def lost_by_moving(clients: list[WebTransportClient], moves: int = MOVES) -> int:
    """How many clients get no more replies after they moved so often, the last time under a new id."""
    for move in range(moves):
        for client in clients:
            await change_port(client, change_id=move == MOVES - 1)
        working = await asyncio.gather(*map(replies, clients))
        clients = [client for client, works in zip(clients, working, strict=True) if works]
    return CLIENTS - len(clients)


async def test_clients_keep_their_worker_when_their_port_changes(tmp_path: Path) -> None:
    """Twenty clients change their port three times: all stay connected, and no packet reaches the wrong worker."""
    async with listeners(tmp_path) as gateways, AsyncExitStack() as stack:
        clients = await connect_all(stack, gateways[0].url())
        assert all(await asyncio.gather(*map(replies, clients)))
        for client in clients:
            ids = server_ids(client)
            assert len(ids) > 2
            assert {each[0] % WORKERS for each in ids} == {worker_of(client)}
        assert await lost_by_moving(clients) == 0
        assert sum(gateway.listener.session_count for gateway in gateways) >= CLIENTS
        assert all(gateway.listener.session_count for gateway in gateways)
        assert [gateway.listener.counters.packets_unknown for gateway in gateways] == [0] * WORKERS


async def test_without_steering_clients_would_be_lost(tmp_path: Path) -> None:
    """The test above bites: when the kernel spreads packets by addresses, clients that move are lost."""
    async with listeners(tmp_path, steered=False, close_timeout=0.1) as gateways, AsyncExitStack() as stack:
        clients = await connect_all(stack, gateways[0].url())
        assert await lost_by_moving(clients, moves=1) > 0
        assert sum(gateway.listener.counters.packets_unknown for gateway in gateways) > 0
        for client in clients:
            client.vanish()


async def test_clients_prove_their_address_to_their_worker(tmp_path: Path) -> None:
    """With Retry on at once, every client proves its address, is connected, and keeps its worker as well."""
    async with listeners(tmp_path, retry_above=0) as gateways, AsyncExitStack() as stack:
        clients = await connect_all(stack, gateways[0].url())
        assert all(map(asked_to_retry, clients))
        assert sum(gateway.listener.counters.retries for gateway in gateways) >= CLIENTS
        assert await lost_by_moving(clients) == 0
        assert [gateway.listener.counters.packets_unknown for gateway in gateways] == [0] * WORKERS
