"""What strangers send: each mistake gets its error or close code and a counter, and the gateway lives on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.laravel import REQUEST_TIMEOUT_S
from tests.support.system import System, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """One gateway and everything behind it."""
    async with system(auth_timeout="8") as made:
        yield made


async def closes(running: System, code: int) -> float:
    """How many sessions the gateway has closed with `code`."""
    return await running.gateways[0].metric("headgate_sessions_closed_total", code=str(code), by="gateway")


async def alive(running: System) -> None:
    """The gateway still serves another client."""
    async with running.client() as other:
        await other.authenticate((await running.laravel.token("innocent")).token)
        assert (await other.ask({"type": "ping"}))["type"] == "pong"


async def opened(running: System, client: Client) -> Client:
    await client.authenticate((await running.laravel.token("stranger")).token)
    return client


DEEP = b'{"a":' * 40 + b"1" + b"}" * 40
WIDE = msgpack.packb({"type": "x", "a": [{}] * 2000})


@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("malformed JSON", b'{"type": nonsense}', 4400),
        ("a stream that is neither", b"GET / HTTP/1.1\r\n\r\n", 4400),
        ("malformed msgpack", b"\x81\xa4type\xc1", 4400),
        ("msgpack with an extension type", msgpack.packb({"type": msgpack.ExtType(1, b"x")}), 4400),
        ("an oversized frame", b'{"type":"x","pad":"' + b"x" * 70_000 + b'"}', 4413),
        ("an oversized msgpack declaration", b"\xdf\xff\xff\xff\xff", 4413),
        ("deep nesting", DEEP, 4413),
        ("too many keys", WIDE, 4413),
        ("a message before auth", b'{"type":"message","channel":"lobby","data":1}', 4401),
        ("an auth frame without a token", b'{"type":"auth"}', 4400),
    ],
)
async def test_what_cannot_be_accepted_closes_with_its_code(running: System, what: str, data: bytes, code: int) -> None:
    """Each kind of bad bytes closes only its own session, with the code that names it, and is counted."""
    before = await closes(running, code)
    async with running.client() as client:
        await client.send_raw(data)
        closed = await client.closed()
    assert (closed.code, closed.abrupt) == (code, False), what
    assert closed.reason
    await eventually(lambda: _counted(running, code, before), 10)
    await alive(running)


async def _counted(running: System, code: int, before: float) -> bool:
    return await closes(running, code) == before + 1


async def test_a_bad_frame_after_auth_closes_and_what_came_before_counts(running: System) -> None:
    """Frames before the bad one in the same write are handled; the session then closes with 4400."""
    async with running.client() as client:
        await opened(running, client)
        await client.send_raw(b'{"type":"echo","id":"first"}{"type":nope}')
        assert (await client.closed()).code == 4400
    await running.settled()
    frames = [
        e.payload()["frame"] for e in await running.entries() if e.session == client.session and "frame" in e.payload()
    ]
    assert frames == [{"type": "echo", "id": "first"}]


async def test_no_auth_in_time(running: System) -> None:
    """A client that says nothing is closed with 4408 when its time is up."""
    before = await closes(running, 4408)
    async with running.client() as client:
        assert (await client.closed()).code == 4408
    await eventually(lambda: _counted(running, 4408, before), 10)


async def test_a_wrong_token(running: System) -> None:
    """A token that Laravel does not know gives auth_failed, then the close with 4401."""
    before = await closes(running, 4401)
    async with running.client() as client:
        await client.send({"type": "auth", "token": "guessed", "protocol": 1})
        assert (await client.closed()).code == 4401
        assert (await client.wait_type("auth_failed"))["error"]
    await eventually(lambda: _counted(running, 4401, before), 10)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost:8080.evil.example",
        "http://localhost",
        "https://localhost:8080",
        "null",
    ],
)
async def test_a_forbidden_origin(running: System, origin: str) -> None:
    """Only exactly the allowed origins may connect; others are told 4403, and nothing of them is logged."""
    before, sessions = await closes(running, 4403), await _sessions(running)
    async with running.client(origin=origin) as client:
        assert (await client.closed()).code == 4403
    await eventually(lambda: _counted(running, 4403, before), 10)
    assert await _sessions(running) == sessions


async def _sessions(running: System) -> set[str]:
    """All that the log ever heard of."""
    return {entry.session for entry in await running.entries()}


async def test_an_allowed_origin_may_connect(running: System) -> None:
    """The allowed origin itself is let in."""
    async with running.client(origin="http://localhost:8080") as client:
        await opened(running, client)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "subscribe", "channel": "admin:secrets"}, 101),
        ({"type": "subscribe", "channel": "private-encrypted-x"}, 101),
        ({"type": "subscribe", "channel": "not a name"}, 102),
        ({"type": "subscribe", "channel": "private-forbidden"}, 103),
        ({"type": "message", "channel": "presence-never-joined", "data": {"content": "x"}}, 104),
        ({"type": "client-x", "channel": "private-never-joined", "data": 1}, 104),
        ({"type": "no-such-type"}, 121),
        ({"type": "message", "channel": "lobby"}, 121),
        ({"type": "subscribe"}, 100),
    ],
)
async def test_requests_that_are_refused_are_answered(running: System, frame: dict[str, Any], code: int) -> None:
    """A refused request gets an error frame with its id; the session goes on."""
    before = await running.gateways[0].metric("headgate_error_frames_total", code=str(code))
    async with running.client() as client:
        await opened(running, client)
        answer = await client.ask(frame)
        assert (answer["type"], answer["code"], answer["temporary"]) == ("error", code, False)
        assert (await client.ask({"type": "ping"}))["type"] == "pong"
    assert await running.gateways[0].metric("headgate_error_frames_total", code=str(code)) == before + 1


async def test_bad_datagrams_are_dropped_and_counted(running: System) -> None:
    """Datagrams that cannot be routed vanish without harm, each with its reason counted."""

    async def dropped(reason: str) -> float:
        return await running.gateways[0].metric("headgate_datagrams_dropped_total", reason=reason)

    before = {reason: await dropped(reason) for reason in ("unauthenticated", "malformed", "no_channel")}
    async with running.client() as client:
        client.datagram({"type": "cursor", "channel": "x"})
        await eventually(lambda: _more(dropped, "unauthenticated", before), 10)
        await opened(running, client)
        client.transport.send_datagram(b"\xc1garbage")
        client.datagram({"type": "cursor"})
        await eventually(lambda: _more(dropped, "malformed", before), 10)
        await eventually(lambda: _more(dropped, "no_channel", before), 10)
        assert (await client.ask({"type": "ping"}))["type"] == "pong"


async def _more(dropped: Any, reason: str, before: dict[str, float]) -> bool:
    return bool(await dropped(reason) == before[reason] + 1)


async def test_unsigned_and_replayed_calls_of_the_api_are_refused(running: System) -> None:
    """Nobody publishes without the secret."""
    import httpx

    from schemas.signing import Signer

    wrong = Signer("default", b"another secret that is long enough to be one")
    assert (
        await running.post("/broadcast-to-channel", {"channel": "x", "message": 1}, signer=wrong)
    ).status_code == 401
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        assert (await http.post(f"{running.api_url}/broadcast-to-channel", json={})).status_code == 401
        assert (await http.get(f"{running.api_url}/sessions")).status_code == 401


async def test_a_silent_application_lets_clients_come_back(running: System) -> None:
    """While Laravel is away nobody is authenticated and nothing is lost: the close code asks to reconnect."""
    await running.laravel.stop()
    try:
        async with running.client() as client:
            await client.send({"type": "auth", "token": "t", "protocol": 1})
            closed = await client.closed()
            assert closed.code == 3000
            assert (await client.wait_type("disconnect"))["reconnect"] is True
    finally:
        await running.laravel.start()
    processors = running.services["processors"]
    # The breaker tries the application again every few seconds.
    await eventually(lambda: processors.metric("headgate_application_available", processor="auth"), 20)
    await alive(running)
