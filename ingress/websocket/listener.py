"""Listens for WebSocket sessions over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import Final

import structlog

from ingress.server.certificates import CertificateFiles
from ingress.server.handshakes import HandshakeRate
from ingress.server.networks import PerNetwork, network_of
from ingress.server.transport import Admit, SessionFactory
from ingress.websocket.connection import WebSocketConnection
from ingress.websocket.metrics import EVENTS
from ingress.websocket.options import WebSocketOptions
from ingress.websocket.outbox import HIGH_WATER
from ingress.websocket.tls import tls_context
from runtime.tasks import cancel
from schemas.close_codes import CloseCode

_log = structlog.get_logger(__name__)

_BACKLOG: Final = 1024
#: Connections of an address beyond its limit that are told so, which takes a TLS handshake; further ones are not.
TOLD: Final = 16
#: Before the next try when the process has no file left for a connection (seconds).
_ACCEPT_PAUSE: Final = 1.0
#: Named by the socket module from Python 3.12 on (tcp(7)).
_TCP_NOTSENT_LOWAT: Final = 25


class WebSocketListener:
    """WebSocket sessions on one TCP port.

    `host` "::" takes IPv4 as well. `port` 0 lets the system choose. `shared` joins other processes on the port, among
    which the kernel then divides new connections.
    """

    def __init__(
        self,
        host: str,
        port: int,
        certificates: CertificateFiles,
        session_factory: SessionFactory,
        *,
        admit: Admit,
        options: WebSocketOptions | None = None,
        shared: bool = False,
        addresses: PerNetwork[object] | None = None,
    ) -> None:
        """`addresses` counts connections that count together; without it an address may have any number."""
        self._host = host
        self._port = port
        self._certificates = certificates
        self._session_factory = session_factory
        self._admit = admit
        self._options = options or WebSocketOptions()
        self._shared = shared
        self._addresses: PerNetwork[object] = PerNetwork(0) if addresses is None else addresses
        self._proxies = self._options.trusted_proxies
        # Those who have no place, and wait to be told.
        self._over: set[WebSocketConnection] = set()
        self._connections: set[WebSocketConnection] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and listen. Raises OSError when the address cannot be bound, and CertificateError."""
        self._context = tls_context(self._certificates)
        self._socket = bind(self._host, self._port, shared=self._shared)
        self._port = self._socket.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(self._socket), name="websocket-accept")
        _log.info("websocket_listening", host=self._host, port=self._port)

    @property
    def port(self) -> int:
        """The TCP port, once started the one that the system chose."""
        return self._port

    @property
    def session_count(self) -> int:
        """Sessions that are open now."""
        return sum(connection.session.is_open for connection in self._connections)

    @property
    def connection_count(self) -> int:
        """Connections that are open now, with a session or without."""
        return len(self._connections)

    def reload_certificate(self) -> None:
        """Read the certificate again, for new connections. Raises CertificateError and keeps the old one."""
        self._context = tls_context(self._certificates)

    async def drain(self) -> None:
        """Take no new connection; those that are open go on."""
        await cancel(self._accepting, *self._handshakes)
        self._accepting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def stop(self, code: int = CloseCode.SHUTDOWN, reason: str = "shutdown") -> None:
        """Close every session with `code`, wait until the clients have it or time is up, and go."""
        await self.drain()
        for connection in list(self._connections):
            if connection.session.is_open:
                connection.session.close(code, reason)
            elif connection.awaits_request:
                connection.abort()
        patience = self._options.flush_timeout + 2 * self._options.close_timeout
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), patience)
        for connection in list(self._connections):
            connection.abort()
        _log.info("websocket_stopped", port=self._port)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        handshakes = HandshakeRate(self._options.max_handshakes, loop.time())
        while True:
            # A coarse clock (uvloop's has 1 ms) wakes early.
            while (delay := handshakes.delay(loop.time())) > 0:
                EVENTS.labels("accept_delayed").inc()
                await asyncio.sleep(delay)
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:
                _log.error("websocket_not_accepted", error=str(error))
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            network = None if self._proxies.trusts(peer[0]) else network_of(peer[0])
            refused = self._refused(network)
            if refused is None and not handshakes.take(network, loop.time()):
                refused = "handshake_limited"
            if refused is not None:
                EVENTS.labels(refused).inc()
                sock.close()
                continue
            EVENTS.labels("connection").inc()
            task = asyncio.create_task(self._shake_hands(sock, self._connection(network)))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _refused(self, network: bytes | None) -> str | None:
        """Why a connection is closed before it has cost anything, or None."""
        if len(self._connections) + len(self._handshakes) >= self._options.max_connections:
            return "connection_refused"
        if network is not None and not self._addresses.admits(network, spare=TOLD):
            return "address_refused"
        return None

    async def _shake_hands(self, sock: socket.socket, connection: WebSocketConnection) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if sys.platform == "linux":
                # What the kernel holds beyond what is on its way counts as nothing in Outbox.unsent: keep it small.
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, HIGH_WATER)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._options.setup_timeout,
                ssl_shutdown_timeout=self._options.close_timeout,
            )
        except (OSError, ssl.SSLError) as error:
            # Scanners, clients that do not trust the certificate, and clients that went away.
            EVENTS.labels("handshake_failed").inc()
            _log.debug("websocket_handshake_failed", error=str(error))
            sock.close()
        finally:
            if connection not in self._connections:
                self._leave(connection)

    def _connection(self, network: bytes | None) -> WebSocketConnection:
        connection = WebSocketConnection(
            factory=self._session_factory,
            admit=self._admit,
            options=self._options,
            client=self._client,
            made=self._add,
            gone=self._remove,
        )
        if network is not None:
            self._arrive(connection, network)
        return connection

    def _arrive(self, connection: WebSocketConnection, network: bytes) -> None:
        if not self._addresses.admits(network):
            self._over.add(connection)
            EVENTS.labels("address_refused").inc()
        self._addresses.add(connection, network)

    def _leave(self, connection: WebSocketConnection) -> None:
        self._addresses.discard(connection)
        self._over.discard(connection)

    def _client(self, connection: WebSocketConnection, forwarded: list[str]) -> str | None:
        address = connection.remote_address
        if self._proxies.trusts(address):
            address = self._proxies.client(address, forwarded)
            self._arrive(connection, network_of(address))
        return None if connection in self._over else address

    def _add(self, connection: WebSocketConnection) -> None:
        self._connections.add(connection)
        self._empty.clear()

    def _remove(self, connection: WebSocketConnection) -> None:
        self._connections.discard(connection)
        self._leave(connection)
        if not self._connections:
            self._empty.set()


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening TCP socket that does not block; for "::" one that takes IPv4 too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        # Connections of a process that has just ended must not keep the next one from starting.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
