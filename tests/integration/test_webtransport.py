"""Sessions over real UDP with the client of the tests."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect as quic_connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import SessionTicket

from ingress.server.certificates import CertificateFiles, development_certificate
from ingress.server.options import ListenerOptions
from ingress.server.transport import SessionRequest
from ingress.webtransport.private import FlowLimits
from tests.support.echo_gateway import EchoGateway
from tests.support.wt_client import (
    Closed,
    SessionRefusedError,
    StreamResetError,
    WebTransportClient,
    connect,
)
from tests.support.wt_stream import TIMEOUT

ORIGIN = "https://app.test"

Start = Callable[..., Awaitable[EchoGateway]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts gateways that are stopped at the end."""
    running: list[EchoGateway] = []

    async def start(host: str = "::", **options: Any) -> EchoGateway:
        files = development_certificate(tmp_path, datetime.now(UTC))
        gateway = EchoGateway(files, host, ListenerOptions(**options))
        await gateway.listener.start()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        await gateway.listener.stop()


@pytest.fixture
async def gateway(start: Start) -> EchoGateway:
    return await start()


async def ask(client: WebTransportClient, word: bytes) -> bytes:
    """Send a word on a new stream and return what comes first."""
    stream = await client.open_bidirectional()
    stream.write(word)
    return await stream.read()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_session_over_each_ip_version(host: str, gateway: EchoGateway) -> None:
    """One dual-stack listener serves IPv4 and IPv6, and tells the address and headers of the request."""
    async with await connect(
        gateway.url("/a?b=c", host), origin=ORIGIN, protocols=["x", "echo.v1"], user_agent="Test/1"
    ) as client:
        assert client.protocol == "echo.v1"
        assert await ask(client, b"ping") == b"ping"
    assert gateway.sessions[0].calls[0] == (
        "connected",
        SessionRequest(
            transport="webtransport",
            path="/a?b=c",
            authority=f"{host}:{gateway.listener.port}",
            origin=ORIGIN,
            protocols=("x", "echo.v1"),
            user_agent="Test/1",
            remote_address=host.strip("[]"),
        ),
    )


async def test_a_listener_on_ipv4_alone(start: Start) -> None:
    """A host without IPv6 is served as well."""
    gateway = await start("0.0.0.0")
    async with await connect(gateway.url()) as client:
        assert await ask(client, b"ping") == b"ping"


async def test_streams_and_datagrams_both_ways(gateway: EchoGateway) -> None:
    """Every kind of stream, opened by either side, and datagrams carry data to and fro."""
    async with await connect(gateway.url()) as client:
        stream = await client.open_bidirectional()
        stream.write(b"x" * 300_000, end=True)
        assert await stream.read_all() == b"x" * 300_000
        note = await client.open_unidirectional()
        note.write(b"note", end=True)
        echoed = await client.accept_stream()
        assert (await echoed.read_all(), echoed.is_bidirectional) == (b"note", False)
        opened = await client.open_bidirectional()
        opened.write(b"open")
        question = await client.accept_stream()
        assert await question.read() == b"question"
        question.write(b"answer")
        assert await question.read() == b"answer"
        client.send_datagram(b"datagram")
        assert await client.receive_datagram() == b"datagram"


async def test_many_writes_of_a_turn_share_packets(gateway: EchoGateway) -> None:
    """What a handler writes in one loop turn leaves in as few packets as it fits in."""
    async with await connect(gateway.url()) as client:
        await ask(client, b"ping")
        transport = gateway.sessions[0].transport
        received = client.packets_received
        stream_id = transport.open_unidirectional()
        for _ in range(100):
            transport.send(stream_id, b"0123456789")
        stream = await client.accept_stream()
        data = b""
        while len(data) < 1_000:
            data += await stream.read()
        # One carries them; acknowledgements of what went before, and probes after a pause, may come along.
        assert client.packets_received - received <= 10


async def test_the_gateway_closes_with_code_and_reason(gateway: EchoGateway) -> None:
    """The client gets what was sent last, then code and reason, then the end of the connection."""
    async with await connect(gateway.url()) as client:
        assert await ask(client, b"close") == b"last words"
        assert await client.wait_closed() == Closed(4400, "tschüß")
        await client.wait_disconnected()
        assert client.connection_error is not None
        assert client.connection_error.error_code == 0x100
    assert (await gateway.ended())[-1] == ("closed", 4400, "tschüß", False)


async def test_a_handler_may_close_at_once(gateway: EchoGateway) -> None:
    """A session that is closed while it opens tells the client why."""
    async with await connect(gateway.url("/forbidden")) as client:
        assert await client.wait_closed() == Closed(4403, "forbidden")


async def test_a_refused_session_gets_the_status(gateway: EchoGateway) -> None:
    """A request that is not admitted is answered with its status, and makes no session."""
    with pytest.raises(SessionRefusedError) as refused:
        await connect(gateway.url("/refused"))
    assert refused.value.status == 403
    assert gateway.sessions == []
    assert gateway.listener.counters.sessions_refused == 1


async def test_a_fault_in_the_decision_refuses_the_session(gateway: EchoGateway) -> None:
    """A decision that raises refuses with 500, since a session must not open without one."""
    with pytest.raises(SessionRefusedError) as refused:
        await connect(gateway.url("/fault"))
    assert refused.value.status == 500
    assert gateway.listener.counters.handler_errors == 1


async def test_the_client_closes_with_code_and_reason(gateway: EchoGateway) -> None:
    """The handler is told what the client closed with, and then the connection goes."""
    async with await connect(gateway.url()) as client:
        client.close(7, "enough")
        assert (await gateway.ended())[-1] == ("closed", 7, "enough", False)
        await client.wait_disconnected()


async def test_a_connection_that_is_lost_is_abrupt(start: Start) -> None:
    """A client that vanishes, and one that closes QUIC alone, end their sessions as abrupt."""
    gateway = await start(idle_timeout=2)
    client = await connect(gateway.url())
    await ask(client, b"ping")
    client.vanish()
    assert (await gateway.ended(0))[-1] == ("closed", 0, "", True)
    other = await connect(gateway.url())
    await other.disconnect()
    assert (await gateway.ended(1))[-1] == ("closed", 0, "", True)
    assert gateway.listener.session_count == 0


async def test_resets_and_stops(gateway: EchoGateway) -> None:
    """Both sides see the other's code for a stream that is reset or stopped."""
    async with await connect(gateway.url()) as client:
        stream = await client.open_bidirectional()
        stream.write(b"reset")
        with pytest.raises(StreamResetError) as reset:
            await stream.read()
        assert reset.value.code == 4413
        stopped = await client.open_bidirectional()
        stopped.write(b"stop")
        assert await asyncio.wait_for(stopped.stopped, TIMEOUT) == 17
        both = await client.open_bidirectional()
        both.write(b"x")
        await both.read()
        both.reset(42)
        both.stop(43)
        await ask(client, b"ping")
        calls = gateway.sessions[0].calls
        assert ("stream_reset", both.id, 42) in calls
        assert ("stream_stopped", both.id, 43) in calls


async def test_a_fault_in_a_handler_ends_its_session_alone(gateway: EchoGateway) -> None:
    """A handler that raises closes its session with 3000; the listener and the other sessions go on."""
    async with await connect(gateway.url()) as faulty, await connect(gateway.url()) as other:
        stream = await faulty.open_bidirectional()
        stream.write(b"fail")
        assert await faulty.wait_closed() == Closed(3000, "internal error")
        assert await ask(other, b"ping") == b"ping"
    async with await connect(gateway.url()) as later:
        assert await ask(later, b"ping") == b"ping"
    assert (await gateway.ended(0))[-1] == ("closed", 3000, "internal error", False)
    assert gateway.listener.counters.handler_errors == 1
    assert gateway.listener.counters.connection_errors == 0


async def test_draining_asks_and_takes_no_new_clients(gateway: EchoGateway) -> None:
    """A listener that drains asks its clients to go, serves them on, and answers no new one."""
    async with await connect(gateway.url()) as client:
        gateway.listener.drain()
        await asyncio.wait_for(client.drained.wait(), TIMEOUT)
        assert await ask(client, b"ping") == b"ping"
        with pytest.raises(TimeoutError):
            await connect(gateway.url(), within=0.3)


async def test_stopping_tells_every_client(start: Start) -> None:
    """Stopping closes every session with its code and returns when the clients have it."""
    gateway = await start()
    clients = [await connect(gateway.url()) for _ in range(5)]
    await gateway.listener.stop(3001, "shutdown")
    assert [await client.wait_closed() for client in clients] == [Closed(3001, "shutdown")] * 5
    for client in clients:
        await client.disconnect()


async def test_a_silent_client_does_not_hold_the_listener_up(start: Start) -> None:
    """A client that does not answer the close is left after the time that was set for it."""
    gateway = await start(close_timeout=0.2, flush_timeout=0.1)
    client = await connect(gateway.url())
    await ask(client, b"ping")
    client.vanish()
    await asyncio.wait_for(gateway.listener.stop(), 20)


async def test_a_client_without_a_session_is_let_go(start: Start) -> None:
    """A connection on which no session is requested in time is closed."""
    gateway = await start(setup_timeout=2)
    client = await connect(gateway.url(), request=False)
    await client.wait_disconnected()


async def test_many_handshakes_at_once_prove_their_address(start: Start) -> None:
    """Above the bound on unfinished handshakes clients are sent a Retry, and still get their session."""
    gateway = await start(retry_above=0)
    async with await connect(gateway.url()) as client:
        assert await ask(client, b"ping") == b"ping"
    assert gateway.listener.counters.retries == 1


async def test_connections_are_bounded(start: Start) -> None:
    """A client over the bound gets no answer, and is served once another one is gone."""
    gateway = await start(max_connections=1)
    first = await connect(gateway.url())
    with pytest.raises(TimeoutError):
        await connect(gateway.url(), within=0.3)
    first.close()
    await first.wait_disconnected()
    async with await connect(gateway.url()) as client:
        assert await ask(client, b"ping") == b"ping"


async def test_garbage_is_ignored(gateway: EchoGateway) -> None:
    """Packets that are no QUIC, or of no connection, harm nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in (b"", b"x", bytes(1_200), b"\xc0" * 1_200, b"\x40" * 50, b"\xc0\x00\x00\x00\x01" * 300):
            sock.sendto(packet, ("127.0.0.1", gateway.listener.port))
    async with await connect(gateway.url()) as client:
        assert await ask(client, b"ping") == b"ping"
    assert gateway.listener.counters.connection_errors == 0


async def test_a_new_certificate_serves_new_connections(gateway: EchoGateway, tmp_path: Path) -> None:
    """After a reload new clients see the new certificate, and sessions that are open go on."""
    files = CertificateFiles(gateway.certificate, gateway.certificate)
    async with await connect(gateway.url(), ca_file=str(gateway.certificate)) as before:
        gateway.certificate.unlink()
        development_certificate(gateway.certificate.parent, datetime.now(UTC))
        gateway.listener.reload_certificate()
        async with await connect(gateway.url(), ca_file=str(files.certificate)) as after:
            assert await ask(after, b"ping") == b"ping"
        assert await ask(before, b"ping") == b"ping"


async def test_no_client_can_come_back_in_0_rtt(gateway: EchoGateway) -> None:
    """No session ticket is given, so no request can arrive in early data, where it could be replayed."""
    tickets: list[SessionTicket] = []
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    async with quic_connect(
        "127.0.0.1", gateway.listener.port, configuration=configuration, session_ticket_handler=tickets.append
    ) as client:
        # What a handshake brings along has come before the answer to a question asked after it.
        await client.ping()
    assert tickets == []


async def test_streams_over_the_limit_wait(start: Start) -> None:
    """A client that opens more streams than allowed at a time gets the rest as others end."""
    gateway = await start(flow=FlowLimits(bidirectional_streams=3))
    async with await connect(gateway.url()) as client:
        streams = [await client.open_bidirectional() for _ in range(20)]
        for stream in streams:
            stream.write(b"x", end=True)
        assert [await stream.read_all() for stream in streams] == [b"x"] * 20
