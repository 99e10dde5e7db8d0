"""Attacks without a session: forged first packets, handshakes that stop half way, clients that never get on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from tests.attacks.initials import Client, Raw, addresses, hello, noise
from tests.attacks.sizes import size
from tests.attacks.world import World
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: What answers may be of what came from an address that has proven nothing (RFC 9000, section 8.1).
AMPLIFICATION = 3
#: From a first packet to the session, then the server lets go (seconds): ListenerOptions.setup_timeout.
SETUP_S = 10.0
#: Of the gateway's connections, the honest client's.
OTHERS = 1


def sockets(world: World, count: int) -> list[Raw]:
    """As many sockets, each with an address of its own."""
    return [Raw(world.url, address) for address in addresses(count)]


def amplification(raws: list[Raw]) -> float:
    """The most that an address was answered for a byte of its own; all are closed."""
    for raw in raws:
        raw.receive()
        raw.close()
    most = max(raw.received / raw.sent for raw in raws if raw.sent)
    whole = sum(raw.received for raw in raws) / sum(raw.sent for raw in raws)
    print(f"answered: {whole:.2f} of what came, {most:.2f} at most for one address")
    return most


def forged() -> Iterator[bytes]:
    """Noise, noise with a token, and a ClientHello from somebody who is not there, in turn."""
    hellos, _ = hello()
    while True:
        yield noise()
        yield noise(os.urandom(100))
        yield Client().initial(hellos)


async def test_forged_first_packets(attacked: World) -> None:
    """Two thousand forged Initials a second from a hundred addresses: Retry above a threshold, no address answered with
    more than three times its bytes, and who comes meanwhile gets a session."""
    raws, kinds = sockets(attacked, 100), forged()
    seconds, rate = size(3, 30), 2000
    async with attacked.attacked(f"{rate * seconds:,} forged Initials"):
        began, sent = time.monotonic(), 0
        waits: list[float] = []
        honest = asyncio.create_task(_keep_connecting(attacked, waits))
        while sent < rate * seconds:
            due = int((time.monotonic() - began) * rate)
            for number in range(sent, due):
                raws[number % len(raws)].send(next(kinds))
            sent = max(sent, due)
            await asyncio.sleep(0.005)
        honest.cancel()
        await asyncio.wait([honest])
    reached = sent / (time.monotonic() - began)
    print(f"{reached:.0f} a second; {len(waits)} sessions opened meanwhile, each in {max(waits) * 1000:.0f} ms at most")
    assert amplification(raws) <= AMPLIFICATION
    assert await attacked.event("retries") > sent / 4
    assert await attacked.event("connections") < size(800, 6000)
    assert max(waits) < 3


async def _keep_connecting(world: World, waits: list[float]) -> None:
    while True:
        at = time.monotonic()
        client = await world.client(number=150)
        waits.append(time.monotonic() - at)
        await client.disconnect()
        await asyncio.sleep(0.2)


async def test_a_client_hello_is_not_amplified(attacked: World) -> None:
    """Fifty real ClientHellos whose senders say nothing more: each address gets three times its bytes at most, however
    long it waits, and all of it was sent again by then."""
    raws = sockets(attacked, 50)
    async with attacked.attacked("50 ClientHellos, then silence"):
        for raw in raws:
            raw.send(Client().initial(hello()[0]))
        await asyncio.sleep(1.5)
    assert 1 < amplification(raws) <= AMPLIFICATION


def prove(raws: list[Raw]) -> None:
    """Answer every Retry that came with a handshake that goes no further."""
    for raw in raws:
        for answer in raw.receive():
            if (client := Client()).take([answer]):
                raw.send(client.initial(hello()[0]))


@pytest.mark.parametrize("spread", [1, 100])
async def test_half_open_handshakes(attacked: World, spread: int) -> None:
    """Thousands of handshakes from addresses that are proven, each left after Retry: a bounded number is kept, of one
    address a few."""
    count, kept = size(2000, 10_000), 256 if spread > 1 else 64
    raws = sockets(attacked, spread)

    async def counted() -> tuple[float, float]:
        """Connections, and handshakes that were refused."""
        refused = await attacked.event("half_open_refused") + await attacked.event("handshakes_limited")
        return await attacked.event("connections"), refused

    async def proven() -> bool:
        """Whether most have shown where they are: on a busy machine answers wait."""
        prove(raws)
        return sum(await counted()) > count / 2

    async with attacked.attacked(f"{count:,} half-open handshakes, {spread} addresses"):
        for first in range(0, count, 50):
            for number in range(first, min(first + 50, count)):
                raws[number % spread].send(Client().initial(hello()[0]))
            await asyncio.sleep(0.02)
            prove(raws)
        await eventually(proven, 30)
    made, refused = await counted()
    retries = await attacked.event("retries")
    print(f"half open: {made:.0f} made, {refused:.0f} refused, {retries:.0f} asked for proof")
    assert amplification(raws) <= AMPLIFICATION
    assert made <= kept + OTHERS
    assert retries > count / 2
