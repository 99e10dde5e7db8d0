"""What each processor makes of the log, against a real Redis and an application on a real socket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from processors.app import build
from runtime.sessions import ClaimResult, SessionRecord
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.errors import ConfigurationError
from schemas.events import (
    AuthRequested,
    DatagramReceived,
    DisconnectRequested,
    SessionClosed,
    SessionOpened,
    SubscribeRequested,
    UnsubscribeRequested,
    WhisperReceived,
)
from schemas.keys import Keys
from tests.integration.processors_world import (
    AUTHORIZE,
    EVENT,
    HANDLE,
    SECRET,
    VERIFY,
    World,
    message,
    processors_world,
    running,
)
from tests.support.waiting import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        yield made


async def test_a_known_token_authenticates(world: World) -> None:
    """The application's yes becomes a grant of the user's topic and the session's authentication."""
    world.app.replies[VERIFY] = lambda _: JSONResponse({"user": {"id": 7, "info": {"name": "Ada"}}})
    async with running(world, "auth"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t0ken-of-ada"), protocol=1, stream=0))
        (told,) = await eventually(lambda: world.published("session:s1"))
    (granted,) = await world.published("user:7")
    assert (told.type, told.payload()["user"], told.payload()["info"]) == (
        "session.authenticated", "7", {"name": "Ada"},
    )  # fmt: skip
    assert (granted.type, granted.session, granted.gateway) == ("subscription.granted", "s1", "gw")
    assert world.app.calls[0].headers["authorization"] == "Bearer t0ken-of-ada"
    for key in world.logs():
        assert b"t0ken-of-ada" not in repr(await world.client.xrange(key)).encode()


@pytest.mark.parametrize(
    ("status", "body", "token"),
    [
        (401, {}, "t"),
        (403, {}, "t"),
        (404, {}, "t"),
        (200, {"user": None}, "t"),
        (200, {"user": {"id": 7}}, "a\r\nb: c"),
    ],
)
async def test_an_unknown_token_does_not(world: World, status: int, body: Any, token: str) -> None:
    """A no, a broken verify route and a token that is none end as auth_failed; nobody joins anything."""
    world.app.replies[VERIFY] = lambda _: JSONResponse(body, status)
    async with running(world, "auth"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", token)))
        (told,) = await eventually(lambda: world.published("session:s1"))
    assert told.type == "session.auth_failed"
    assert await world.published("user:7") == []


async def test_a_token_of_another_session_does_not(world: World) -> None:
    """A sealed token that was copied from another session's entry authenticates nobody."""
    async with running(world, "auth"):
        await world.append("s2", AuthRequested(token=world.sealed("s1", "t")))
        (told,) = await eventually(lambda: world.published("session:s2"))
    assert told.type == "session.auth_failed"
    assert world.app.calls == []


async def test_authentication_waits_for_the_application(world: World) -> None:
    """While the application is away nobody is refused; when it is back the waiting token is verified."""
    await world.app.stop()
    async with running(world, "auth"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")))
        await eventually(lambda: world.pending("auth"))
        world.app.replies[VERIFY] = lambda _: JSONResponse({}, 200 if len(world.app.calls) > 3 else 503)
        await world.app.start()
        (told,) = await eventually(lambda: world.published("session:s1"), 20)
    assert told.type == "session.authenticated"
    assert await world.dead() == []


async def test_when_a_session_began_is_not_for_its_gateway_to_say(world: World) -> None:
    """An order to end it that Redis had after its request is about it, though the gateway's clock is an hour ahead."""
    world.app.replies[VERIFY] = lambda _: JSONResponse({"user": {"id": 7}})
    hour = time.time_ns() // 1_000_000 + 3_600_000
    asked = Entry.of(
        AuthRequested(token=world.sealed("s1", "t"), protocol=1), id="asked", ts=hour, session="s1", gateway="gw"
    )
    async with running(world, "auth"):
        await world.write(world.keys.inbound_of("s1"), asked.fields())
        await eventually(lambda: world.published("session:s1"))
    seconds, micros = await world.client.time()
    event = DisconnectRequested(code=3500, reason="")
    order = Entry.of(event, id="order", ts=hour, topic="user:7")
    sessions = SessionRecord(world.client, world.keys, 30)
    await sessions.force("s1", order, event, ordered_at=seconds * 1000 + micros // 1000)
    claim = await sessions.claim("s1", 1, user="7", gateway="gw2", request="again", asked_at=1 << 50)
    assert claim.result is ClaimResult.UNKNOWN


async def test_the_end_of_a_session_ends_all_it_had(world: World) -> None:
    """Closing ends the user's topic, each channel that was granted and not left, and the session."""
    world.app.replies[VERIFY] = lambda _: JSONResponse({"user": {"id": 7}})
    world.app.replies[AUTHORIZE] = lambda call: JSONResponse({}, 403 if call.body["channel"] == "private-no" else 200)
    async with running(world, "auth", "channels"):
        await world.append("s1", AuthRequested(token=world.sealed("s1", "t")))
        for channel in ("news", "private-no", "private-yes", "presence-room"):
            await world.append("s1", SubscribeRequested(channel=channel, frame_id=channel), user="7")
        await world.append("s1", UnsubscribeRequested(channel="news"), user="7")
        await world.append("s1", SessionClosed(code=0, reason="", by="client"), user="7")
        await eventually(lambda: world.settled("auth", "channels"))
    kinds = {
        topic: [(entry.type, entry.payload().get("reason")) for entry in await world.published(topic)]
        for topic in (
            "user:7",
            "channel:news",
            "channel:private-yes",
            "channel:presence-room",
            "channel:private-no",
        )
    }
    granted, closed = ("subscription.granted", None), ("subscription.ended", "closed")
    assert kinds == {
        "user:7": [granted, closed],
        "channel:news": [granted, ("subscription.ended", "unsubscribed")],
        "channel:private-yes": [granted, closed],
        "channel:presence-room": [granted, closed],
        "channel:private-no": [],
    }
    own = await world.published("session:s1")
    assert {entry.type for entry in own} == {"session.authenticated", "message.published", "session.ended"}
    assert [frame["channel"] for frame in await world.frames("session:s1") if frame] == ["private-no"]
    assert world.app.bodies(AUTHORIZE)[0] == {"session": "s1", "user": "7", "channel": "private-no"}


async def test_whispers_and_datagrams_reach_the_channel(world: World) -> None:
    """Members' whispers and datagrams go on with their sender; old and foreign datagrams do not."""
    room = "presence-room"
    async with running(world, "channels"):
        await world.append("s1", WhisperReceived(event="client-hi", channel=room, data=1, member=True), user="7")
        old = Entry.of(
            DatagramReceived(frame={"x": 0}, channel=room, member=True),
            id="old",
            ts=1,
            session="s1",
            user="7",
        )
        await world.write(Keys.datagrams(world.keys.inbound_of("s1")), old.fields())
        await world.append("s1", DatagramReceived(frame={"x": 1}, channel=room, member=False), user="7")
        await world.append("s1", DatagramReceived(frame={"x": 2, "raw": b"\xff"}, channel=room, member=True), user="7")
        log = Keys.datagrams(world.keys.outbound_of(f"channel:{room}"))
        (told,) = await eventually(lambda: world.entries([log]))
        await eventually(lambda: world.settled("channels", "channels-datagrams"))
    assert told.payload() == {"frame": {"x": 2, "raw": b"\xff", "from": {"id": "7"}}, "exclude": "s1"}
    assert len(await world.entries([log])) == 1
    assert [frame["from"] for frame in await world.frames(f"channel:{room}")] == [{"id": "7"}]


async def test_messages_reach_the_application_and_its_answers_the_channel(world: World) -> None:
    """A channel message is handed over with its sender, and a broadcast answer goes to the others."""
    world.app.replies[HANDLE] = lambda call: JSONResponse({"broadcast": True, "data": call.body["data"]})
    async with running(world, "laravel"):
        await world.append("s1", SessionOpened(transport="wt", origin="", path="/", address="::1"))
        sent = await world.append("s1", message("hi", frame_id="m1", channel="news"), user="7")
        await world.append("s1", SessionClosed(code=0, reason="bye", by="client"), user="7")
        (told,) = await eventually(lambda: world.published("channel:news"))
        await eventually(lambda: world.settled("laravel"))
    assert told.payload()["frame"] == {"type": "channel_broadcast", "channel": "news", "data": "hi"}
    assert told.payload()["exclude"] == "s1"
    assert await world.frames("session:s1") == [{"broadcast": True, "data": "hi", "id": "m1"}]
    assert [call.path for call in world.app.calls] == [EVENT, HANDLE, EVENT]
    handed = world.app.calls[1]
    assert handed.body == {
        "type": "channel_message", "channel": "news", "data": "hi", "sessionId": "s1", "userId": "7",
    }  # fmt: skip
    assert handed.headers["x-headgate-event-id"] == sent.id
    assert [body["event"] for body in world.app.bodies(EVENT)] == ["connection.opened", "connection.closed"]


async def test_operators_can_look(world: World) -> None:
    """The service says that it is ready, what it counts, and which streams and events it speaks."""
    async with running(world) as listener, httpx.AsyncClient(trust_env=False) as http:
        base = f"http://127.0.0.1:{listener.port}"
        assert (await http.get(f"{base}/health/ready")).json()["status"] == "ready"
        assert "headgate_handled" in (await http.get(f"{base}/metrics")).text
        document = (await http.get(f"{base}/asyncapi.json")).json()
    actions = {name: operation["action"] for name, operation in document["operations"].items()}
    for received in ("message.received", "session.closed", "datagram.received"):
        assert actions[f"receive.{received}"] == "receive"
    for sent in ("message.published", "session.closed", "datagram.published"):
        assert actions[f"send.{sent}"] == "send"
    assert document["channels"]["receive.session.closed"]["address"] == f"{world.settings.prefix}{{in:p}}"


def test_an_unknown_processor_is_refused() -> None:
    """A name that is none, or no name at all, is the operator's to mend."""
    settings = Settings(_env_file=None, secret=SecretStr(SECRET))
    for only in (["auth", "nonsense"], []):
        with pytest.raises(ConfigurationError):
            build(settings, only)
