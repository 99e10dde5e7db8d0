"""Attacks with QUIC's own frames: acknowledgements of anything, connection ids, challenges, handshake data too late."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from aioquic.quic.packet import QuicErrorCode

from tests.attacks.forging import Forger, ack, crypto, new_connection_id, path_challenge
from tests.attacks.sizes import size
from tests.attacks.world import World
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def ends_with(forger: Forger, code: int) -> None:
    """The server closes the connection, and says why."""
    await forger.client.wait_disconnected(10)
    assert forger.client.connection_error is not None
    assert forger.client.connection_error.error_code == code, forger.client.connection_error
    await forger.client.disconnect()


async def test_acknowledgements(attacked: World) -> None:
    """ACKs of what was never sent: with a thousand ranges they cost their packets and no more; the server sends nothing
    for them that it did not send before."""
    packets = size(1000, 10_000)
    async with attacked.attacked(f"{packets:,} ACKs of 400 ranges"):
        forger = Forger(await attacked.client())
        scattered = ack([(1_000_000 - 4 * one, 1_000_000 - 4 * one) for one in range(400)])
        await storm(forger, scattered, packets)
    async with attacked.attacked(f"{packets:,} ACKs of packets not sent"):
        forger = Forger(await attacked.client())
        await storm(forger, ack([(0, 1 << 40)]), packets)


async def storm(forger: Forger, frame: bytes, packets: int) -> None:
    """Send a frame many times, a packet each, and count what comes back."""
    received = forger.client.packets_received
    for first in range(0, packets, 25):
        for _ in range(first, min(first + 25, packets)):
            forger.send([frame.ljust(1000, b"\0")])
        await asyncio.sleep(0.005)
        assert not forger.client.is_disconnected
    answers = forger.client.packets_received - received
    print(f"{answers} packets in answer to {packets}")
    assert answers <= packets
    await forger.client.disconnect()


async def test_connection_ids(attacked: World) -> None:
    """Connection ids that each retire the one before, many in a packet or one, and nothing that the server says to them
    is acknowledged: few may wait, and the connection ends. So it does with more than the server said that it keeps."""
    for number, each in enumerate((1, 200), start=1):
        forger = Forger(await attacked.client())
        forger.ignore_everything()
        async with attacked.attacked(f"5,000 connection ids, {each} at once"):
            for first in range(8, 5000, each):
                forger.send([new_connection_id(one, one) for one in range(first, first + each)])
                if first % 40 == 8:
                    await asyncio.sleep(0.002)
            await eventually(partial(refused, attacked, number), 10)
        forger.client.vanish()
    forger = Forger(await attacked.client())
    forger.send([new_connection_id(one, 0) for one in range(8, 100)])
    await ends_with(forger, QuicErrorCode.CONNECTION_ID_LIMIT_ERROR)


async def refused(world: World, count: int) -> bool:
    """So many connections were closed because their client broke a rule; told when they are over."""
    return await world.event("violations") == count


async def test_challenges(attacked: World) -> None:
    """PATH_CHALLENGE by the thousand, and no answer acknowledged: what cannot be answered is dropped."""
    count = size(20_000, 200_000)
    forger = Forger(await attacked.client())
    received = forger.client.packets_received
    forger.ignore_everything()
    async with attacked.attacked(f"{count:,} challenges"):
        for first in range(0, count, 500):
            forger.send([path_challenge(one) for one in range(first, first + 500)])
            await asyncio.sleep(0.005)
    answers = forger.client.packets_received - received
    print(f"{answers} packets in answer to {count // 120}")
    assert answers < count / 60
    forger.client.vanish()


async def test_handshake_data_too_late(attacked: World) -> None:
    """CRYPTO on an open connection, with holes and at doubling offsets: held to the bound of a handshake."""
    async with attacked.attacked("CRYPTO with holes"):
        for power in (13, 16, 19, 25):
            forger = Forger(await attacked.client())
            forger.send([crypto((1 << one) + one, b"x" * 10) for one in range(5, power + 1)])
            await ends_with(forger, QuicErrorCode.CRYPTO_BUFFER_EXCEEDED)
    assert await attacked.event("violations") == 4
