"""The composition root of a gateway."""

from __future__ import annotations

import asyncio
import gc
import hmac
import os
import signal
import socket
from datetime import UTC, datetime

import structlog
from cryptography.x509 import Certificate

from ingress.deliveries import Deliveries
from ingress.gateway import Gateway
from ingress.listener_metrics import LISTENER_EVENTS
from ingress.server.certificates import CertificateError, CertificateFiles, development_certificate
from ingress.server.networks import PerNetwork
from ingress.server.options import ListenerOptions
from ingress.server.quic import QuicListener
from ingress.server.workers import Place
from ingress.websocket.listener import WebSocketListener
from ingress.websocket.options import WebSocketOptions
from ingress.websocket.proxies import TrustedProxies
from ingress.webtransport.private import FlowLimits
from runtime.bus.appender import Appender
from runtime.bus.assurance import Assurance
from runtime.bus.connection import LogConnection
from runtime.bus.servers import connect
from runtime.http import HttpServer, operator_app
from runtime.service import Component, Health, serve
from runtime.settings import Settings
from runtime.tasks import cancel
from runtime.telemetry import Telemetry
from schemas.errors import ConfigurationError

log = structlog.get_logger()

#: How often the certificate on disk is looked at, in seconds; a development one is renewed days before its end.
CERTIFICATE_CHECK_S = 10.0
#: Streams that HTTP/3 needs besides the client's own: the session's request; control, QPACK and grease.
_HTTP3_BIDIRECTIONAL, _HTTP3_UNIDIRECTIONAL = 1, 4
#: Connections beyond the sessions, so that a client over the limit is told so and not left without an answer.
_SPARE_CONNECTIONS = 256


def certificate_files(settings: Settings) -> CertificateFiles:
    """The configured certificate, or the development one, made when there is none that lasts."""
    files = settings.tls_files()
    return CertificateFiles(*files) if files else development_certificate(settings.data_dir, datetime.now(UTC))


def reset_key(settings: Settings) -> bytes:
    """By which this gateway, started again, tells clients that their connections are lost.

    Of each gateway its own: one that others could ask would end connections that they have (RFC 9000, section 21.11).
    Raises ConfigurationError.
    """
    own = f"headgate/stateless-reset/v1 {socket.gethostname()} {settings.ingress_host} {settings.ingress_port}"
    return hmac.digest(settings.secret_bytes(), own.encode(), "sha256")


def websocket_listener(
    settings: Settings,
    gateway: Gateway,
    files: CertificateFiles,
    place: Place | None,
    addresses: PerNetwork[object],
) -> WebSocketListener | None:
    """The WebSocket listener, unless it is switched off."""
    if not settings.websocket:
        return None
    return WebSocketListener(
        settings.ingress_host,
        settings.ingress_port if settings.websocket_port is None else settings.websocket_port,
        files,
        gateway.open,
        admit=gateway.admit,
        options=WebSocketOptions(
            frame=settings.frame_limits,
            max_unsent_bytes=settings.max_unsent_bytes,
            max_connections=settings.max_sessions + _SPARE_CONNECTIONS,
            max_handshakes=settings.max_handshakes,
            trusted_proxies=TrustedProxies(settings.trusted_proxies),
        ),
        shared=place is not None,
        addresses=addresses,
    )


class Listener:
    """The WebTransport listener, the WebSocket one, and their certificate. A Component."""

    def __init__(self, settings: Settings, gateway: Gateway, place: Place | None = None) -> None:
        self._settings = settings
        self._gateway = gateway
        self._files = certificate_files(settings)
        addresses: PerNetwork[object] = PerNetwork(settings.max_connections_per_address)
        self.quic = QuicListener(
            settings.ingress_host,
            settings.ingress_port,
            self._files,
            gateway.open,
            admit=gateway.admit,
            options=ListenerOptions(
                flow=FlowLimits(
                    bidirectional_streams=settings.max_streams + _HTTP3_BIDIRECTIONAL,
                    unidirectional_streams=settings.max_streams + _HTTP3_UNIDIRECTIONAL,
                ),
                max_connections=settings.max_sessions + _SPARE_CONNECTIONS,
                max_handshakes=settings.max_handshakes,
                reset_key=reset_key(settings),
            ),
            place=place,
            addresses=addresses,
        )
        self.websocket = websocket_listener(settings, gateway, self._files, place, addresses)
        self._watch: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why no other certificate is taken up, or None."""
        return f"{self._watch.get_name()} ended" if self._watch is not None and self._watch.done() else None

    async def start(self) -> None:
        """Listen; SIGHUP reads the certificate again."""
        try:
            await self.quic.start()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {self._settings.ingress_host} UDP port {self._settings.ingress_port}: "
                f"{error.strerror}; choose another with HEADGATE_INGRESS_PORT"
            ) from error
        LISTENER_EVENTS.listeners.append(self.quic.counters)
        await self._start_websocket()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        # Before the task begins: what cannot be read now keeps the service from starting, as with those who listen.
        loaded = self._files.load().certificate
        self._watch = asyncio.create_task(self._watch_certificate(loaded), name="certificate-watch")

    async def stop(self) -> None:
        """Tell every session, wait for their ends to be logged, then close."""
        await cancel(self._watch)
        self.quic.drain()
        if self.websocket is not None:
            await self.websocket.drain()
        await self._gateway.drain()
        await self.quic.stop()
        if self.websocket is not None:
            await self.websocket.stop()

    def reload(self) -> None:
        """Use the certificate as it is on disk now for new connections."""
        try:
            self.quic.reload_certificate()
            if self.websocket is not None:
                self.websocket.reload_certificate()
            log.info("certificate.reloaded")
        except CertificateError as error:
            log.error("certificate.not_reloaded", error=str(error))

    async def _start_websocket(self) -> None:
        if self.websocket is None:
            return
        try:
            await self.websocket.start()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {self._settings.ingress_host} TCP port {self.websocket.port}: {error.strerror}; "
                "choose another with HEADGATE_WEBSOCKET_PORT, or set HEADGATE_WEBSOCKET to false"
            ) from error

    async def _watch_certificate(self, loaded: Certificate) -> None:
        """Renew a development certificate before it ends, and take up whatever certificate is on disk."""
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_S)
            try:
                current = certificate_files(self._settings).load().certificate
                if current != loaded:
                    self.reload()
                    loaded = current
            except CertificateError as error:  # Perhaps half written: the old one is good until the next look.
                log.warning("certificate.unreadable", error=str(error))
            except OSError as error:  # The disk is full, or may not be written: that can end before the certificate.
                log.error("certificate.not_renewed", error=str(error))
            except Exception:  # Clients would be left with a certificate that ends.
                log.exception("certificate.watch_broken")


def build(settings: Settings, place: Place | None = None) -> tuple[list[Component], Health]:
    """The parts of a gateway in start order; `place` is given to one of several. Raises ConfigurationError."""
    telemetry = Telemetry.from_settings(settings, "ingress")
    client = connect(settings)
    appender = Appender(client, assurance=Assurance.of(settings.ack))
    gateway = Gateway(settings, appender, telemetry, lambda place: connection.problem_at(place))
    connection = LogConnection(client, settings, gateway.log_lost)
    deliveries = Deliveries(settings, client, gateway.hub, telemetry, gateway.renamed)
    health = Health()
    health.add(connection.problem)
    health.add(deliveries.problem)
    health.add(gateway.problem)
    listener = Listener(settings, gateway, place)
    health.add(listener.problem)
    operator = HttpServer(operator_app(health), settings.ingress_http_host, settings.ingress_http_port)
    return [
        connection,
        telemetry,
        appender,
        operator,
        gateway,
        deliveries,
        listener,
    ], health


async def run(settings: Settings, place: Place | None = None) -> None:
    """Run a gateway until it is told to stop."""
    if place is not None:
        structlog.contextvars.bind_contextvars(worker=place.index)
        if "gateway_id" in settings.model_fields_set:
            # A worker that was started again is another gateway: its predecessor's sessions are lost, not its own.
            own = f"{settings.gateway_id}-{place.index}-{os.getpid()}"
            settings = settings.model_copy(update={"gateway_id": own})
    components, health = build(settings, place)
    # What is loaded by now stays: searching it for garbage again would stop every session for a tenth of a second.
    gc.collect()
    gc.freeze()
    await serve("ingress", components, health)
