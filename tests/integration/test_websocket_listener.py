"""The WebSocket listener's port and certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from ingress.app import Listener
from ingress.gateway import Gateway
from ingress.server.certificates import DEVELOPMENT_FILE, CertificateError, certificate_hash, development_certificate
from ingress.server.transport import Admission, Transport
from ingress.websocket.listener import WebSocketListener, bind
from runtime.bus.appender import Appender
from runtime.bus.servers import connect
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.errors import ConfigurationError
from tests.support.defects import Defect
from tests.support.waiting import eventually
from tests.support.ws_client import open_socket, trusting
from tests.support.ws_server import PING, Obedient, Server, Start, starting
from tests.support.wt_client import connect as connect_quic


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(tmp_path) as start:
        yield start


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


def shown(socket: ClientConnection) -> bytes:
    tls: ssl.SSLObject = socket.transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256())


async def test_a_new_certificate_is_for_new_connections(server: Server) -> None:
    """New connections see what was reloaded, also another type of key; open ones go on; a bad file changes nothing."""
    path = server.files.certificate
    first = certificate_hash(path)
    async with await server.open() as before:
        assert shown(before) == first
        path.write_bytes(rsa_certificate(path))
        server.listener.reload_certificate()
        async with await server.open() as after:
            assert shown(after) == certificate_hash(path) != first
        path.write_text("no certificate")
        with pytest.raises(CertificateError):
            server.listener.reload_certificate()
        async with await server.open() as still:
            assert shown(still) == shown(after)
        await before.send(json.dumps(PING))
        assert json.loads(await before.recv()) == PING


async def test_processes_share_a_port_only_when_told(tmp_path: Path) -> None:
    """Two listeners that share get connections of both; one that does not share is refused."""
    files = development_certificate(tmp_path, datetime.now(UTC))
    opened: list[int] = []

    def listening(port: int, number: int, shared: bool = True) -> WebSocketListener:
        def session(transport: Transport) -> Obedient:
            opened.append(number)
            return Obedient(transport)

        return WebSocketListener("::", port, files, session, admit=lambda request: Admission(), shared=shared)

    first = listening(0, 1)
    await first.start()
    second = listening(first.port, 2)
    await second.start()
    with pytest.raises(OSError, match="in use"):
        await listening(first.port, 3, shared=False).start()
    while set(opened) != {1, 2}:
        async with await open_socket(f"wss://127.0.0.1:{first.port}/"):
            assert len(opened) < 200
    await first.stop()
    await second.stop()


def whole(tmp_path: Path, **settings: object) -> Listener:
    """The listeners of a gateway as the service makes them; its log is never reached."""
    values = {"secret": "s" * 32, "data_dir": tmp_path, "ingress_port": 0, "redis_url": "redis://127.0.0.1:1"}
    made = Settings.model_validate(values | settings)
    return Listener(made, Gateway(made, Appender(connect(made)), Telemetry.from_settings(made, "ingress")))


async def test_a_gateway_reloads_the_certificate_of_both_transports(tmp_path: Path) -> None:
    """What SIGHUP brings about reaches WebSocket too."""
    listener = whole(tmp_path)
    await listener.start()
    assert listener.websocket is not None
    url = f"wss://localhost:{listener.websocket.port}/elsewhere"
    shown_before = await served(url)
    development_certificate(tmp_path, datetime.now(UTC)).certificate.unlink()
    path = development_certificate(tmp_path, datetime.now(UTC)).certificate
    listener.reload()
    assert await served(url) == certificate_hash(path) != shown_before
    await listener.stop()


async def test_a_certificate_is_renewed_once_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that takes no file, or a defect, is said and ends nothing: the next look is at the disk as it is."""
    monkeypatch.setattr("ingress.app.CERTIFICATE_CHECK_S", 0.01)
    folder = tmp_path / "data"
    listener = whole(tmp_path, data_dir=folder)
    await listener.start()
    assert listener.websocket is not None
    url = f"wss://localhost:{listener.websocket.port}/elsewhere"
    shown_before = await served(url)
    with capture_logs() as logs:

        def said(event: str) -> bool:
            return any(one["event"] == event for one in logs)

        folder.rename(tmp_path / "away")
        folder.touch()  # In the place of a disk that is full: as root, a test can write everywhere else.
        await eventually(lambda: said("certificate.not_renewed"))
        with monkeypatch.context() as broken:
            broken.setattr("ingress.app.certificate_files", Defect())
            await eventually(lambda: said("certificate.watch_broken"))
        folder.unlink()
        await eventually(lambda: said("certificate.reloaded"))
    assert await served(url) == certificate_hash(folder / DEVELOPMENT_FILE) != shown_before
    assert listener.problem() is None
    await listener.stop()
    assert listener.problem() == "certificate-watch ended"


async def test_a_gateway_counts_both_transports_together(tmp_path: Path) -> None:
    """A connection over QUIC takes the place of one over TCP, and a trusted proxy speaks for clients of their own."""
    listener = whole(tmp_path, max_connections_per_address=1, trusted_proxies="127.0.0.2")
    await listener.start()
    assert listener.websocket is not None
    url = f"wss://127.0.0.1:{listener.websocket.port}/elsewhere"
    async with await connect_quic(f"https://127.0.0.1:{listener.quic.port}/", request=False):
        for headers, status in (([], 429), ([("X-Forwarded-For", "192.0.2.1")], 404)):
            with pytest.raises(InvalidStatus) as refused:
                await open_socket(url, headers=headers, local_addr=("127.0.0.2" if headers else "127.0.0.1", 0))
            assert refused.value.response.status_code == status
    await listener.stop()


async def served(url: str) -> bytes:
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=trusting())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256())


async def test_a_taken_port_is_told_and_websocket_can_be_left_out(tmp_path: Path) -> None:
    """Whoever starts a gateway learns which setting to change; without WebSocket there is no TCP port."""
    with bind("::", 0) as taken:
        port = taken.getsockname()[1]
        listener = whole(tmp_path, websocket_port=port)
        with pytest.raises(ConfigurationError, match="HEADGATE_WEBSOCKET_PORT"):
            await listener.start()
        await listener.stop()
        without = whole(tmp_path, websocket_port=port, websocket=False)
        await without.start()
        assert without.websocket is None
        await without.stop()


def rsa_certificate(path: Path) -> bytes:
    """The certificate at `path` again, for an RSA key."""
    old = x509.load_pem_x509_certificate(path.read_bytes())
    key = rsa.generate_private_key(65_537, 2048)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
