"""A gateway's own life: its certificate, its admission, its signs of life."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis.asyncio as aioredis
from prometheus_client import REGISTRY

from ingress import app
from ingress.app import Listener
from ingress.server.certificates import certificate_hash, development_certificate
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthRequested,
    DisconnectDelivery,
    PresenceDelivery,
    PublicationDelivery,
    SubscribedDelivery,
)
from schemas.topics import channel_topic, session_topic
from tests.support.client import Client, Party, SocketClient
from tests.support.redis_server import RedisServer, redis_server
from tests.support.verdicts import Verdicts
from tests.support.waiting import eventually
from tests.support.wt_client import SessionRefusedError
from tests.support.wt_client import connect as wt_connect

AnyParty = TypeVar("AnyParty", bound=Party[Any])


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as running:
        yield running


def settings_for(server: RedisServer, folder: Path, **more: object) -> Settings:
    values = {"redis_url": server.url, "secret": "s" * 32, "data_dir": folder, "ingress_port": 0} | more
    return Settings.model_validate({"ingress_http_port": 0, "partitions": 2} | values)


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Listener]:
    """A whole gateway in this process until the block ends; gives its listener."""
    components, _ = app.build(settings)
    for component in components:
        await component.start()
    try:
        listener = components[-1]
        assert isinstance(listener, Listener)
        yield listener
    finally:
        for component in reversed(components):
            await component.stop()


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


async def logged(redis: aioredis.Redis, key: str) -> list[Entry]:
    """All entries of a stream."""
    found: Any = await redis.xrange(key)
    return [Entry.from_fields(fields) for _, fields in found]


async def delivered(redis: aioredis.Redis, settings: Settings, *entries: Entry, keep: int | None = None) -> None:
    """Append to the gateway's delivery stream, at once, of which no more than the last `keep` entries are kept then."""
    pipeline = redis.pipeline(transaction=True)
    for entry in entries:
        flat = entry.fields()
        pipeline.xadd(settings.keys.delivery(settings.gateway_id), dict(zip(flat[::2], flat[1::2], strict=True)))
    if keep is not None:
        pipeline.xtrim(settings.keys.delivery(settings.gateway_id), maxlen=keep, approximate=False)
    await pipeline.execute()


async def admitted(server: RedisServer, settings: Settings, url: str) -> Client:
    """A client of protocol 1 that is authenticated, by a delivery as the router writes it."""
    return await admit(await Client.connect(url), settings)


async def admit(client: AnyParty, settings: Settings) -> AnyParty:
    """The same, of a client that is connected."""
    redis: aioredis.Redis = connect(settings)

    async def asked() -> dict[str, Entry]:
        logs = [await logged(redis, settings.keys.inbound(partition)) for partition in range(settings.partitions)]
        return {one.id: one for log in logs for one in log if one.type == AuthRequested.TYPE and one.id not in before}

    before: set[str] = set()
    before = set(await asked())
    await client.send({"type": "auth", "token": "t", "protocol": 1})
    (entry,) = (await eventually(asked, 10)).values()
    request = entry.event()
    assert isinstance(request, AuthRequested)
    verdict = entry.follow(0, AuthenticatedDelivery(user=None, stream=request.stream), topic=f"session:{entry.session}")
    await delivered(redis, settings, verdict)
    client.session = (await client.wait_type("auth_success"))["sessionId"]
    await redis.aclose()
    return client


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


async def test_a_session_is_sent_back_for_what_its_gateway_did_not_get(server: RedisServer, tmp_path: Path) -> None:
    """A delivery stream that was cut short leaves a hole: nothing is delivered behind it as if it were whole."""
    settings = settings_for(server, tmp_path)
    redis: aioredis.Redis = connect(settings)
    async with gateway(settings) as listener:
        client = await admitted(server, settings, f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            topic = session_topic(client.session)
            for offset in (1, 2, 4):
                told = PublicationDelivery(frame={"type": "note", "n": offset}, epoch="", offset=offset)
                await delivered(redis, settings, Entry.of(told, id=f"p{offset}", ts=1, topic=topic))
            notice = await client.wait_type("disconnect")
            assert (notice["code"], notice["reconnect"]) == (3010, True)
            assert [frame["n"] for frame in client.received if frame["type"] == "note"] == [1, 2]
    await redis.aclose()


@pytest.mark.parametrize("lost", ["its record", "something else"])
async def test_sessions_come_back_when_a_part_of_the_log_is_lost(
    server: RedisServer, tmp_path: Path, lost: str
) -> None:
    """Their topics may have been there. Of a session whose record is gone the gateway says which channels it leaves."""
    settings = settings_for(server, tmp_path)
    redis: aioredis.Redis = connect(settings)
    async with gateway(settings) as listener:
        client = await Client.connect(f"https://127.0.0.1:{listener.quic.port}/")
        async with client, Verdicts(server.url, settings.keys, settings.gateway_id):
            await client.authenticate("t")
            await client.subscribe("news")
            log = settings.keys.inbound_of(client.session)
            listener._gateway.log_lost(
                [settings.keys.epoch(log if lost == "its record" else settings.keys.outbound(0))]
            )
            notice = await client.wait_type("disconnect")
            assert (notice["code"], notice["reconnect"]) == (3010, True)

            async def ended() -> bool:
                return "session.disconnected" in await written()

            async def written() -> list[str]:
                found: Any = await redis.xrange(log)
                entries = [Entry.from_fields(fields) for _, fields in found]
                return [str(one.payload().get("channel", one.type)) for one in entries if one.session == client.session]

            await eventually(ended)
    assert (await written()).count("news") == (2 if lost == "its record" else 1)
    await redis.aclose()


async def test_a_gateway_that_fell_behind_sends_its_sessions_back(server: RedisServer, tmp_path: Path) -> None:
    """Whatever its stream lost before it was read: clients come back for it, and the gateway goes on as another."""
    settings = settings_for(server, tmp_path, gateway_id="g1")
    redis: aioredis.Redis = connect(settings)
    async with gateway(settings) as listener:
        client = await admitted(server, settings, f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            await delivered(redis, settings, *_presences("much", 400))
            told = PublicationDelivery(frame={"type": "note"}, epoch="", offset=1)
            await delivered(redis, settings, Entry.of(told, id="p1", ts=1, topic=session_topic(client.session)))
            await client.wait_type("note")  # To be behind is no loss.
            await delivered(redis, settings, *_presences("more", 400), keep=300)
            notice = await client.wait_type("disconnect")
            assert (notice["code"], notice["reconnect"]) == (3010, True)
        names = await eventually(lambda: _names(redis, settings, 2), 10)
        assert min(names) == "g1"
        await eventually(lambda: _ended(redis, settings, client.session), 10)
        again = settings.model_copy(update={"gateway_id": max(names)})
        async with await admitted(server, again, f"https://127.0.0.1:{listener.quic.port}/") as back:
            assert (await back.ask({"type": "ping"}))["type"] == "pong"
    await redis.aclose()


def _presences(name: str, count: int) -> list[Entry]:
    """Deliveries without an offset."""
    told = PresenceDelivery(change="joined", member={"id": "7"}, exclude="")
    return [Entry.of(told, id=f"{name}-{n}", ts=1, topic=channel_topic("presence-a")) for n in range(count)]


async def _names(redis: aioredis.Redis, settings: Settings, count: int) -> list[str]:
    found: Any = await redis.zrange(settings.keys.gateways(), 0, -1)
    names = [name.decode() for name in found]
    return names if len(names) == count else []


async def test_an_order_that_cannot_be_carried_out_ends_one_session_alone(server: RedisServer, tmp_path: Path) -> None:
    """Its session is closed with 3000, and everybody else goes on receiving."""
    settings = settings_for(server, tmp_path)
    redis: aioredis.Redis = connect(settings)
    async with gateway(settings) as listener:
        url = f"https://127.0.0.1:{listener.quic.port}/"
        async with await admitted(server, settings, url) as victim, await admitted(server, settings, url) as other:
            order = DisconnectDelivery(code=-1, reason="")
            told = PublicationDelivery(frame={"type": "note"}, epoch="", offset=1)
            await delivered(
                redis,
                settings,
                Entry.of(order, id="d1", ts=1, session=victim.session, topic=session_topic(victim.session)),
                Entry.of(told, id="p1", ts=1, topic=session_topic(other.session)),
            )
            await other.wait_type("note")
            assert (await victim.closed()).code == 3000
        await eventually(lambda: _ended(redis, settings, victim.session), 10)
    await redis.aclose()


@pytest.mark.parametrize("over", ["webtransport", "websocket"])
async def test_who_missed_much_gets_it_at_once(server: RedisServer, tmp_path: Path, over: str) -> None:
    """Histories of more than a client leaves unread otherwise, and what comes right behind them, are no 3008."""
    settings = settings_for(server, tmp_path, websocket_port=0)
    redis: aioredis.Redis = connect(settings)
    async with gateway(settings) as listener:
        assert listener.websocket is not None
        client: Client | SocketClient
        if over == "websocket":
            client = await SocketClient.connect(f"https://127.0.0.1:{listener.websocket.port}/")
        else:
            client = await Client.connect(f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            await admit(client, settings)
            entries = [_missed(client.session, f"c{n}") for n in range(12)]
            told = PublicationDelivery(frame={"type": "note"}, epoch="", offset=1)
            entries.append(Entry.of(told, id="p1", ts=1, topic=session_topic(client.session)))
            await delivered(redis, settings, *entries)
            for n in range(12):
                assert len((await client.wait_type("subscribed", channel=f"c{n}"))["publications"]) == 100
            await client.wait_type("note")
            assert (await client.ask({"type": "ping"}))["type"] == "pong"
    await redis.aclose()


def _missed(session: str, channel: str) -> Entry:
    """A channel that is given back, with 110 KB that were missed there."""
    frame = {"type": "channel_broadcast", "channel": channel, "data": "x" * 1100}
    missed = [{"offset": n, "frame": frame} for n in range(1, 101)]
    given = SubscribedDelivery(epoch="e", offset=100, recovered=True, publications=missed)
    return Entry.of(given, id=f"given/{channel}", ts=1, session=session, topic=channel_topic(channel))


async def _ended(redis: aioredis.Redis, settings: Settings, session: str) -> bool:
    """The log says that the session's connection ended."""
    entries = await logged(redis, settings.keys.inbound_of(session))
    return any(entry.type == "session.disconnected" and entry.session == session for entry in entries)


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
