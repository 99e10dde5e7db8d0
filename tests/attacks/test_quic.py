"""Attacks below the session: streams, HTTP/3 frames and header sections that no honest client sends."""

from __future__ import annotations

import asyncio

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, StreamType
from aioquic.quic.packet import QuicErrorCode

from tests.attacks.forging import Forger, crypto, h3_frame, reset, stream
from tests.attacks.sizes import size
from tests.attacks.world import World
from tests.support.client import Client
from tests.support.wt_client import WebTransportClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONNECTIONS = 5
GIB = 1 << 30
#: Memory that may still come while an attack that leaves nothing behind goes on (MiB).
SLOPE_MIB = 2.0
#: One of those that everybody must skip (RFC 9114, section 7.2.8).
UNKNOWN_FRAME = 0x21


async def ends_with(forger: Forger, code: int) -> None:
    """The server closes the connection, and says why."""
    await forger.client.wait_disconnected(10)
    assert forger.client.connection_error is not None
    assert forger.client.connection_error.error_code == code, forger.client.connection_error
    await forger.client.disconnect()


async def test_more_than_is_granted(attacked: World) -> None:
    """One byte at doubling offsets each, then streams without asking: what is not granted is refused, and not held."""
    async with attacked.attacked("sparse STREAM frames"):
        for _ in range(CONNECTIONS):
            forger = Forger(await attacked.client())
            for power in range(15, 25):
                forger.send([stream(4, 1 << power, b"x")])
            await ends_with(forger, QuicErrorCode.FLOW_CONTROL_ERROR)
    async with attacked.attacked("10,000 streams at once"):
        forger = Forger(await attacked.client())
        forger.send([stream(4 * one, 0, b"x") + reset(4 * one, 7, 1) for one in range(1, 10_000)])
        await ends_with(forger, QuicErrorCode.STREAM_LIMIT_ERROR)
    assert await attacked.event("violations") == CONNECTIONS + 1


async def test_streams_in_crumbs(attacked: World) -> None:
    """Every other byte of a window, or of a handshake, where each next one is dearer to file: the connection ends."""
    async with attacked.attacked("every other byte"):
        for _ in range(2):
            forger = Forger(await attacked.client())
            crumbs = [stream(4 * number, at, b"x") for number in (1, 2, 3) for at in range(1, 60_000, 2)]
            for first in range(0, len(crumbs), 500):
                forger.send(crumbs[first : first + 500])
                await asyncio.sleep(0.005)
                if forger.client.is_disconnected:
                    break
            await ends_with(forger, QuicErrorCode.INTERNAL_ERROR)
    async with attacked.attacked("CRYPTO, every other byte"):
        forger = Forger(await attacked.client())
        for first in range(1, 100_000, 1000):
            forger.send([crypto(at, b"x") for at in range(first, first + 1000, 2)])
            await asyncio.sleep(0.005)
            if forger.client.is_disconnected:
                break
        await ends_with(forger, QuicErrorCode.INTERNAL_ERROR)


async def test_frames_of_a_gibibyte(attacked: World) -> None:
    """A frame that says it has a GiB is refused by its head when it had to be held, else skipped as it comes."""
    cases = (
        (FrameType.HEADERS, ErrorCode.H3_EXCESSIVE_LOAD),
        (FrameType.PUSH_PROMISE, ErrorCode.H3_FRAME_UNEXPECTED),
        (UNKNOWN_FRAME, None),
    )
    async with attacked.attacked("HTTP/3 frames of 1 GiB"):
        for kind, code in cases:
            forger = Forger(await attacked.client())
            opening = h3_frame(kind, GIB)
            forger.send([stream(4, 0, opening)])
            for at in range(0, 60_000, 1000):
                forger.send([stream(4, len(opening) + at, bytes(1000))])
            if code is None:
                await forger.client.disconnect()
            else:
                await ends_with(forger, code)
    assert await attacked.event("violations") == len(cases) - 1


INSTRUCTIONS = {
    "a table": b"\x3f\xe1\xff\x03",
    "an entry": b"\xc0\x7f\x81\x1e" + b"x" * 4000,
    "a duplicate": b"\x00" * 1000,
}


async def test_qpack_instructions(attacked: World) -> None:
    """Whatever would fill a table of headers, from which a few bytes refer to megabytes, ends the connection."""
    async with attacked.attacked("QPACK instructions"):
        for instructions in list(INSTRUCTIONS.values()) * 3:
            client = await attacked.client()
            forger = Forger(client)
            encoder = client._h3._local_encoder_stream_id
            assert encoder is not None
            sent = client._quic._streams[encoder].sender.highest_offset
            for at in range(0, len(instructions), 1000):
                forger.send([stream(encoder, sent + at, instructions[at : at + 1000])])
            await ends_with(forger, ErrorCode.QPACK_ENCODER_STREAM_ERROR)
    assert await attacked.event("violations") == 3 * len(INSTRUCTIONS)


async def test_a_section_of_references(attacked: World) -> None:
    """Headers that are a byte each, naming long ones of the static table, are refused before they are looked at."""
    # Indexed field line, static table: entry 85 is content-security-policy with 53 bytes (RFC 9204, appendix A).
    section = b"\x00\x00" + b"\xff\x16" * 8000
    async with attacked.attacked("16 KB of references"):
        for _ in range(CONNECTIONS):
            client = await attacked.client(request=False)
            forger = Forger(client)
            body = h3_frame(FrameType.HEADERS, len(section), section)
            for at in range(0, len(body), 1000):
                forger.send([stream(0, at, body[at : at + 1000], end=at + 1000 >= len(body))])
            await ends_with(forger, ErrorCode.H3_EXCESSIVE_LOAD)


async def test_streams_opened_and_reset(attacked: World) -> None:
    """Ten thousand streams, reset as soon as they are open, as fast as the server allows new ones."""
    client = await attacked.client()
    forger = Forger(client)
    opening = encode_uint_var(StreamType.WEBTRANSPORT) + encode_uint_var(client._session_id)
    first = number = 4
    async with attacked.attacked("10,000 streams reset"):
        while number < first + 10_000:
            allowed = min(forger.credit(bidirectional=False), first + 10_000)
            ids = [2 + 4 * one for one in range(number, allowed)]
            number = max(number, allowed)
            forger.send([stream(one, 0, opening) + reset(one, 7, len(opening)) for one in ids] or [b"\x01"])
            await asyncio.sleep(0.001)
    assert not client.is_disconnected
    await client.disconnect()


async def test_a_hundred_thousand_streams(attacked: World) -> None:
    """Streams of all kinds, opened and ended one after the other, leave nothing behind: memory has its most early."""
    count = size(10_000, 100_000)
    client = await member(attacked)
    forger, session = Forger(client), encode_uint_var(client._session_id)
    opened = {True: 2, False: 4}
    early = 0.0
    async with attacked.attacked(f"{count:,} streams opened and ended"):
        while sum(opened.values()) < count:
            for both, kind in ((True, FrameType.WEBTRANSPORT_STREAM), (False, StreamType.WEBTRANSPORT)):
                head = encode_uint_var(kind) + session
                ids = [4 * one + 2 * (not both) for one in range(opened[both], forger.credit(bidirectional=both))]
                opened[both] += len(ids)
                forger.send([stream(one, 0, head, end=True) for one in ids] or [b"\x01"])
            await asyncio.sleep(0.001)
            assert not client.is_disconnected
            if not early and sum(opened.values()) > count / 2:
                early = attacked.gateway.rss()
        late = attacked.gateway.rss()
    print(f"memory in the second half: {late - early:+.1f} MiB; {opened[True]:,} of them both ways")
    assert opened[True] > count / 4
    assert late - early <= SLOPE_MIB
    await client.disconnect()


async def member(world: World, number: int = 0) -> WebTransportClient:
    """A session that may stay, with its control stream open."""
    client = Client(await world.client(number=number))
    await client.authenticate("attacker")
    return client.transport


async def test_streams_that_never_get_a_byte(attacked: World) -> None:
    """A head and nothing more on as many streams as there may be, cut at each byte, on many connections: as long as
    the client likes, for next to nothing."""
    count = size(30, 100)
    clients = [await member(attacked, number) for number in range(count)]
    async with attacked.attacked(f"{count * 59:,} streams without a byte"):
        for client in clients:
            forger, session = Forger(client), encode_uint_var(client._session_id)
            both = encode_uint_var(FrameType.WEBTRANSPORT_STREAM) + session
            one_way = encode_uint_var(StreamType.WEBTRANSPORT) + session
            forger.send([stream(4 * n, 0, both[: 1 + n % len(both)]) for n in range(2, 32)])
            forger.send([stream(2 + 4 * n, 0, one_way[: 1 + n % len(one_way)]) for n in range(4, 33)])
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        assert not any(client.is_disconnected for client in clients)
    for client in clients:
        client.vanish()


def literal(name: bytes, value: bytes) -> bytes:
    """A literal field line with a literal name of at most six bytes (RFC 9204, section 4.5.6)."""
    size = bytes([len(value)]) if len(value) < 127 else b"\x7f" + _continued(len(value) - 127)
    return bytes([0x20 | len(name)]) + name + size + value


def _continued(number: int) -> bytes:
    """The rest of an integer with a prefix (RFC 7541, section 5.1)."""
    found = b""
    while number >= 128:
        found += bytes([number % 128 | 128])
        number //= 128
    return found + bytes([number])


#: Header sections that are more than they seem, or more than there may be (RFC 9204, appendix A for the static table).
SECTIONS: dict[str, tuple[bytes, int]] = {
    "one long value": (literal(b"x", b"y" * 20_000), ErrorCode.H3_EXCESSIVE_LOAD),
    "16 KiB of short fields": (literal(b"x", b"") * 4000, ErrorCode.H3_EXCESSIVE_LOAD),
    "16 KiB of static names": (b"\x5f\x46\x00" * 5000, ErrorCode.H3_EXCESSIVE_LOAD),
    "a reference to a dynamic table": (b"\x80" * 100, ErrorCode.QPACK_DECOMPRESSION_FAILED),
    "a dynamic table of 2^30 entries": (b"", ErrorCode.QPACK_DECOMPRESSION_FAILED),
    "Huffman code without end": (b"\x21x\xff\x81\x3e" + b"\xff" * 8000, ErrorCode.QPACK_DECOMPRESSION_FAILED),
}


async def test_header_sections(attacked: World) -> None:
    """A section that is too long in bytes, in fields or when it is decoded ends the connection; so does one that wants
    a dynamic table."""
    async with attacked.attacked("header sections"):
        for what, (lines, code) in SECTIONS.items():
            for number in range(size(2, CONNECTIONS)):
                client = await attacked.client(request=False, number=number)
                forger = Forger(client)
                prefix = b"\xff" + b"\xff" * 4 + b"\x00\x00" if "2^30" in what else b"\x00\x00"
                body = h3_frame(FrameType.HEADERS, len(section := prefix + lines), section)
                for at in range(0, len(body), 1000):
                    forger.send([stream(0, at, body[at : at + 1000], end=at + 1000 >= len(body))])
                try:
                    await ends_with(forger, code)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(what) from error
