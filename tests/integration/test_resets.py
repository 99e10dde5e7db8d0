"""A connection that was reset while nobody used it is one that was lost, on the event loop of services too."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from redis.exceptions import ConnectionError

from runtime.bus.read_connection import ReadConnection
from runtime.bus.servers import connect
from runtime.settings import Settings
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


class Relay:
    """Between clients and a server; `reset` ends every connection as a host that has restarted does."""

    def __init__(self, url: str) -> None:
        server = urlsplit(url)
        self._server = (str(server.hostname), int(server.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """RST, where a close would send FIN (socket(7), SO_LINGER)."""
        connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):  # Closed by its other end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # A thread that reads it keeps it open.
                connection.shutdown(socket.SHUT_RD)
                connection.close()

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._connections.append(client)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    target.close()


@pytest.fixture
def relay(server: RedisServer) -> Iterator[Relay]:
    made = Relay(server.url)
    yield made
    made.close()


async def reset(relay: Relay, idle: Any) -> None:
    """Wait until the event loop has heard of it, of which the connection knows nothing."""
    relay.reset()
    await eventually(idle._writer.transport.is_closing, 10)
    assert idle.is_connected


async def pooled(relay: Relay) -> None:
    """What takes its connection from the pool."""
    client = connect(Settings(redis_url=relay.url, _env_file=None))
    await client.ping()
    [idle] = client.connection_pool._available_connections
    await reset(relay, idle)
    with pytest.raises(ConnectionError):
        await client.ping()
    assert await client.ping()
    await client.aclose()


async def reading(relay: Relay) -> None:
    """What a group reads over."""
    client = connect(Settings(redis_url=relay.url, _env_file=None))
    connection = ReadConnection(client, "log")
    await connection.open()
    await reset(relay, connection.client.connection)
    with pytest.raises(ConnectionError):
        await connection.client.ping()
    await connection.open()
    assert await connection.client.ping()
    await connection.close()
    await client.aclose()


@pytest.mark.parametrize("use", [pooled, reading])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_reset_is_a_connection_that_was_lost(
    relay: Relay, use: Callable[[Relay], object], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The first command says so, and the next one connects anew."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(use(relay))  # type: ignore[arg-type]  # a coroutine
