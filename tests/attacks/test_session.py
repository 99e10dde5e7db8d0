"""Attacks from inside a session: readers that do not read, capsules, frames and datagrams meant to be costly."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType

from ingress.webtransport.capsules import CLOSE
from tests.attacks.forging import Forger, datagram, h3_frame, stream
from tests.attacks.sizes import FULL, size
from tests.attacks.world import World, world
from tests.support.client import Client
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.support.wt_client import WebTransportClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLOSED = "headgate_sessions_closed_total"
#: From a session's end to that of its connection, when the client takes nothing (seconds).
END_S = 2.0 if FULL else 4.0
SLOW = {"code": "3008", "by": "gateway"}


async def member(world: World, channel: str) -> Client:
    """A session of the attacker's that is in a channel."""
    client = Client(await world.client())
    await client.authenticate("attacker")
    await client.subscribe(channel)
    return client


async def over(world: World, count: int) -> bool:
    """That many sessions were closed for reading too slowly."""
    return await world.counted(CLOSED, **SLOW) >= count


@pytest.mark.parametrize("how", ["deaf", "no credit"])
async def test_nobody_reads_what_the_application_sends(attacked: World, how: str) -> None:
    """Five members of a busy channel stop reading: each holds its bound at most, then is closed with 3008."""
    clients = [await member(attacked, "news") for _ in range(5)]
    async with attacked.attacked(f"broadcast, readers {how}"):
        for client in clients:
            forger = Forger(client.transport)
            forger.ignore_everything() if how == "deaf" else forger.give_no_credit()
        for _ in range(300):
            await attacked.verdicts.publish("news", [{"type": "news", "text": "x" * 8000}])
            await asyncio.sleep(0.005)
        await eventually(lambda: over(attacked, 5), 10)
    for client in clients:
        client.transport.vanish()


async def test_a_stream_for_each_push(attacked: World) -> None:
    """A client of the older contract gets each push on a stream of its own: streams it never ends are bounded too."""
    client = Client(await attacked.client())
    await client.send({"type": "auth", "token": "attacker"})
    await client.wait_type("auth_success")
    await client.subscribe("news")
    Forger(client.transport).ignore_everything()
    async with attacked.attacked("a push a stream, unread"):
        for _ in range(100):
            await attacked.verdicts.publish("news", [{"type": "n"}] * 200)
            await asyncio.sleep(0.01)
        await eventually(lambda: over(attacked, 1), 10)
    client.transport.vanish()


@pytest.mark.parametrize("streams", [32, 100])
async def test_nobody_reads_the_answers(redis: RedisServer, streams: int) -> None:
    """Requests on as many streams as there may be, faster than any client may, and no answer read: 3008."""
    limits = {"frames_per_second": "1000000", "bytes_per_second": "1000000000", "max_streams": str(streams)}
    async with world(redis, **limits) as attacked:
        client = Client(await attacked.client())
        await client.authenticate("attacker")
        opened = [await client.transport.open_bidirectional() for _ in range(streams - 1)]
        Forger(client.transport).give_no_credit()
        frames = b'{"type":"ping","id":"%s"}\n' % (b"x" * 60) * (400 // streams + 1)
        async with attacked.attacked(f"slow reader on {streams} streams"):
            for _ in range(60):
                for one in opened:
                    one.write(frames)
                await asyncio.sleep(0.03)
                if await over(attacked, 1):
                    break
            await eventually(lambda: over(attacked, 1), 10)
        client.transport.vanish()


async def test_the_end_needs_no_credit(attacked: World) -> None:
    """A client that lets the server send next to nothing is closed all the same, once a last chance has passed."""
    client = Client(await attacked.client(window=150))
    await client.control()
    Forger(client.transport).give_no_credit()
    async with attacked.attacked("no credit, then the end"):
        began = time.monotonic()
        await client.send_raw(b"no frame")
        # The close itself: how long the connection drains after it depends on the round trip.
        await eventually(lambda: client.transport.is_disconnected)
        took = time.monotonic() - began
    print(f"closed after {took:.2f} s")
    assert took <= END_S
    await client.transport.wait_disconnected()
    await client.transport.disconnect()


def capsule(kind: int, size: int, data: bytes = b"") -> bytes:
    """A DATA frame with the head of a capsule that says it has `size` bytes."""
    value = encode_uint_var(kind) + encode_uint_var(size) + data
    return h3_frame(FrameType.DATA, len(value), value)


def refused(client: WebTransportClient) -> bool:
    """The server refused what came on the CONNECT stream."""
    return (client._session_id, ErrorCode.H3_MESSAGE_ERROR) in client.refused_streams


async def test_closing_capsules_that_are_too_long(attacked: World) -> None:
    """CLOSE says it has more than its 1,028 bytes: its head is enough for the stream to be reset."""
    async with attacked.attacked("CLOSE capsules up to 2^60 bytes"):
        for size in (1 << 60, 10_000_000, 1029):
            client = await attacked.client()
            client._quic.send_stream_data(client._session_id, capsule(CLOSE, size, b"x" * 1000))
            client._link.transmit()
            await eventually(partial(refused, client), 10)
            await client.disconnect()


async def test_an_unknown_capsule_without_end(attacked: World) -> None:
    """A capsule of 2^60 bytes that nobody knows is skipped as it comes, 8 MB of it, and the session goes on."""
    client = Client(await attacked.client())
    await client.authenticate("attacker")
    async with attacked.attacked("unknown capsule of 2^60 bytes"):
        quic, session = client.transport._quic, client.transport._session_id
        quic.send_stream_data(session, capsule(0x1234, 1 << 60))
        for _ in range(8):
            quic.send_stream_data(session, h3_frame(FrameType.DATA, 1_000_000, bytes(1_000_000)))
            client.transport._link.transmit()
            await eventually(lambda: not quic._streams[session].sender._buffer, 20)
        assert (await client.ask({"type": "ping"}))["type"] == "pong"
    await client.transport.disconnect()


async def test_datagrams_without_end(attacked: World) -> None:
    """Tens of thousands of datagrams at once: what is over the rate is dropped and counted, unread when it is more."""
    count = size(50_000, 1_000_000)
    client = await member(attacked, "cursors")
    forger = Forger(client.transport)
    one = datagram(client.transport._session_id, b'{"type":"cursor","channel":"cursors","x":1}')
    async with attacked.attacked(f"{count:,} datagrams"):
        for _ in range(count // 200):
            forger.send([one] * 200)
            await asyncio.sleep(0.005)
        assert (await client.ask({"type": "ping"}))["type"] == "pong"
    dropped = await attacked.counted("headgate_datagrams_dropped_total", reason="rate")
    overrun = await attacked.event("datagrams_overrun")
    taken = await attacked.counted("headgate_frames_received_total", type="datagram.received")
    print(f"{dropped:,.0f} dropped by rate, {overrun:,.0f} unread, {taken:,.0f} taken")
    assert dropped + overrun > count / 2
    assert taken < count / 50
    await client.transport.disconnect()


async def test_nobody_reads_datagrams(attacked: World) -> None:
    """Datagrams for members that read and acknowledge nothing: as many wait as may, the oldest give way."""
    clients = [await member(attacked, "cursors") for _ in range(5)]
    for client in clients:
        Forger(client.transport).ignore_everything()
    async with attacked.attacked("datagrams that nobody reads"):
        for _ in range(size(100, 1000)):
            await attacked.verdicts.scatter("cursors", [{"type": "cursor", "x": "x" * 900}] * 50)
            await asyncio.sleep(0.01)
        await eventually(partial(waited, attacked, size(5000, 50_000)), 20)
    assert await attacked.event("datagrams_dropped") > 10_000
    for client in clients:
        client.transport.vanish()


async def waited(world: World, count: int) -> bool:
    """So many datagrams were given to each of the members."""
    return await world.counted("headgate_datagrams_sent_total") >= 5 * count


async def test_crumbs_of_frames(attacked: World) -> None:
    """Frames that come byte by byte, a packet each, cost their packets and no more."""
    client = Client(await attacked.client())
    await client.authenticate("attacker")
    forger = Forger(client.transport)
    control = (await client.control()).id
    sent = client.transport._quic._streams[control].sender.highest_offset
    frame = b'{"type":"ping","id":"p"}' * 40
    async with attacked.attacked("a byte a packet"):
        for at in range(len(frame)):
            forger.send([stream(control, sent + at, frame[at : at + 1])])
            if at % 20 == 0:
                await asyncio.sleep(0.01)
        await client.wait_type("pong")
    client.transport.vanish()
