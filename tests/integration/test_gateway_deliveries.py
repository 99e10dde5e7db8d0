"""What a gateway makes of its delivery stream: holes in it, much at once, and what it fails on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from ingress.deliveries import Deliveries
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import (
    DisconnectDelivery,
    PresenceDelivery,
    PublicationDelivery,
    SubscribedDelivery,
)
from schemas.topics import channel_topic, session_topic
from tests.integration.gateway_world import admit, admitted, delivered, gateway, logged, settings_for
from tests.support.client import Client, SocketClient
from tests.support.defects import Defect
from tests.support.redis_server import RedisServer
from tests.support.verdicts import Verdicts
from tests.support.waiting import eventually


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


async def test_a_gateway_that_can_read_no_more_begins_anew(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deaf, it would go on to say that it lives: its sessions come back for what they miss, and it reads as another."""
    settings = settings_for(server, tmp_path, gateway_id="g1")
    redis: aioredis.Redis = connect(settings)
    async with gateway(settings) as listener:
        client = await admitted(server, settings, f"https://127.0.0.1:{listener.quic.port}/")
        async with client:
            with monkeypatch.context() as broken:
                broken.setattr(Deliveries, "_deliver", Defect())
                await delivered(redis, settings, *_presences("any", 1))
                notice = await client.wait_type("disconnect")
            assert (notice["code"], notice["reconnect"]) == (3010, True)
        names = await eventually(lambda: _names(redis, settings, 2), 10)
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


async def _ended(redis: aioredis.Redis, settings: Settings, session: str) -> bool:
    """The log says that the session's connection ended."""
    entries = await logged(redis, settings.keys.inbound_of(session))
    return any(entry.type == "session.disconnected" and entry.session == session for entry in entries)


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
