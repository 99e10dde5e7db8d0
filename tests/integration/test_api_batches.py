"""The batch forms of the HTTP API, with a real Redis behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api import Api, running_api
from tests.support.waiting import eventually


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as made:
        yield made


async def test_each_item_of_a_batch_is_answered_in_its_place(api: Api) -> None:
    """What can be carried out is in the log under the id that its place names; the rest says why not."""
    await api.open("s1", "7")
    await api.open("s2", "8")
    items = [{"sessionId": name, "message": {"type": "hi", "to": name}} for name in ("s2", "nobody", "s1", "s2")]
    answer = await api.post("/send-to-session/batch", {"batch": items})
    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [one["success"] for one in results] == [True, False, True, True]
    assert results[1] == {"success": False, "status": 404, "error": "Session not found"}
    sent = [entry for entry in await api.logged("session:s2") if entry.type == "message.published"]
    assert [entry.id for entry in sent] == [results[0]["id"], results[3]["id"]]
    assert await api.logged("session:nobody") == []

    async def all_delivered() -> bool:
        return len(await api.delivered("g1", "publication")) == 3

    await eventually(all_delivered)


async def test_a_batch_of_each_kind_does_what_its_items_would(api: Api) -> None:
    """Users, channels and orders to disconnect, each as by a request of its own."""
    await api.open("s1", "7", "room")
    bodies: dict[str, list[dict[str, Any]]] = {
        "/send-to-user/batch": [{"userId": 7, "message": 1}, {"userId": "7", "message": 2}],
        "/broadcast-to-channel/batch": [{"channel": "room", "message": 1, "event": "E", "except": "s9"}],
        "/disconnect/batch": [{"sessionId": "s1"}, {"sessionId": "gone"}, {"userId": 7, "code": 4001}],
    }
    for target, items in bodies.items():
        answer = await api.post(target, {"batch": items})
        assert (answer.status_code, len(answer.json()["results"])) == (200, len(items)), target
    assert [one.payload()["frame"]["data"] for one in (await api.logged("user:7"))[-3:-1]] == [1, 2]
    (broadcast,) = [one for one in await api.logged("channel:room") if one.type == "message.published"]
    assert broadcast.payload()["frame"]["event"] == "E"
    assert broadcast.payload()["exclude"] == "s9"
    assert (await api.logged("user:7"))[-1].payload()["code"] == 4001
    assert (await api.logged("session:s1"))[-1].type == "session.disconnect_requested"


async def test_a_repeated_batch_is_delivered_once(api: Api) -> None:
    """With an Idempotency-Key each place of a batch has an id of its own, the same when the batch is repeated."""
    await api.open("s1", "7", "room")
    body = {"batch": [{"channel": "room", "message": n} for n in (1, 1)]}

    async def ids(key: str) -> list[str]:
        answer = await api.post("/broadcast-to-channel/batch", body, idempotency_key=key)
        return [one["id"] for one in answer.json()["results"]]

    first, again, other = [await ids(key) for key in ("k1", "k1", "k2")]
    assert first == again
    assert len({*first, *other}) == 4
    # A single request under a name that looks like a place of the batch is another one.
    single = await api.post("/broadcast-to-channel", {"channel": "room", "message": 1}, idempotency_key="0/k1")
    assert single.json()["id"] not in first

    async def routed() -> bool:
        return any(one.cause == single.json()["id"] for one in await api.delivered("g1", "publication"))

    await eventually(routed)
    places = {(one.cause, one.payload()["offset"]) for one in await api.delivered("g1", "publication")}
    assert sorted(offset for _, offset in places) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "batch: List should have at least 1 item"),
        ([{"userId": 7, "message": {}}] * 101, "batch: List should have at most 100 items"),
        ([{"userId": 7, "message": {}}, {"userId": "", "message": {}}], "batch.1.userId"),
        ([{"userId": 7}], "batch.0.message: Field required"),
        ("x", "batch: Input should be a valid list"),
    ],
)
async def test_a_batch_that_is_not_well_formed_is_refused_whole(api: Api, items: Any, words: str) -> None:
    """422 with the place of what is wrong, and nothing of the batch is in the log."""
    answer = await api.post("/send-to-user/batch", {"batch": items})
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert await api.logged("user:7") == []


async def test_a_whole_batch_costs_one_look_and_one_write(api: Api) -> None:
    """A hundred items are looked up in one round trip and appended in one."""
    await api.open("s1", "7")
    before: Any = await api.client.info("commandstats")
    body = {"batch": [{"sessionId": "s1", "message": n} for n in range(100)]}
    answer = await api.post("/send-to-session/batch", body)
    assert all(one["success"] for one in answer.json()["results"])
    after: Any = await api.client.info("commandstats")

    def calls(stats: Any, name: str) -> int:
        return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])

    # One for all items, since they name one session.
    assert calls(after, "hexists") - calls(before, "hexists") == 1
    assert [one.payload()["frame"]["data"] for one in (await api.logged("session:s1"))[-100:]] == list(range(100))


async def test_a_batch_while_the_log_is_away_is_refused_whole(api: Api) -> None:
    """503 with Retry-After: nothing of it was taken."""
    await api.server.kill()
    answer = await api.post("/send-to-user/batch", {"batch": [{"userId": 7, "message": 1}]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
