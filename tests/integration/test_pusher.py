"""Pusher's API on its real listener, with a real Redis behind it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from schemas.ids import uuid7
from schemas.socket_ids import socket_id
from tests.support.api import Api, running_api
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

SECRET, OLD_SECRET = "s" * 32, "o" * 32
SESSION = uuid7(1_700_000_000_000, b"0123456789")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api(previous_secrets={"old": OLD_SECRET}) as made:
        yield made


@pytest.fixture
def pusher(api: Api) -> Pusher:
    return Pusher(api.http, SECRET)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def frames(api: Api, topic: str) -> list[dict[str, Any]]:
    return [entry.payload()["frame"] for entry in await api.logged(topic)]


async def test_an_event_reaches_the_channel(api: Api, pusher: Pusher) -> None:
    """Its frame is a broadcast as Headgate's clients know it, for all but the sender; the answer is empty."""
    await api.open(SESSION, "7", "orders")
    before = counted("headgate_api_published_total", route="/apps/{app_id}/events")
    answer = await pusher.trigger("orders", "paid", {"n": 1}, socket_id=socket_id(SESSION))
    assert (answer.status_code, answer.json()) == (200, {})
    (delivered,) = await eventually(lambda: api.delivered("g1", "publication"))
    assert delivered.payload()["frame"] == {
        "type": "channel_broadcast",
        "channel": "orders",
        "event": "paid",
        "data": {"n": 1},
    }
    assert delivered.payload()["exclude"] == SESSION
    assert counted("headgate_api_published_total", route="/apps/{app_id}/events") == before + 1


async def test_one_event_for_many_channels(api: Api, pusher: Pusher) -> None:
    """Each of a hundred channels has it once, and the answer tells what was asked about them."""
    await api.open("s1", "7", "presence-c1")
    await api.open("s2", "7", "presence-c1", "c2")
    channels = ["presence-c1", "c2", *(f"c{n}" for n in range(3, 101))]
    answer = await pusher.trigger(channels, "paid", 1, info="user_count,subscription_count")
    asked = answer.json()["channels"]
    assert len(asked) == 100
    assert asked["presence-c1"] == {"user_count": 1, "subscription_count": 2}
    assert asked["c2"] == {"subscription_count": 1}
    assert asked["c3"] == {"subscription_count": 0}
    for channel in channels:
        published = [one for one in await api.logged(f"channel:{channel}") if one.type == "message.published"]
        assert len(published) == 1


async def test_a_batch(api: Api, pusher: Pusher) -> None:
    """Its events are published in order; the answer has a place for each when something was asked."""
    events = [{"name": "e", "channel": "a", "data": str(n)} for n in range(3)]
    assert (await pusher.post("batch_events", {"batch": events})).json() == {}
    assert [frame["data"] for frame in await frames(api, "channel:a")] == [0, 1, 2]
    events[1]["info"] = "subscription_count"
    events[2] |= {"channel": "#server-to-user-7", "info": "user_count"}
    answer = await pusher.post("batch_events", {"batch": events})
    assert answer.json() == {"batch": [{}, {"subscription_count": 0}, {}]}
    assert len(await api.logged("user:7")) == 1


async def test_an_event_for_a_user_and_the_end_of_its_sessions(api: Api, pusher: Pusher) -> None:
    """sendToUser and terminateUserConnections of the libraries; a user id may be any text."""
    await api.open("s1", "7", "room")
    await pusher.trigger(["#server-to-user-7"], "hello", {"n": 1})
    (delivered,) = await eventually(lambda: api.delivered("g1", "publication"))
    assert delivered.topic == "user:7"
    assert delivered.payload()["frame"] == {"type": "user_event", "event": "hello", "data": {"n": 1}}
    answer = await pusher.post("users/7/terminate_connections", {})
    assert (answer.status_code, answer.json()) == (200, {})
    (order,) = await eventually(lambda: api.delivered("g1", "disconnect"))
    assert (order.topic, order.payload()["code"]) == ("user:7", 3500)
    assert (await pusher.post("users/Ada L/x/terminate_connections", {})).status_code == 200
    assert len(await api.logged("user:Ada L/x")) == 1


async def test_channels_are_listed(api: Api, pusher: Pusher) -> None:
    """Those with subscribers, by prefix, with what was asked about each."""
    await api.open("s1", "7", "presence-a", "b")
    await api.open("s2", "8", "presence-a")
    assert (await pusher.get("channels")).json() == {"channels": {"presence-a": {}, "b": {}}}
    answer = await pusher.get("channels", filter_by_prefix="presence-", info="user_count")
    assert answer.json() == {"channels": {"presence-a": {"user_count": 2}}}
    assert (await pusher.get("channels/presence-a", info="user_count,subscription_count")).json() == {
        "occupied": True,
        "user_count": 2,
        "subscription_count": 2,
    }
    assert (await pusher.get("channels/nobody")).json() == {"occupied": False}
    assert (await pusher.get("channels/presence-a/users")).json() == {"users": [{"id": "7"}, {"id": "8"}]}


async def test_a_wrong_question_is_refused_in_words(pusher: Pusher) -> None:
    """400 and plain text, which the libraries show."""
    for path, parameters, words in (
        ("channels", {"info": "user_count"}, "filter_by_prefix=presence-"),
        ("channels/b", {"info": "user_count"}, "presence channels"),
        ("channels/b/users", {}, "only presence channels"),
        ("channels/cache-b", {}, "unknown channel prefix"),
    ):
        answer = await pusher.get(path, **parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8"), path
        assert words in answer.text
    answer = await pusher.trigger(["fine", "private-encrypted-x"], "e", 1)
    assert (answer.status_code, "no encrypted channels" in answer.text) == (400, True)


async def test_nothing_of_a_refused_event_is_published(api: Api, pusher: Pusher) -> None:
    """One wrong channel among many, one wrong event in a batch: none has it."""
    await pusher.trigger(["a", "private-encrypted-x"], "e", 1)
    events = [{"name": "e", "channel": "a", "data": "1"}, {"name": "e", "channel": "a b", "data": "1"}]
    assert (await pusher.post("batch_events", {"batch": events})).status_code == 400
    assert await api.logged("channel:a") == []


async def test_the_same_request_again_is_answered_and_not_carried_out(api: Api, pusher: Pusher) -> None:
    """Whoever recorded a request gains nothing by it; the same event in another second is another."""
    await api.open("s1", "7", "a")
    now = int(time.time())
    repeats = counted("headgate_pusher_repeats_total")
    event = {"name": "e", "channel": "a", "data": "1", "info": "subscription_count"}
    answers = [await pusher.post("events", event, at=at) for at in (now, now, now - 1)]
    assert [answer.json() for answer in answers] == [{"channels": {"a": {"subscription_count": 1}}}] * 3
    assert len(await api.logged("channel:a")) == 3  # The grant, and two events.
    for _ in range(2):
        assert (await pusher.post("users/7/terminate_connections", {}, at=now)).status_code == 200
    assert len(await api.logged("user:7")) == 2  # The grant, and one order.
    assert counted("headgate_pusher_repeats_total") == repeats + 2
    keys = [key async for key in api.client.scan_iter("hg:repeat:*")]
    assert len(keys) == 3
    assert all([0 < await api.client.ttl(key) <= 1200 for key in keys])


async def test_what_was_in_doubt_is_taken_once(api: Api, pusher: Pusher) -> None:
    """A request that nobody knows was carried out is carried out again; each topic takes its event once."""
    await api.open("s1", "7", "a", "b")
    now = int(time.time())
    event = {"name": "e", "channels": ["a", "b"], "data": "1"}
    await pusher.post("events", event, at=now)
    async for key in api.client.scan_iter("hg:repeat:*"):
        await api.client.delete(key)
    await pusher.post("events", event, at=now)
    await pusher.post("events", event | {"data": "2"}, at=now)

    async def last_of_both() -> bool:
        found = await api.delivered("g1", "publication")
        return {one.topic for one in found if one.payload()["frame"]["data"] == 2} == {"channel:a", "channel:b"}

    await eventually(last_of_both)
    for channel in ("a", "b"):
        state = (await api.call("GET", f"/channels/{channel}")).json()
        assert [one["frame"]["data"] for one in state["publications"]] == [1, 2]


async def test_who_is_not_let_in(api: Api, pusher: Pusher) -> None:
    """Unsigned, of another application, too long, for a route there is none: a status and plain text, and a count."""
    refused = counted("headgate_api_refused_total", status="401")
    answer = await api.http.post("/apps/headgate/events", json={"name": "e", "channel": "a", "data": "1"})
    assert (answer.status_code, answer.text) == (401, "the request is not signed: the query has no auth_key")
    assert (await api.http.get("/apps/headgate/nothing")).status_code == 401
    assert counted("headgate_api_refused_total", status="401") == refused + 2
    other = await Pusher(api.http, SECRET, app="other").get("channels")
    assert (other.status_code, "HEADGATE_APP_ID" in other.text) == (404, True)
    stranger = await Pusher(api.http, "x" * 32, app="other").get("channels")
    assert stranger.status_code == 401
    assert (await pusher.get("nothing")).status_code == 404
    assert (await pusher.get("events")).status_code == 405
    too_long = await api.http.post("/apps/headgate/events", content=b"x" * 300_000)
    assert (too_long.status_code, too_long.headers["connection"]) == (413, "close")
    assert await api.logged("channel:a") == []


async def test_each_signature_is_good_for_its_own_routes(api: Api, pusher: Pusher) -> None:
    """Pusher's opens none of Headgate's routes, and Headgate's none of Pusher's; a previous key opens as well."""
    target = pusher.sign("GET", "channels").replace("/apps/headgate", "")
    assert (await api.http.get(target)).status_code == 401
    assert (await api.call("GET", "/apps/headgate/channels")).status_code == 401
    assert (await Pusher(api.http, OLD_SECRET, key="old").get("channels")).status_code == 200


async def test_its_requests_count_for_the_key() -> None:
    """Both APIs together have the key's requests of a minute; strangers use up none."""
    async with running_api(api_requests_per_minute=2) as api:
        pusher = Pusher(api.http, SECRET)
        assert (await Pusher(api.http, "x" * 32).get("channels")).status_code == 401
        assert (await pusher.get("channels")).status_code == 200
        assert (await api.call("GET", "/sessions")).status_code == 200
        answer = await pusher.trigger("a", "e", 1)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert await api.logged("channel:a") == []


async def test_nothing_is_accepted_while_the_log_is_away(api: Api, pusher: Pusher) -> None:
    """503, and the same request is carried out once the log is back."""
    now = int(time.time())
    await api.server.kill()
    answer = await pusher.post("events", {"name": "e", "channel": "a", "data": "1"}, at=now)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    await api.server.start()

    async def accepted() -> bool:
        answer = await pusher.post("events", {"name": "e", "channel": "a", "data": "1"}, at=now)
        return (answer.status_code, answer.text) == (200, "{}")

    await eventually(accepted)
    assert len({entry.id for entry in await api.logged("channel:a")}) == 1
