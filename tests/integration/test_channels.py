"""Who is in which channel, over a real Redis: what the application signed, what it hears, and how grants end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from fastapi.responses import HTMLResponse, JSONResponse, Response

from runtime.bus.dead import DeadLetters
from runtime.memberships import names_key
from schemas.channel_auth import channel_auth
from schemas.entry import Entry
from schemas.events import (
    AuthRequested,
    SessionDisconnected,
    SessionResumed,
    SubscribeRequested,
    UnsubscribeRequested,
)
from schemas.groups import CHANNELS
from schemas.ids import derived
from schemas.socket_ids import socket_id
from tests.integration.processors_world import (
    AUTHORIZE,
    EVENT,
    SECRET,
    VERIFY,
    Call,
    World,
    processors_world,
    running,
)
from tests.support.waiting import eventually

SESSION: Final = "01a20902-3088-7a0e-82d8-5b33616093c8"
OTHER: Final = "01a20902-3088-7a0e-82d8-5b33616093c9"
DATA: Final = '{"user_id":7,"user_info":{"name":"Ada"}}'


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with processors_world(tmp_path) as made:
        made.app.replies[VERIFY] = lambda _: JSONResponse({"user": {"id": 7}})
        yield made


def signed(channel: str, data: str | None = None, *, session: str = SESSION, secret: str = SECRET) -> str:
    return channel_auth("default", secret.encode(), session, channel, data)


async def ask(world: World, channel: str, auth: str | None, data: str | None = None, session: str = SESSION) -> None:
    event = SubscribeRequested(channel=channel, auth=auth, channel_data=data)
    await world.append(session, event, user="7")


async def opened(world: World, session: str = SESSION) -> None:
    await world.append(session, AuthRequested(token=world.sealed(session, "t"), protocol=1), user="")
    await eventually(lambda: world.published(f"session:{session}"))


async def log(world: World, *families: str) -> list[Entry]:
    """What the inbound log says of the session, in order."""
    found = await world.entries([world.keys.inbound_of(SESSION)])
    return [one for one in found if one.session == SESSION and one.type.startswith(families or ("",))]


def told(world: World) -> list[tuple[str, str | None, str | None]]:
    """What the application heard, in order."""
    bodies: list[Any] = world.app.bodies(EVENT)
    return [(one["event"], one["data"].get("channel"), one["data"].get("reason")) for one in bodies]


async def test_what_the_application_signed_is_its_yes(world: World) -> None:
    """Under either name of the session; nobody is asked, and members are told of by what was signed."""
    async with running(world, "channels"):
        await ask(world, "private-a", signed("private-a"))
        await ask(world, "presence-b", signed("presence-b", DATA, session=socket_id(SESSION)), DATA)
        await eventually(lambda: world.settled("channels"))
    (private,), (presence,) = await world.published("channel:private-a"), await world.published("channel:presence-b")
    assert (private.type, private.payload()["member"]) == ("subscription.granted", None)
    assert presence.payload()["member"] == {"id": "7", "info": {"name": "Ada"}}
    assert world.app.calls == []


@pytest.mark.parametrize(
    ("channel", "auth", "data"),
    [
        ("private-a", signed("private-b"), None),
        ("private-a", signed("private-a", secret="another-secret-of-the-same-length"), None),
        ("private-a", signed("private-a", session="01a20902-3088-7a0e-82d8-5b33616093c9"), None),
        ("presence-a", signed("presence-a"), None),
        ("presence-a", signed("presence-a", DATA), DATA.replace("Ada", "Eve")),
        ("presence-a", signed("presence-a", DATA.replace("7", "8")), DATA.replace("7", "8")),
        ("presence-a", signed("presence-a", "Ada"), "Ada"),
    ],
)
async def test_what_it_did_not_sign_is_refused(world: World, channel: str, auth: str, data: str | None) -> None:
    """Another channel, secret, session, data or user: error 103, and the application is not asked instead."""
    world.app.replies[AUTHORIZE] = lambda _: JSONResponse({})
    async with running(world, "channels"):
        await ask(world, channel, auth, data)
        (frame,) = await eventually(lambda: world.frames(f"session:{SESSION}"))
    assert (frame["code"], frame["channel"]) == (103, channel)
    assert world.app.calls == []
    assert await world.published(f"channel:{channel}") == []


async def test_the_application_hears_of_channels_in_order_and_of_each_end_before_the_session_s(world: World) -> None:
    """What was granted and what ended, not what was refused; a session leaves each channel once, then it is closed."""
    world.app.replies[AUTHORIZE] = lambda call: JSONResponse({}, 403 if call.body["channel"] == "private-no" else 200)
    async with running(world, "auth", "channels", "laravel"):
        await opened(world)
        for channel in ("news", "private-no", "presence-b", "private-a"):
            await ask(world, channel, None)
        await world.append(SESSION, UnsubscribeRequested(channel="news"), user="7")
        await eventually(lambda: world.settled("channels"))
        gone = SessionDisconnected(generation=1, code=0, reason="bye", by="client", final=True)
        await world.append(SESSION, gone, user="7")
        await eventually(lambda: ("connection.closed", None, "bye") in told(world))
        await world.replay()
        await eventually(lambda: world.settled("auth", "channels", "laravel"))
    heard = list(dict.fromkeys(told(world)))
    assert heard[:4] == [
        ("connection.opened", None, None),
        ("connection.subscribed", "news", None),
        ("connection.subscribed", "presence-b", None),
        ("connection.subscribed", "private-a", None),
    ]
    assert heard[4:] == [
        ("connection.unsubscribed", "news", "unsubscribed"),
        ("connection.unsubscribed", "presence-b", "closed"),
        ("connection.unsubscribed", "private-a", "closed"),
        ("connection.closed", None, "bye"),
    ]
    *ends, closed = (await log(world, "channel.unsubscribed", "session.closed"))[1:]
    assert [one.id for one in ends] == [
        derived(closed.id, f"unsubscribed/{name}") for name in ("presence-b", "private-a")
    ]
    assert {(one.user, one.gateway, one.cause) for one in ends} == {("7", "gw", closed.id)}
    assert world.app.bodies(EVENT)[1]["data"].keys() == {"sessionId", "userId", "timestamp", "channel"}
    kinds = [entry.type for entry in await world.published("channel:private-a")]
    assert kinds == ["subscription.granted", "subscription.ended"]


async def test_channels_are_not_told_of_where_nobody_listens(world: World) -> None:
    """Then a subscription costs neither an entry nor a request, and ends as ever."""
    world.settings = world.settings.model_copy(update={"channel_events": False})
    async with running(world, "auth", "channels", "laravel"):
        await opened(world)
        await ask(world, "news", None)
        await eventually(lambda: world.published("channel:news"))
        gone = SessionDisconnected(generation=1, code=0, reason="bye", by="client", final=True)
        await world.append(SESSION, gone, user="7")
        await eventually(lambda: ("connection.closed", None, "bye") in told(world))
        await eventually(lambda: world.settled("channels"))
    assert [one[0] for one in told(world)] == ["connection.opened", "connection.closed"]
    assert await log(world, "channel.subscribed", "channel.unsubscribed") == []
    assert [one.type for one in await world.published("channel:news")] == ["subscription.granted", "subscription.ended"]


async def test_a_session_that_ended_is_let_in_nowhere(world: World) -> None:
    """A request that is handled when the end is decided comes to nothing: nobody hears of a channel after the end."""
    async with running(world, "auth"):
        await opened(world)
        await ask(world, "news", None)
        gone = SessionDisconnected(generation=1, code=0, reason="bye", by="client", final=True)
        await world.append(SESSION, gone, user="7")
        await eventually(lambda: log(world, "session.closed"))
    async with running(world, "channels"):
        await eventually(lambda: world.settled("channels"))
    assert await log(world, "channel.subscribed", "channel.unsubscribed") == []
    assert await world.published("channel:news") == []


async def test_an_answer_that_cannot_be_read_is_a_no(world: World) -> None:
    """The application is not asked again, and the client learns that it is not in the channel."""
    world.app.replies[AUTHORIZE] = lambda _: HTMLResponse("<html>")
    async with running(world, "auth", "channels"):
        await opened(world)
        await ask(world, "private-a", None)
        await eventually(lambda: world.settled("channels"))
    errors = [frame["code"] for frame in await _errors(world) if frame.get("type") == "error"]
    assert errors == [103]
    assert len(world.app.bodies(AUTHORIZE)) == 1


async def test_a_request_that_the_application_fails_on_is_put_aside_and_answered(world: World) -> None:
    """It is a dead letter, for the operator to try again; the client, which waits, learns that it is not in, once. If
    the operator does, it is let in after all."""
    works = False

    def reply(call: Call) -> Response:
        return JSONResponse({}, 500 if call.body["channel"] == "private-bad" and not works else 200)

    world.app.replies[AUTHORIZE] = reply
    async with running(world, "auth", "channels"):
        await opened(world)
        await opened(world, OTHER)
        await ask(world, "private-bad", None)
        asked = 0
        while not await world.dead():
            asked += 1
            await ask(world, f"private-{asked}", None, session=OTHER)
            await eventually(partial(granted, world, f"channel:private-{asked}"), 20)
        await eventually(lambda: world.settled("channels"))
        errors = [(frame["code"], frame["channel"]) for frame in await _errors(world) if frame.get("type") == "error"]
        assert errors == [(103, "private-bad")]
        assert await world.published("channel:private-bad") == []
        works = True
        letters = DeadLetters(world.client, world.keys)
        [letter] = [one async for one in letters.all()]
        await letters.retry(letter)
        await eventually(partial(granted, world, "channel:private-bad"), 20)


async def test_an_answer_that_comes_after_another_owner_has_gone_on_changes_nothing(world: World) -> None:
    """The application took longer than the lease: the request was handled by the next owner, which has ended the
    membership by now. The late yes does not bring it back, neither for the others nor when the session is resumed."""
    inbound, names = world.keys.inbound_of(SESSION), names_key(world.keys, SESSION)
    server = redis.Redis.from_url(world.settings.redis_url)

    def reply(call: Call) -> Response:
        if call.body["channel"] == "private-late":
            entries: Any = server.xrange(inbound)
            [stream_id] = [name for name, fields in entries if b"private-late" in fields[b"data"]]
            server.xack(inbound, CHANNELS, stream_id)
        return JSONResponse({})

    world.app.replies[AUTHORIZE] = reply
    async with running(world, "auth", "channels"):
        await opened(world)
        for channel in ("private-late", "private-a"):
            await ask(world, channel, None)
        await eventually(partial(granted, world, "channel:private-a"), 20)
    server.close()
    assert await world.client.hkeys(names) == [b"private-a"]
    assert await world.published("channel:private-late") == []
    assert [one.payload()["channel"] for one in await log(world, "channel.subscribed")] == ["private-a"]


async def granted(world: World, topic: str) -> bool:
    return [one.type for one in await world.published(topic)] == ["subscription.granted"]


async def test_a_grant_ends_when_the_application_said(world: World) -> None:
    """It is granted with its end, and only that grant ends then: one that was renewed stays."""
    until = int(time.time()) + 3600
    world.app.replies[AUTHORIZE] = lambda _: JSONResponse({"expires_at": until})
    async with running(world, "channels"):
        await ask(world, "private-a", None)
        (granted,) = await eventually(lambda: world.published("channel:private-a"))
        for at in (until * 1000 - 1, until * 1000):
            over = UnsubscribeRequested(channel="private-a", reason="expired", expires_at=at)
            await world.append(SESSION, over, user="7")
        await eventually(lambda: world.settled("channels"))
    assert granted.payload()["expires_at"] == until * 1000
    (_, ended) = await world.published("channel:private-a")
    assert (ended.type, ended.payload()["reason"]) == ("subscription.ended", "expired")
    reasons = [
        (one.type, one.payload().get("reason")) for one in await log(world, "channel.subscr", "channel.unsubscribed")
    ]
    assert reasons[-1] == ("channel.unsubscribed", "expired")


async def test_what_expired_meanwhile_is_not_given_back(world: World) -> None:
    """A session that is resumed after the end of a grant does not get that channel, and leaves it."""
    ends = {"private-a": time.time() - 1, "private-b": time.time() + 3600}
    world.app.replies[AUTHORIZE] = lambda call: JSONResponse({"expires_at": ends[call.body["channel"]]})
    async with running(world, "channels"):
        for channel in ends:
            await ask(world, channel, None)
        await world.append(SESSION, SessionResumed(generation=2), user="7")
        (restored,) = await eventually(lambda: world.published(f"session:{SESSION}"))
        await eventually(lambda: world.settled("channels"))
    assert restored.payload()["channels"] == ["private-b"]
    assert [one.type for one in await world.published("channel:private-a")] == [
        "subscription.granted",
        "subscription.ended",
    ]
    again = (await world.published("channel:private-b"))[1]
    assert (again.payload()["generation"], again.payload()["expires_at"]) == (2, int(ends["private-b"] * 1000))


async def test_what_others_have_of_a_session_that_was_lost_with_its_log_ends(world: World) -> None:
    """Its gateway says which channels it was in, and that its connection is over, to a log that knows nothing of it."""
    async with running(world, "auth", "channels"):
        await world.append(SESSION, UnsubscribeRequested(channel="news"), user="7")
        lost = SessionDisconnected(generation=1, code=3010, reason="", by="gateway", final=False)
        await world.append(SESSION, lost, user="7")
        await eventually(lambda: world.published(f"session:{SESSION}"))
    for topic in ("channel:news", "user:7"):
        (ended,) = await world.published(topic)
        assert (ended.type, ended.session) == ("subscription.ended", SESSION)


async def test_what_was_revoked_is_asked_about_again(world: World) -> None:
    """A signature from before looks as one from after: the application says what holds, and its yes counts on."""
    async with running(world, "auth", "channels"):
        await opened(world)
        await ask(world, "private-a", signed("private-a"))
        await world.append(SESSION, UnsubscribeRequested(channel="private-a", reason="revoked", message="out"))
        world.app.replies[AUTHORIZE] = lambda _: JSONResponse({}, 403)
        await ask(world, "private-a", signed("private-a"))
        (frame,) = await eventually(lambda: _errors(world))
        world.app.replies[AUTHORIZE] = lambda _: JSONResponse({})
        for _ in range(2):
            await ask(world, "private-a", signed("private-a"))
        await eventually(lambda: world.settled("channels"))
    assert frame["code"] == 103
    assert len(world.app.bodies(AUTHORIZE)) == 2
    kinds = [
        (one.type, one.payload().get("reason"), one.payload().get("message"))
        for one in await world.published("channel:private-a")
    ]
    assert kinds[:2] == [("subscription.granted", None, None), ("subscription.ended", "revoked", "out")]
    assert [kind for kind, _, _ in kinds[2:]] == ["subscription.granted"] * 2


async def _errors(world: World) -> list[Any]:
    return [frame for frame in await world.frames(f"session:{SESSION}") if frame]
