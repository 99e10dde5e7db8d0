"""GET /channels and GET /channels/{name} on the real listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from schemas.entry import Entry
from schemas.events import MessagePublished
from tests.support.api import Api, running_api
from tests.support.waiting import eventually


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as made:
        yield made


async def test_channels_are_listed_in_exact_pages(api: Api) -> None:
    """Every channel with subscribers once, by prefix where asked, with its sessions and its users."""
    await api.open("s1", "7", "presence-a", "b", "c")
    await api.open("s2", "8", "presence-a", "c")
    seen, cursor, pages = [], "", 0
    while True:
        page = (await api.call("GET", f"/channels?limit=2{cursor}")).json()
        seen += page["channels"]
        pages += 1
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert pages == 2
    assert sorted(seen, key=lambda one: str(one["name"])) == [
        {"name": "b", "sessions": 1, "users": None},
        {"name": "c", "sessions": 2, "users": None},
        {"name": "presence-a", "sessions": 2, "users": 2},
    ]
    page = (await api.call("GET", "/channels?prefix=presence-")).json()
    assert page == {"channels": [{"name": "presence-a", "sessions": 2, "users": 2}], "next": None}


async def test_a_channel_is_shown_with_its_members_and_its_history(api: Api) -> None:
    """Who is in it, and what was published, in pages from an offset on."""
    await api.open("s2", "8", "presence-a")
    await api.open("s1", "7", "presence-a")
    for n in range(3):
        await api.post("/broadcast-to-channel", {"channel": "presence-a", "message": n, "except": "s9"})

    async def shown(query: str = "") -> dict[str, object]:
        state: dict[str, object] = (await api.call("GET", f"/channels/presence-a{query}")).json()
        return state

    async def routed() -> bool:
        return (await shown())["offset"] == 3

    await eventually(routed)
    state = await shown("?limit=2")
    assert [state[name] for name in ("name", "sessions", "users")] == ["presence-a", 2, 2]
    assert state["members"] == [{"id": "7"}, {"id": "8"}]
    assert (state["offset"], state["next"]) == (3, 2)
    publications = state["publications"]
    assert isinstance(publications, list)
    assert datetime.fromisoformat(publications[0].pop("publishedAt")).tzinfo is not None
    assert publications[0] == {
        "offset": 1,
        "frame": {"type": "channel_broadcast", "channel": "presence-a", "data": 0},
        "except": "s9",
    }
    rest = await shown(f"?after={state['next']}")
    assert isinstance(rest["publications"], list)
    assert [one["frame"]["data"] for one in rest["publications"]] == [2]
    assert (rest["next"], rest["epoch"]) == (None, state["epoch"])


async def test_what_json_cannot_carry_is_shown_all_the_same(api: Api) -> None:
    """A client that whispers in msgpack keeps nobody from looking at the channel."""
    odd: list[dict[str, Any]] = [{"data": b"\xff"}, {"data": {b"k": b"", "n": 1}}, {"data": float("nan"), "b": b""}]
    for n, frame in enumerate(odd):
        entry = Entry.of(MessagePublished(frame=frame), id=str(n), ts=1, topic="channel:odd")
        await api.appender.append(api.keys.outbound_of("channel:odd"), entry)

    async def shown() -> list[dict[str, Any]]:
        state = (await api.call("GET", "/channels/odd")).json()
        return state["publications"] if state["offset"] == len(odd) else []

    frames = [one["frame"] for one in await eventually(shown)]
    assert frames[0] == {"data": {"base64": "/w=="}}
    assert frames[1].keys() == {"unreadable"}
    assert frames[2] == {"data": None, "b": {"base64": ""}}


async def test_nothing_is_known_of_a_channel_that_nobody_used(api: Api) -> None:
    """That is an answer and no error; it has no epoch."""
    assert (await api.call("GET", "/channels/private-nobody")).json() == {
        "name": "private-nobody",
        "sessions": 0,
        "users": None,
        "members": None,
        "epoch": None,
        "offset": 0,
        "publications": [],
        "next": None,
    }


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/channels?limit=1001", "limit"),
        ("/channels?cursor=99:a", "cursor"),
        ("/channels/a%20b", "channel name"),
        ("/channels/client-a", "unknown channel prefix"),
        ("/channels/a?after=-1", "after"),
        ("/channels/a?limit=0", "limit"),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(api: Api, target: str, words: str) -> None:
    """It is answered with 422 and names the parameter or the channel."""
    answer = await api.call("GET", target)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert words in answer.json()["error"]


async def test_channels_are_described(api: Api) -> None:
    """The OpenAPI document has both routes, their parameters and their answers; strangers see neither."""
    document = (await api.call("GET", "/openapi.json")).json()
    shown = document["paths"]["/channels/{name}"]["get"]
    assert [one["name"] for one in shown["parameters"]] == ["name", "after", "limit"]
    assert shown["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChannelState")
    assert "/channels" in document["paths"]
    for target in ("/channels", "/channels/a"):
        assert (await api.http.get(target)).status_code == 401
