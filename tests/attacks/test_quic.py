"""Attacks below the session: QUIC frames, HTTP/3 frames and header sections that no honest client sends."""

from __future__ import annotations

import asyncio

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, StreamType
from aioquic.quic.packet import QuicErrorCode

from tests.attacks.forging import Forger, crypto, h3_frame, reset, stream
from tests.attacks.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONNECTIONS = 5
GIB = 1 << 30
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


async def test_requests_that_are_reset(attacked: World) -> None:
    """A thousand requests for a session, each reset at once, open one session on the log at most."""
    before = await attacked.verdicts.logged("session.opened")
    client = await attacked.client(request=False)
    forger = Forger(client)
    pseudo = [(":method", "CONNECT"), (":protocol", "webtransport"), (":scheme", "https"), (":path", "/")]
    headers = [*pseudo, (":authority", "headgate.test")]
    body = client._h3._encode_headers(0, [(name.encode(), value.encode()) for name, value in headers])
    request = h3_frame(FrameType.HEADERS, len(body), body)
    number = 0
    async with attacked.attacked("1,000 requests reset"):
        while number < 1000 and not client.is_disconnected:
            allowed = min(forger.credit(bidirectional=True), 1000)
            frames = [
                stream(4 * one, 0, request) + reset(4 * one, ErrorCode.H3_REQUEST_CANCELLED, len(request))
                for one in range(number, allowed)
            ]
            number = max(number, allowed)
            forger.send(frames or [b"\x01"])
            await asyncio.sleep(0.001)
    assert number > 100
    assert await attacked.event("requests_refused") + await attacked.event("violations") > 0
    assert await attacked.verdicts.logged("session.opened") <= before + 1
    await client.disconnect()
