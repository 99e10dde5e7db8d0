"""The same scenarios over WebTransport and over WebSocket, against real processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.client import Client, Frames, SocketClient, TransportName, json_frame
from tests.support.system import System, system
from tests.support.waiting import eventually
from tests.support.wt_client import SessionRefusedError

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("transport", ["webtransport", "websocket"]),
]

OTHER: dict[TransportName, TransportName] = {"webtransport": "websocket", "websocket": "webtransport"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """Two gateways and everything behind them."""
    async with system(gateways=2) as made:
        yield made


async def member(running: System, client: Client | SocketClient, name: str, channel: str, **how: Any) -> str:
    """Authenticate `client` and put it into a channel; gives the user id."""
    login = await running.laravel.token(name)
    await client.authenticate(login.token, **how)
    assert (await client.subscribe(channel))["type"] == "subscribed"
    return str(login.user_id)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_a_message_is_acknowledged_stored_and_answered(
    running: System, transport: TransportName, encoding: Any
) -> None:
    """Acknowledged after the append, stored by Laravel once, and answered with the frame's id."""
    content = f"kept over {transport} in {encoding}"
    async with running.party(transport) as client:
        await member(running, client, f"store-{transport}", "room-s", encoding=encoding)
        ack = await client.message("room-s", content)
        assert ack["type"] == "ack"
        reply = await client.wait(lambda frame: frame.get("id") == ack["id"])
    stored = [row for row in await running.laravel.messages() if row["content"] == content]
    assert [(row["event_id"], row["id"]) for row in stored] == [(ack["event"], reply["data"]["id"])]


async def test_members_on_both_transports_hear_each_other(running: System, transport: TransportName) -> None:
    """A channel's broadcasts, whispers and presence cross transports and gateways."""
    channel = f"presence-both-{transport}"
    async with running.party(transport, 0) as ada, running.party(OTHER[transport], 1) as bob:
        ada_id = await member(running, ada, f"ada-{transport}", channel)
        bob_id = await member(running, bob, f"bob-{transport}", channel)
        assert (await ada.wait_type("presence"))["joined"]["id"] == bob_id
        await ada.message(channel, "there")
        broadcast = await bob.wait_type("channel_broadcast")
        assert (broadcast["data"]["content"], broadcast["offset"]) == ("there", 1)
        await bob.message(channel, "and back")
        assert (await ada.wait_type("channel_broadcast"))["data"]["content"] == "and back"
        await ada.send({"type": "client-wave", "channel": channel, "data": {"hand": "left"}})
        wave = await bob.wait_type("client-wave")
        assert (wave["data"], wave["from"]["id"]) == ({"hand": "left"}, ada_id)


async def test_cursors_cross_unacknowledged(running: System, transport: TransportName) -> None:
    """What is a datagram over WebTransport is a marked frame over WebSocket, both ways and in the log."""
    channel = f"presence-cursors-{transport}"
    async with running.party(transport, 0) as ada, running.party(OTHER[transport], 1) as bob:
        ada_id = await member(running, ada, f"move-a-{transport}", channel)
        bob_id = await member(running, bob, f"move-b-{transport}", channel)
        for sender, receiver, user in ((ada, bob, ada_id), (bob, ada, bob_id)):
            sender.datagram({"type": "cursor", "channel": channel, "x": 0.5}, "json")
            got = await receiver.receive_datagram()
            assert got.pop("unreliable", None) is (True if isinstance(receiver, SocketClient) else None)
            assert got == {"type": "cursor", "channel": channel, "x": 0.5, "from": {"id": user}}
        sessions = {ada.session, bob.session}
    logged = [entry for entry in await running.entries(datagrams=True) if entry.session in sessions]
    assert [entry.payload()["frame"] for entry in logged] == [{"type": "cursor", "channel": channel, "x": 0.5}] * 2


async def test_the_application_ends_a_session(running: System, transport: TransportName) -> None:
    """Code and reason reach the client, a frame says so before, and the log has the session's life."""
    async with running.party(transport) as client:
        user = await member(running, client, f"forced-{transport}", "news")
        await running.post("/disconnect", {"userId": user, "code": 3500, "reason": "signed out"})
        closed = await client.closed()
        assert (closed.code, closed.reason, closed.abrupt) == (3500, "signed out", False)
        assert (await client.wait_type("disconnect"))["reconnect"] is False
    await running.settled()
    entries = [entry for entry in await running.entries() if entry.session == client.session]
    assert entries[0].payload()["transport"] == transport
    assert entries[-1].payload() == {"code": 3500, "reason": "signed out", "by": "application"}


async def test_a_client_ends_its_session(running: System, transport: TransportName) -> None:
    """The client's own code and reason are in the log."""
    async with running.party(transport) as client:
        await member(running, client, f"leaves-{transport}", "news")
        client.transport.close(4001, "done")

    async def ends() -> list[dict[str, Any]]:
        entries = [entry for entry in await running.entries() if entry.session == client.session]
        return [entry.payload() for entry in entries if entry.type == "session.closed"]

    assert await eventually(ends) == [{"code": 4001, "reason": "done", "by": "client"}]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"type": nonsense}', 4400),
        (b"\x81\xa4type\xc1", 4400),
        (b'{"type":"x","pad":"' + b"x" * 70_000 + b'"}', 4413),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 4413),
        (b'{"type":"message","channel":"lobby","data":1}', 4401),
        (b'{"type":"auth"}', 4400),
        (b'{"type":"auth","token":"guessed","protocol":1}', 4401),
    ],
)
async def test_bad_bytes_close_with_their_code(
    running: System, transport: TransportName, data: bytes, code: int
) -> None:
    """Each mistake closes its own session with the code that names it, and is counted as the gateway's doing."""
    gateway = running.gateways[0]
    name, labels = "headgate_sessions_closed_total", {"code": str(code), "by": "gateway"}
    before = await gateway.metric(name, **labels)
    async with running.party(transport) as client:
        await client.send_raw(data)
        closed = await client.closed()
    assert (closed.code, closed.abrupt) == (code, False)
    assert closed.reason

    async def counted() -> bool:
        return await gateway.metric(name, **labels) == before + 1

    await eventually(counted)


async def test_silence_is_closed_in_time(running: System, transport: TransportName) -> None:
    """Without an auth frame the session ends with 4408."""
    async with running.party(transport) as client:
        assert (await client.closed()).code == 4408


async def test_origins(running: System, transport: TransportName) -> None:
    """A forbidden origin is told by a code that its page can read; the allowed one is let in."""
    async with running.party(transport, origin="https://evil.example") as client:
        assert (await client.closed()).code == 4403
    async with running.party(transport, origin="http://localhost:8080") as client:
        await member(running, client, f"origin-{transport}", "news")


async def test_another_path_gets_a_status(running: System, transport: TransportName) -> None:
    """What is not ours is refused with 404, before there is a session."""
    kind: Any = Client if transport == "webtransport" else SocketClient
    with pytest.raises(SessionRefusedError) as refused:
        await kind.connect(running.gateway_urls[0] + "elsewhere")
    assert refused.value.status == 404


async def test_a_client_without_protocol(running: System, transport: TransportName) -> None:
    """An older client gets its answer where it asked, and pushes: on streams of the gateway, or as messages."""
    login = await running.laravel.token(f"older-{transport}")
    async with running.party(transport) as older, running.party(OTHER[transport]) as other:
        await member(running, other, f"newer-{transport}", "room-o")
        stream = await older.control()
        for frame in ({"type": "auth", "token": login.token}, {"type": "subscribe", "channel": "room-o"}):
            stream.write(json_frame(frame))
        await older.wait_type("auth_success")
        await older.wait_type("subscribed")
        await other.message("room-o", "for everybody")
        if isinstance(older, Client):
            pushed = json.loads(await (await older.transport.accept_stream()).read_all())
        else:
            pushed = await older.wait_type("channel_broadcast")
        assert pushed["data"]["content"] == "for everybody"


async def test_text_and_binary_alternate(running: System, transport: TransportName) -> None:
    """One session speaks both encodings, each answered in kind: on two streams, or in two kinds of messages."""
    async with running.party(transport) as client:
        await client.authenticate((await running.laravel.token(f"mixed-{transport}")).token)
        if isinstance(client, Client):
            stream = await client.transport.open_bidirectional()
            stream.write(b"\x82\xa4type\xa4ping\xa2id\xa1b")
            answer = await Frames(stream).next()
        else:
            await client.send_raw(b"\x82\xa4type\xa4ping\xa2id\xa1b")
            answer = await client.wait_type("pong", id="b")
        assert (answer["type"], answer["id"]) == ("pong", "b")
        assert (await client.ask({"type": "ping"}))["type"] == "pong"


async def test_a_stopping_gateway_says_so(running: System, transport: TransportName) -> None:
    """SIGTERM: 3001 and a frame that asks to come back; the end is in the log; the process exits with 0."""
    gateway = running.gateways[1]
    async with running.party(transport, 1) as client:
        await member(running, client, f"drained-{transport}", "news")
        status = await gateway.stop()
        assert (await client.closed()).code == 3001
        assert (await client.wait_type("disconnect"))["reconnect"] is True
        assert status == 0
    ends = [e for e in await running.entries() if e.session == client.session and e.type == "session.closed"]
    assert [(end.payload()["code"], end.payload()["by"]) for end in ends] == [(3001, "gateway")]
    await gateway.start()
