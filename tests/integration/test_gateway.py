"""A gateway's own life: its certificate, its admission, its signs of life."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis.asyncio as aioredis
from prometheus_client import REGISTRY

from ingress import app
from ingress.app import Listener
from ingress.server.certificates import certificate_hash, development_certificate
from runtime.bus.servers import connect
from tests.integration.gateway_world import admitted, gateway, settings_for
from tests.support.client import SocketClient
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.support.wt_client import SessionRefusedError
from tests.support.wt_client import connect as wt_connect


async def served_hash(listener: Listener) -> bytes:
    """The SHA-256 of the certificate that a new connection is shown."""
    client = await wt_connect(f"https://127.0.0.1:{listener.quic.port}/")
    async with client:
        return client.certificate_hash


async def test_a_development_certificate_is_renewed_before_it_ends(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that runs for weeks shows new connections a certificate that browsers still accept."""
    monkeypatch.setattr(app, "CERTIFICATE_CHECK_S", 0.05)
    async with gateway(settings_for(server, tmp_path)) as listener:
        first = await served_hash(listener)
        aging = development_certificate(tmp_path, datetime.now(UTC))
        aging.certificate.unlink()
        development_certificate(tmp_path, datetime.now(UTC) - timedelta(days=12))
        await eventually(lambda: _renewed(listener, first, aging.certificate), 10)


async def test_a_replaced_certificate_file_is_taken_up(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever renews the files need not tell the gateway; while a file is half written the old one serves."""
    monkeypatch.setattr(app, "CERTIFICATE_CHECK_S", 0.05)
    first, second = (development_certificate(tmp_path / name, datetime.now(UTC)).certificate for name in "ab")
    configured = tmp_path / "tls.pem"
    configured.write_bytes(first.read_bytes())
    settings = settings_for(server, tmp_path, tls_cert=configured, tls_key=configured)
    async with gateway(settings) as listener:
        assert await served_hash(listener) == certificate_hash(first)
        configured.write_bytes(second.read_bytes()[:200])
        assert await served_hash(listener) == certificate_hash(first)
        configured.write_bytes(second.read_bytes())
        await eventually(lambda: _serves(listener, second), 10)


async def _serves(listener: Listener, path: Path) -> bool:
    return await served_hash(listener) == certificate_hash(path)


async def _renewed(listener: Listener, first: bytes, path: Path) -> bool:
    shown = await served_hash(listener)
    return shown not in (b"", first) and shown == certificate_hash(path)


async def test_sighup_reads_the_certificate_again(server: RedisServer, tmp_path: Path) -> None:
    """New connections get the certificate on disk after SIGHUP; a session that is open goes on."""
    async with gateway(settings_for(server, tmp_path)) as listener:
        old = await served_hash(listener)
        async with await wt_connect(f"https://127.0.0.1:{listener.quic.port}/") as client:
            development_certificate(tmp_path, datetime.now(UTC)).certificate.unlink()
            development_certificate(tmp_path, datetime.now(UTC))
            os.kill(os.getpid(), signal.SIGHUP)
            await eventually(lambda: _changed(listener, old), 10)
            stream = await client.open_bidirectional()
            stream.write(b'{"type":"auth","token":"t","protocol":1,"id":5}')
            assert (await client.wait_closed()).code == 4400


async def _changed(listener: Listener, old: bytes) -> bool:
    return await served_hash(listener) != old


async def test_what_is_not_ours_gets_a_status_and_a_full_gateway_says_so(server: RedisServer, tmp_path: Path) -> None:
    """Another path is 404; beyond the limit of sessions it is 503, and a place that is freed is given again."""
    settings = settings_for(server, tmp_path, max_sessions=1)
    async with gateway(settings) as listener:
        url = f"https://127.0.0.1:{listener.quic.port}"
        with pytest.raises(SessionRefusedError) as refused:
            await wt_connect(f"{url}/elsewhere")
        assert refused.value.status == 404
        async with await wt_connect(f"{url}/"):
            with pytest.raises(SessionRefusedError) as refused:
                await wt_connect(f"{url}/")
            assert refused.value.status == 503
        await eventually(lambda: _connects(f"{url}/"), 10)


async def test_a_gateway_says_that_it_lives_and_leaves_nothing_behind(server: RedisServer, tmp_path: Path) -> None:
    """While it runs it is in the list of gateways; after a clean stop neither the entry nor its streams remain."""
    settings = settings_for(server, tmp_path, gateway_id="g1")
    client: aioredis.Redis = connect(settings)
    async with gateway(settings):
        await eventually(lambda: client.zscore(settings.keys.gateways(), "g1"), 10)
        await client.xadd(settings.keys.delivery("g1"), {"not": "an entry"})
    assert await client.zscore(settings.keys.gateways(), "g1") is None
    assert await client.exists(settings.keys.delivery("g1")) == 0
    await client.aclose()


async def paused() -> float:
    return REGISTRY.get_sample_value("headgate_reading_paused_total") or 0.0


async def test_a_client_faster_than_the_log_is_held_back_and_loses_nothing(server: RedisServer, tmp_path: Path) -> None:
    """While Redis stands still the gateway reads no further; afterwards every frame is acknowledged, in order."""
    settings = settings_for(server, tmp_path, unconfirmed_bytes=10_000, frames_per_second=10_000)
    before = await paused()
    async with gateway(settings) as listener:
        client = await admitted(server, settings, f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            os.kill(server.pid, signal.SIGSTOP)
            try:
                for n in range(300):
                    await client.send({"type": "note", "id": str(n), "pad": "x" * 1000})
                await eventually(lambda: _more(paused, before), 3)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            acks = [(await client.wait_type("ack"))["id"] for _ in range(300)]
    assert acks == [str(n) for n in range(300)]


async def test_sessions_outlive_an_outage_of_the_log_that_is_short(server: RedisServer, tmp_path: Path) -> None:
    """They are read no further and their silence is no end; when the log is back, what was sent meanwhile is stored."""
    short = {"ping_interval": 0.5, "pong_timeout": 2, "outage_seconds": 60}
    settings = settings_for(server, tmp_path, **short)
    async with gateway(settings) as listener:
        client = await admitted(server, settings, f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            await server.kill()
            await eventually(lambda: _is_away(1), 10)
            pings = client.pings
            await client.send({"type": "note", "id": "meanwhile", "pad": "x" * 1000})
            client.answers_pings = False
            await eventually(lambda: client.pings > pings + 2, 10)
            await server.restart()
            await eventually(lambda: _is_away(0), 10)
            client.answers_pings = True
            answer = await client.wait(lambda frame: frame.get("id") == "meanwhile")
            if answer["type"] == "error":  # It was read before the gateway knew.
                assert (answer["code"], answer["temporary"]) == (110, True)
                await client.send({"type": "note", "id": "meanwhile", "pad": "x" * 1000})
                answer = await client.wait(lambda frame: frame.get("id") == "meanwhile")
            assert answer["type"] == "ack"


async def test_sessions_are_closed_when_the_log_stays_away(server: RedisServer, tmp_path: Path) -> None:
    """After the time that is configured they end with a code that asks to come back, and with the reason."""
    settings = settings_for(server, tmp_path, outage_seconds=0.5, drain_seconds=1)
    async with gateway(settings) as listener:
        client = await admitted(server, settings, f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            await server.kill()
            notice = await client.wait_type("disconnect")
            assert (notice["code"], notice["reconnect"]) == (3000, True)
            assert "the log has been away" in notice["reason"]
            assert (await client.closed()).code == 3000
        await server.restart()
        await eventually(lambda: _is_away(0), 10)


async def test_who_comes_while_the_log_is_away_is_asked_to_come_back(server: RedisServer, tmp_path: Path) -> None:
    """A WebSocket is not read then, so that its `auth` cannot be seen: that is no fault of its client."""
    settings = settings_for(server, tmp_path, auth_timeout=1, drain_seconds=1, websocket_port=0)
    async with gateway(settings) as listener:
        await server.kill()
        await eventually(lambda: _is_away(1), 10)
        assert listener.websocket is not None
        client = await SocketClient.connect(f"https://127.0.0.1:{listener.websocket.port}/")
        async with client:
            await client.send({"type": "auth", "token": "t", "protocol": 1})
            assert (await client.closed()).code == 3000
        await server.restart()
        await eventually(lambda: _is_away(0), 10)


async def _is_away(expected: float) -> bool:
    return REGISTRY.get_sample_value("headgate_log_away") == expected


async def _more(count: Callable[[], Awaitable[float]], before: float) -> bool:
    return await count() > before


async def _connects(url: str) -> bool:
    try:
        async with await wt_connect(url):
            return True
    except SessionRefusedError:
        return False
