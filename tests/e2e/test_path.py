"""The whole way with real processes: gateways, processors, egress, redis-server and a Laravel application."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import msgpack
import pytest
import pytest_asyncio

from schemas.codec import encode_frame
from schemas.entry import Entry
from tests.support.client import Client, Frames, json_frame, sent_until
from tests.support.system import System, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def member(system: System, client: Client, name: str, channel: str) -> str:
    """Authenticate `client` as a user and put it into a channel; gives the user id."""
    login = await system.laravel.token(name)
    await client.authenticate(login.token)
    answer = await client.subscribe(channel)
    assert answer["type"] == "subscribed", answer
    return str(login.user_id)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """Two gateways and everything behind them, the bridge from pub/sub too."""
    async with system(gateways=2, pubsub_bridge="true") as made:
        yield made


async def test_the_older_clients_exact_sequence_works(running: System) -> None:
    """One JSON auth frame, one frame back, messages on that stream, msgpack datagrams, pushes on streams of ours."""
    login = await running.laravel.token("older")
    async with running.client() as older, running.client() as other:
        await member(running, other, "other", "room-1")
        stream = await older.transport.open_bidirectional()
        stream.write(json_frame({"type": "auth", "token": login.token, "userId": login.user_id}))
        frames = Frames(stream)
        success = await frames.next()
        assert success["type"] == "auth_success"
        assert success["sessionId"]
        stream.write(json_frame({"type": "subscribe", "channel": "room-1"}))
        assert (await frames.next())["type"] == "subscribed"
        stream.write(json_frame({"type": "ping"}))
        assert (await frames.next())["type"] == "pong"
        stream.write(json_frame({"type": "echo", "n": 1}))
        assert (await frames.next())["type"] == "echo"

        received = await older.datagram_to(other, {"type": "position", "room": "room-1", "x": 1})
        assert (received["type"], received["x"], received["from"]["id"]) == (
            "position",
            1,
            str(login.user_id),
        )
        cursor = {"type": "cursor", "room": "room-1", "x": 2}
        raw = await sent_until(lambda: other.datagram(cursor, "json"), older.transport.receive_datagram())
        assert msgpack.unpackb(raw)["x"] == 2

        await other.message("room-1", "to the older client")
        pushed = await older.transport.accept_stream()
        broadcast = json.loads(await pushed.read_all())
        assert broadcast["type"] == "channel_broadcast"
        assert broadcast["channel"] == "room-1"
        assert broadcast["data"]["content"] == "to the older client"
        stream.write(json_frame({"type": "message", "channel": "room-1", "data": {"content": "from it"}}))
        assert (await other.wait_type("channel_broadcast"))["data"]["content"] == "from it"


async def test_frames_come_on_any_stream_in_any_encoding(running: System) -> None:
    """A second stream may speak msgpack and is answered there; what comes on a one-way stream is answered by a push."""
    async with running.client() as client:
        login = await running.laravel.token("streams")
        await client.authenticate(login.token)
        second = await client.transport.open_bidirectional()
        second.write(encode_frame({"type": "echo", "n": 1, "id": "a"}, "msgpack"), end=True)
        frames = Frames(second)
        answers = [await frames.next(), await frames.next()]
        assert [answer["type"] for answer in answers] == ["ack", "echo"]
        with pytest.raises(EOFError):
            await frames.next()
        one_way = await client.transport.open_unidirectional()
        one_way.write(json_frame({"type": "echo", "n": 2, "id": "b"}), end=True)
        assert (await client.wait_type("echo"))["n"] == 2
        await client.wait_type("ack", id="b")


async def test_the_log_is_readable_with_redis_cli(running: System) -> None:
    """Nothing but redis-cli is needed to read what a client sent."""
    async with running.client() as client:
        await member(running, client, "readable", "room-r")
        await client.message("room-r", "written for people")
        log = running.keys.inbound_of(client.session)
    process = await asyncio.create_subprocess_exec(
        "redis-cli", "-p", str(running.redis.port), "XRANGE", log, "-", "+", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    assert "message.received" in lines
    assert any('"content":"written for people"' in line for line in lines)


async def test_a_message_crosses_gateways_and_is_stored_by_laravel(running: System) -> None:
    """A session on one gateway reaches a session on the other; Eloquent has the message; the sender has its reply."""
    async with running.client(0) as ada, running.client(1) as bob:
        await member(running, ada, "ada", "presence-hall")
        user = await member(running, bob, "bob", "presence-hall")
        joined = await ada.wait_type("presence")
        assert joined["joined"]["id"] == user
        ack = await ada.message("presence-hall", "across")
        assert ack["type"] == "ack"
        broadcast = await bob.wait_type("channel_broadcast")
        assert broadcast["data"]["content"] == "across"
        assert broadcast["offset"] == 1
        reply = await ada.wait(lambda frame: frame.get("id") == ack["id"])
        assert reply["data"]["id"] == broadcast["data"]["id"]
        assert all(frame.get("type") != "channel_broadcast" for frame in ada.received)
        stored = [row for row in await running.laravel.messages() if row["content"] == "across"]
        assert [row["event_id"] for row in stored] == [ack["event"]]
        await bob.send({"type": "client-wave", "channel": "presence-hall", "data": {"hand": "left"}})
        wave = await ada.wait_type("client-wave")
        assert (wave["data"], wave["from"]["id"]) == ({"hand": "left"}, user)
        await bob.ask({"type": "unsubscribe", "channel": "presence-hall"})
        assert (await ada.wait_type("presence"))["left"]["id"] == user


async def test_what_the_older_contract_publishes_in_redis_arrives(running: System) -> None:
    """PUBLISH to a channel reaches its members on both gateways, PUBLISH to a session that session alone."""
    async with running.client(0) as ada, running.client(1) as bob:
        await member(running, ada, "pubsub-ada", "bulletin")
        await member(running, bob, "pubsub-bob", "bulletin")
        assert await running.log.publish("channel:bulletin", json.dumps({"content": "to all"})) == 1
        for client in (ada, bob):
            frame = await client.wait_type("channel_broadcast")
            assert (frame["channel"], frame["data"], frame["offset"]) == ("bulletin", {"content": "to all"}, 1)
        assert await running.log.publish(f"session:{bob.session}", json.dumps({"type": "direct", "n": 1})) == 1
        assert (await bob.wait_type("direct"))["n"] == 1
        assert [frame for frame in ada.received if frame["type"] == "direct"] == []


async def test_the_application_reaches_sessions_users_and_channels(running: System) -> None:
    """The signed HTTP API delivers, lists, and closes a session with the code and reason that were asked for."""
    async with running.client(0) as ada, running.client(1) as bob:
        user = await member(running, ada, "api-ada", "news")
        await member(running, bob, "api-bob", "news")
        assert (await running.post("/send-to-session", {"sessionId": ada.session, "message": {"type": "a"}})).json()[
            "success"
        ]
        await ada.wait_type("a")
        unknown = await running.post("/send-to-session", {"sessionId": "nobody", "message": {"type": "a"}})
        assert unknown.status_code == 404
        await running.post("/broadcast-to-channel", {"channel": "news", "message": {"n": 1}, "event": "Breaking"})
        for client in (ada, bob):
            frame = await client.wait_type("channel_broadcast")
            assert (frame["event"], frame["data"]) == ("Breaking", {"n": 1})
        await running.post("/send-to-user", {"userId": user, "message": {"type": "for-you"}})
        await ada.wait_type("for-you")
        listed = (await running.get("/sessions")).json()["sessions"]
        assert {ada.session, bob.session} <= {row["id"] for row in listed}
        await running.post("/disconnect", {"userId": user, "code": 3500, "reason": "signed out"})
        closed = await ada.closed()
        assert (closed.code, closed.reason) == (3500, "signed out")
        assert (await ada.wait_type("disconnect"))["reconnect"] is False


async def test_everything_is_in_the_log_and_in_the_archive_once_each(running: System) -> None:
    """Each inbound event of a run is readable in the log, and archived exactly once."""
    async with running.client() as ada:
        await member(running, ada, "archived", "room-a")
        for n in range(10):
            await ada.message("room-a", f"number {n}")
        ada.datagram({"type": "cursor", "channel": "room-a", "x": 1})
        session = ada.session

        async def pointed() -> bool:
            return any(entry.session == session for entry in await running.entries(datagrams=True))

        await eventually(pointed, 10)
        ada.transport.close()
        await ada.closed()

    async def ended() -> list[Entry]:
        entries = [entry for entry in await running.entries() if entry.session == session]
        return entries if entries[-1].type == "session.closed" else []

    entries = await eventually(ended, 10)
    assert [entry.type for entry in entries] == [
        "session.auth_requested",
        "session.opened",
        "channel.subscribe_requested",
        "channel.subscribed",
        *["message.received"] * 10,
        "session.disconnected",
        "channel.unsubscribed",
        "session.closed",
    ]
    contents = [entry.payload()["frame"]["data"]["content"] for entry in entries[4:-3]]
    assert contents == [f"number {n}" for n in range(10)]
    datagrams = [entry for entry in await running.entries(datagrams=True) if entry.session == session]
    assert len(datagrams) == 1

    def archived() -> bool:
        counts = Counter(running.archived())
        return all(counts[entry.id] == 1 for entry in [*entries, *datagrams])

    await eventually(archived, 20)


async def test_no_token_is_readable_in_the_log_the_archive_or_the_spans(running: System) -> None:
    """The client's token is sealed before it is appended, and appears nowhere else."""
    login = await running.laravel.token("canary")
    async with running.client() as client:
        await client.authenticate(login.token)
    await running.settled()
    everything = [entry.data for entry in await running.entries()]
    assert not any(login.token.encode() in data for data in everything)
    await eventually(lambda: running.spans(), 10)
    assert login.token not in json.dumps(running.spans())
    assert all(login.token not in service.log(10**7) for service in running.services.values())
    assert login.token.encode() not in (running.folder / "archive.db").read_bytes()


async def test_one_trace_leads_from_the_frame_to_the_delivery(running: System) -> None:
    """One message's spans, from all services: received, processed, asked Laravel, published, delivered."""
    async with running.client(0) as ada, running.client(1) as bob:
        await member(running, ada, "traced-a", "room-t")
        await member(running, bob, "traced-b", "room-t")
        ack = await ada.message("room-t", "follow me")
        await bob.wait_type("channel_broadcast")
    (entry,) = [entry for entry in await running.entries() if entry.id == ack["event"]]
    trace_id = entry.traceparent.split("-")[1]

    def exported() -> dict[str, dict[str, str]]:
        spans = [span for span in running.spans() if span["context"]["trace_id"].removeprefix("0x") == trace_id]
        return {span["context"]["span_id"].removeprefix("0x"): span for span in spans}

    def ways() -> list[list[str]]:
        """The names from the root to each delivery; each service exports its spans in its own time."""
        found, ways = exported(), []
        for span in found.values():
            if span["name"] != "deliver publication":
                continue
            names = [span["name"]]
            while span["parent_id"]:
                above = found.get(span["parent_id"].removeprefix("0x"))
                assert above is not None, f"the parent of {span['name']} is not exported"
                span = above
                names.insert(0, span["name"])
            ways.append(names)
        return ways

    (way, *_) = await eventually(ways, 10)
    assert way == ["receive message.received", "process laravel", "process router", "deliver publication"]
    found = exported()
    assert "append message.received" in {span["name"] for span in found.values()}
    asked = [span for span in found.values() if "/api/webtransport/handle" in json.dumps(span["attributes"])]
    (message,) = [row for row in await running.laravel.messages() if row["event_id"] == ack["event"]]
    assert len(asked) == message["deliveries"]
    assert message["traceparent"].split("-")[1] == trace_id


async def test_connection_events_reach_laravel_in_order(running: System) -> None:
    """The application is told of a session's beginning and end, in that order, with the user."""
    async with running.client() as client:
        login = await running.laravel.token("evented")
        await client.authenticate(login.token)
        session = client.session
        client.transport.close(1000, "done")
        await client.closed()

    async def told() -> list[str] | None:
        rows = [row for row in await running.laravel.events() if row["data"]["sessionId"] == session]
        assert {row["data"]["userId"] for row in rows} <= {str(login.user_id)}
        return [row["event"] for row in rows] if len(rows) == 2 else None

    assert await eventually(told, 10) == ["connection.opened", "connection.closed"]
    (entry,) = [e for e in await running.entries() if e.session == session and e.type == "session.closed"]
    assert entry.payload() == {"code": 1000, "reason": "done", "by": "client"}
    assert entry.user == str(login.user_id)


async def test_processors_killed_between_two_messages_lose_nothing(running: System) -> None:
    """What was acknowledged around a SIGKILL of the processors is handled after their restart, once, in order."""
    processors = running.services["processors"]
    async with running.client(0) as ada, running.client(1) as bob:
        await member(running, ada, "killer-a", "room-k")
        await member(running, bob, "killer-b", "room-k")
        acks = [await ada.message("room-k", "0")]
        await processors.kill()
        acks += [await ada.message("room-k", str(n)) for n in range(1, 6)]
        await processors.start()
        acks.append(await ada.message("room-k", "6"))
        got = [(await bob.wait_type("channel_broadcast"))["data"]["content"] for _ in range(7)]
    assert got == [str(n) for n in range(7)]
    assert all(ack["type"] == "ack" for ack in acks)
    events = [ack["event"] for ack in acks]
    stored = [row["event_id"] for row in await running.laravel.messages() if row["event_id"] in events]
    assert stored == events
    await running.settled()

    def archived() -> bool:
        counts = Counter(running.archived())
        return all(counts[event] == 1 for event in events)

    await eventually(archived, 20)


async def test_a_stopping_gateway_says_so_and_logs_the_ends(running: System) -> None:
    """SIGTERM: sessions are told 3001 and to come back, their ends are in the log, and the process exits with 0."""
    gateway = running.gateways[1]
    async with running.client(1) as client:
        login = await running.laravel.token("drained")
        await client.authenticate(login.token)
        stopping = asyncio.create_task(gateway.stop())
        notice = await client.wait_type("disconnect")
        assert (notice["code"], notice["reconnect"]) == (3001, True)
        assert (await client.closed()).code == 3001
        assert await stopping == 0
    ends = [e for e in await running.entries() if e.session == client.session and e.type == "session.disconnected"]
    assert [(e.payload()["code"], e.payload()["by"]) for e in ends] == [(3001, "gateway")]
    await gateway.start()
