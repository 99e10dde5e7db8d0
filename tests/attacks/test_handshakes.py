"""Attacks on the handshake itself: what may be held of it, packets behind it that are none, and other protocols."""

from __future__ import annotations

import asyncio
import os
import struct
from functools import partial

import pytest
from aioquic import tls
from aioquic.quic.packet import QuicErrorCode, QuicFrameType

# Re-exported by aioquic.buffer, which type checkers do not take for an export.
from aioquic._buffer import Buffer  # isort: skip

from tests.attacks.forging import crypto
from tests.attacks.initials import Client, Raw, addresses, hello
from tests.attacks.sizes import size
from tests.attacks.world import World, world
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Fifty connections are believed without proof, each of which could hold half a MiB.
BELIEVED = 45
#: Memory that may still come while an attack that costs nothing goes on (MiB).
SLOPE_MIB = 5.0


async def test_a_handshake_with_a_gap(attacked: World) -> None:
    """One byte of CRYPTO far behind the rest, in the only packet of many clients, reserves no room for the rest."""
    raws = [Raw(attacked.url, address) for address in addresses(BELIEVED)]
    async with attacked.attacked(f"{BELIEVED} handshakes with a gap of 500 KB"):
        for raw in raws:
            raw.send(Client().initial(crypto(500_000, b"x")))
            await asyncio.sleep(0.005)
    for raw in raws:
        raw.close()
    await eventually(partial(refused, attacked, BELIEVED), 5)


async def test_a_handshake_without_end(attacked: World) -> None:
    """A ClientHello that says it has 16 MiB, and comes in order: the more of it is held the dearer each next piece."""
    raw, client = Raw(attacked.url, addresses(1)[0]), Client()
    data, at = b"\x01\xff\xff\xff" + bytes(996), 0
    async with attacked.attacked("ClientHello of 16 MiB"):
        for _ in range(size(3000, 16_000)):
            raw.send(client.initial(crypto(at, data)))
            at, data = at + len(data), bytes(1000)
            if at % 20_000 == 0:
                await asyncio.sleep(0.005)
    raw.close()
    await eventually(partial(refused, attacked, 1), 5)


async def refused(world: World, count: int) -> bool:
    """So many connections were closed because their client broke a rule; told when they are over."""
    return await world.event("violations") >= count


def broken() -> list[bytes]:
    """What may follow an Initial packet in the same UDP packet, and should not."""
    own = os.urandom(8)
    head = b"\xc1" + struct.pack("!I", 1) + b"\x08" + own + b"\x08" + own
    return [
        head,
        head[:7],
        head + b"\x00" + struct.pack("!H", 0x4000 | 400) + os.urandom(100),
        head + b"\x00" + struct.pack("!H", 0x4000 | 100) + os.urandom(100),
        b"\xc1" + struct.pack("!I", 0xBABABABA) + b"\xff" + os.urandom(40),
        b"\xe1" + head[1:] + struct.pack("!H", 0x4000 | 60) + os.urandom(60),
        b"\x41" + os.urandom(100),
        os.urandom(200),
    ]


async def test_packets_behind_the_first(redis: RedisServer) -> None:
    """Tens of thousands of Initials with something broken behind them, half of them on connections that are there:
    memory has its most early, and stays."""
    count = size(10_000, 100_000)
    async with world(redis, max_connections_per_address="0") as attacked:
        raws = [Raw(attacked.url, address) for address in addresses(50)]
        known = [Client() for _ in raws]
        early = late = 0.0
        async with attacked.attacked(f"{count:,} Initials with a broken packet behind"):
            for number in range(count):
                raw, client = raws[number % 50], known[number % 50] if number % 2 else Client()
                behind = broken()[number % 8]
                raw.send(client.initial(hello()[0] if client.number == 0 else b"\x01", behind))
                if client.number == 30_000:
                    known[number % 50] = Client()
                if number % 20 == 0:
                    await asyncio.sleep(0.004)
                if number == count * 2 // 3:
                    early = attacked.gateway.rss()
            late = attacked.gateway.rss()
        print(f"memory in the last third: {late - early:+.1f} MiB")
        assert late - early <= SLOPE_MIB
        for raw in raws:
            raw.close()


FOREIGN = {
    "h2": (b"\x02h3", b"\x02h2", tls.AlertNoApplicationProtocol),
    # An extension that nobody knows, in place of the one that names protocols.
    "no protocol": (
        b"\x00\x10\x00\x05\x00\x03\x02h3",
        b"\x1a\x1a\x00\x05\x00\x03\x02h3",
        tls.AlertNoApplicationProtocol,
    ),
    "TLS 1.2": (b"\x00\x2b\x00\x03\x02\x03\x04", b"\x00\x2b\x00\x03\x02\x03\x03", tls.AlertProtocolVersion),
}


async def test_other_protocols(attacked: World) -> None:
    """Who speaks no HTTP/3, or no TLS 1.3, is told so in the handshake (RFC 9001, section 8.1) and gets no further."""
    for what, (known, foreign, alert) in FOREIGN.items():
        raw, client = Raw(attacked.url, addresses(1)[0]), Client()
        frames, _ = hello()
        assert frames.count(known) == 1
        raw.send(client.initial(frames.replace(known, foreign)))
        answers: list[bytes] = []
        await eventually(partial(received, raw, answers))
        raw.close()
        closing = Buffer(data=client.read(answers[0]))
        assert closing.pull_uint_var() == QuicFrameType.TRANSPORT_CLOSE, what
        assert closing.pull_uint_var() == QuicErrorCode.CRYPTO_ERROR + int(alert.description), what


def received(raw: Raw, answers: list[bytes]) -> bool:
    """Whether anything has come."""
    answers += raw.receive()
    return bool(answers)
