"""Frames that are meant to become far more than their bytes, or to be read in two ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgpack
import pytest

from tests.attacks.sizes import FULL, size
from tests.attacks.world import world
from tests.support.client import Client
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOO_LARGE, MALFORMED, TOO_FAST = 4413, 4400, 3013
#: Frames of a client in a session, each with the code that it is closed with.
BOMBS = {
    "JSON, 10^5 levels": (b'{"a":' * 100_000, TOO_LARGE),
    "JSON, 10^5 lists": (b'{"a":' + b"[" * 100_000, TOO_LARGE),
    "JSON, wide": (b'{"a":[' + b"{}," * 20_000, TOO_LARGE),
    "JSON, an integer of 10^6 digits": (b'{"a":' + b"9" * 1_000_000, TOO_LARGE),
    "JSON, an integer of 60,000 digits": (b'{"a":' + b"9" * 60_000 + b"}\n", MALFORMED),
    "JSON, an exponent": (b'{"a":1e999}\n', MALFORMED),
    "JSON, space": (b'{"a":' + b" " * 70_000, TOO_LARGE),
    "JSON, NaN": (b'{"a":NaN}\n', MALFORMED),
    "JSON, Infinity": (b'{"a":-Infinity}\n', MALFORMED),
    "JSON, half a surrogate pair": (b'{"a":"\\ud800"}\n', MALFORMED),
    "JSON, text that is not UTF-8": (b'{"a":"\xff\xc0\x80"}\n', MALFORMED),
    "JSON, a byte order mark": (b'\xef\xbb\xbf{"type":"ping"}\n', MALFORMED),
    "JSON, something after the frame": (b'{"type":"ping"}]', MALFORMED),
    "JSON, the same key 1,000 times": (b'{"type":"ping",' + b'"a":1,' * 999 + b'"a":2}\n', None),
    "JSON, the same key 10,000 times": (b'{"type":"ping",' + b'"a":1,' * 9999 + b'"a":2}\n', TOO_LARGE),
    "msgpack, 10^5 levels": (b"\x81\xa1a" * 100_000, TOO_LARGE),
    "msgpack, 10^5 lists": (b"\x81\xa1a" + b"\x91" * 100_000, TOO_LARGE),
    "msgpack, 1 MiB of empty maps": (b"\x81\xa1a\xdd\x00\x10\x00\x00" + b"\x80" * (1 << 20), TOO_LARGE),
    "msgpack, 60,000 empty maps": (msgpack.packb({"a": [{}] * 60_000}), TOO_LARGE),
    "msgpack, 2^32 - 1 elements": (b"\x81\xa1a\xdd\xff\xff\xff\xff", TOO_LARGE),
    "msgpack, 2^32 - 1 pairs": (b"\x81\xa1a\xdf\xff\xff\xff\xff", TOO_LARGE),
    "msgpack, 2^32 - 1 bytes": (b"\x81\xa1a\xc6\xff\xff\xff\xff", TOO_LARGE),
    "msgpack, 2^32 - 1 characters": (b"\x81\xa1a\xdb\xff\xff\xff\xff", TOO_LARGE),
    "msgpack, a key of 2^32 - 1 characters": (b"\x81\xdb\xff\xff\xff\xff", TOO_LARGE),
    "msgpack, an extension": (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", MALFORMED),
    "msgpack, a time": (b"\x81\xa1a\xd6\xff\x00\x00\x00\x00", MALFORMED),
    "msgpack, NaN": (b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", MALFORMED),
    "msgpack, numbers as keys": (b"\x81\x01\x01", MALFORMED),
    "msgpack, maps as keys": (b"\x81\x80\x01", MALFORMED),
    "msgpack, text that is not UTF-8": (b"\x81\xa1a\xa2\xff\xc0", MALFORMED),
    "msgpack, a type that is not used": (b"\x81\xa1a\xc1", MALFORMED),
    "msgpack, something after the frame": (msgpack.packb({"type": "ping"}) + b"\x01", MALFORMED),
    "no frame at all": (bytes(1000), MALFORMED),
}


async def test_bombs(redis: RedisServer) -> None:
    """Frames that would become far more than their bytes, and those that two parsers would read in two ways, are
    refused by their bytes, each with its close code; what is only strange is answered."""
    async with world(redis, bytes_per_second="100000000") as attacked, attacked.attacked("JSON and msgpack bombs"):
        for _ in range(size(1, 10)):
            for what, (data, code) in BOMBS.items():
                client = Client(await attacked.client())
                await client.authenticate("attacker")
                stream = await client.transport.open_bidirectional()
                stream.write(data)
                if code is None:
                    assert (await stream.read_json())["type"] == "pong", what
                else:
                    assert (await client.closed()).code == code, what
                await client.transport.disconnect()


#: How far from the exact limit the first frame too many may be: further where the machine has other work.
EXACT = 0.05 if FULL else 0.15


async def test_limits_are_exact(redis: RedisServer) -> None:
    """What a session may send at once, and then a second, is what was configured: within 5 % it is closed at the frame
    that is one too many, and of datagrams as many get through. Others do not feel it."""
    rate, seconds = 400, size(1.0, 5.0)
    limits = {"frames_per_second": str(rate), "datagrams_per_second": str(rate)}
    async with world(redis, **limits) as attacked, attacked.attacked("three times the rate"):
        client = Client(await attacked.client())
        await client.authenticate("fast")
        await client.subscribe("cursors")
        before = await attacked.counted("headgate_frames_received_total", type="datagram.received")
        began = time.monotonic()
        sent = await at_rate(3 * rate, seconds, lambda: client.datagram({"type": "cursor", "channel": "cursors"}))
        await client.ask({"type": "ping"})
        # They were read until the answer at the latest, the last of them hardly before it was sent.
        least, most = (2 * rate + rate * (until - began) for until in (sent, time.monotonic()))
        taken = await attacked.counted("headgate_frames_received_total", type="datagram.received") - before
        print(f"datagrams: {taken:.0f} taken, {least:.0f} to {most:.0f} expected")
        assert (1 - EXACT) * least <= taken <= (1 + EXACT) * most
        control = await client.control()
        await at_rate(3 * rate, 10, lambda: control.write(b'{"type":"ping"}\n'), client.transport._ended.done)
        assert (await client.closed()).code == TOO_FAST
        await eventually(lambda: any(frame["type"] == "disconnect" for frame in client.received))
        # By the gateway's own clock: it may read later than was written.
        answered = [frame["timestamp"] for frame in client.received if frame["type"] == "pong"]
        expected = 2 * rate + rate * (answered[-1] - answered[0]) / 1000
        print(f"frames: {len(answered)} answered, {expected:.0f} expected")
        assert len(answered) == pytest.approx(expected, rel=EXACT)
        await client.transport.disconnect()


async def at_rate(
    rate: float, seconds: float, act: Callable[[], None], over: Callable[[], bool] = lambda: False
) -> float:
    """Act so many times a second, until time is up or it is over; gives the moment of the last time."""
    began = last = time.monotonic()
    done = 0
    while (passed := time.monotonic() - began) < seconds and not over():
        while done < passed * rate:
            act()
            done += 1
            last = time.monotonic()
        await asyncio.sleep(0.002)
    return last
