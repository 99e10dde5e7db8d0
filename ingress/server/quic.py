"""Listens for WebTransport sessions over QUIC."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration

from ingress.server.certificates import CertificateSource
from ingress.server.driver import ConnectionDriver
from ingress.server.endpoint import UdpEndpoint
from ingress.server.networks import PerNetwork
from ingress.server.options import ListenerCounters, ListenerOptions
from ingress.server.transport import Admit, SessionFactory
from ingress.server.workers import ID_BYTES, Place, bind
from ingress.webtransport.private import LastingQuicConnection
from schemas.close_codes import CloseCode

_log = structlog.get_logger(__name__)

_MAX_DATAGRAM_FRAME: Final = 65_536


class QuicListener:
    """WebTransport sessions on one UDP port.

    `host` "::" takes IPv4 as well, which a listener for local browsers needs: they try ::1 first for
    "localhost" and do not fall back. `port` 0 lets the system choose. A `place` with a socket needs neither.
    """

    def __init__(
        self,
        host: str,
        port: int,
        certificates: CertificateSource,
        session_factory: SessionFactory,
        *,
        admit: Admit,
        options: ListenerOptions | None = None,
        place: Place | None = None,
        addresses: PerNetwork[object] | None = None,
    ) -> None:
        """`addresses` counts connections that count together; without it an address may have any number."""
        self.counters = ListenerCounters()
        self._host = host
        self._port = port
        self._certificates = certificates
        self._session_factory = session_factory
        self._admit = admit
        self._options = options or ListenerOptions()
        self._place = place or Place()
        self._addresses: PerNetwork[object] = PerNetwork(0) if addresses is None else addresses
        self._endpoint: UdpEndpoint | None = None

    async def start(self) -> None:
        """Bind and listen. Raises OSError when the address cannot be bound, and CertificateError."""
        configuration = self._configuration()
        place = self._place
        sock = bind(self._host, self._port) if place.descriptor is None else place.socket()
        self._port = sock.getsockname()[1]
        self._endpoint = UdpEndpoint(
            sock,
            configuration,
            self._make_driver,
            options=self._options,
            counters=self.counters,
            place=place,
            addresses=self._addresses,
        )
        _log.info("quic_listening", host=self._host, port=self._port)

    @property
    def port(self) -> int:
        """The UDP port, once started the one that the system chose."""
        return self._port

    @property
    def session_count(self) -> int:
        """Sessions that are open now."""
        endpoint = self._endpoint
        return 0 if endpoint is None else sum(driver.session.is_open for driver in endpoint.drivers)

    @property
    def connection_count(self) -> int:
        """Connections that are there now, with a session or without."""
        return 0 if self._endpoint is None else self._endpoint.connection_count

    def reload_certificate(self) -> None:
        """Read the certificate again, for new connections. Raises CertificateError and keeps the old one."""
        if self._endpoint is not None:
            self._endpoint.configuration = self._configuration()

    def drain(self) -> None:
        """Take no new connection, and ask every client to bring its session to an end."""
        if self._endpoint is not None:
            self._endpoint.accepting = False
            for driver in self._endpoint.drivers:
                driver.session.drain()

    async def stop(self, code: int = CloseCode.SHUTDOWN, reason: str = "shutdown") -> None:
        """Close every session with `code`, wait until the clients have it or time is up, and unbind."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is None:
            return
        endpoint.accepting = False
        for driver in endpoint.drivers:
            if driver.session.is_open:
                driver.session.close(code, reason)
            elif driver.session.awaits_request:
                driver.session.disconnect()
        options = self._options
        patience = options.flush_timeout + options.linger + 2 * options.close_timeout
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(endpoint.empty.wait(), patience)
        endpoint.close()
        _log.info("quic_stopped", port=self._port, connections_left=endpoint.connection_count)

    def _make_driver(self, quic: LastingQuicConnection, endpoint: UdpEndpoint) -> ConnectionDriver:
        return ConnectionDriver(
            quic,
            endpoint,
            factory=self._session_factory,
            admit=self._admit,
            options=self._options,
            counters=self.counters,
        )

    def _configuration(self) -> QuicConfiguration:
        identity = self._certificates.load()
        return QuicConfiguration(
            is_client=False,
            alpn_protocols=H3_ALPN,
            certificate=identity.certificate,
            certificate_chain=list(identity.chain),
            private_key=identity.private_key,
            connection_id_length=ID_BYTES,
            idle_timeout=self._options.idle_timeout,
            max_data=self._options.flow.connection_window,
            max_stream_data=self._options.flow.stream_window,
            max_datagram_frame_size=_MAX_DATAGRAM_FRAME,
        )
