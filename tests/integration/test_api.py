"""The HTTP API on its real listener, with a real Redis behind it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api import Api, running_api
from tests.support.waiting import eventually

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

#: Target, body (None: GET) and words of the answer.
INVALID: list[tuple[str, Any, str]] = [
    ("/send-to-session", {"message": {}}, "sessionId: Field required"),
    ("/send-to-session", {"sessionId": "", "message": {}}, "sessionId"),
    ("/send-to-user", {"userId": True, "message": {}}, "userId"),
    ("/broadcast-to-channel", {"channel": "a b", "message": {}}, "channel name"),
    ("/broadcast-to-channel", {"channel": "client-a", "message": {}}, "unknown channel prefix"),
    ("/broadcast-to-channel", {"channel": "private-encrypted-a", "message": {}}, "unknown channel"),
    ("/disconnect", {}, "either sessionId or userId"),
    ("/disconnect", {"sessionId": "a", "userId": "b"}, "either sessionId or userId"),
    ("/disconnect", {"userId": "b", "code": 1000}, "code"),
    ("/sessions?limit=1001", None, "limit"),
    ("/sessions?cursor=99:a", None, "cursor"),
    ("/sessions?cursor=x", None, "cursor"),
    ("/sessions?cursor=%3Aa", None, "cursor"),
    ("/sessions?cursor=-1%3Aa", None, "cursor"),
    ("/sessions?cursor=%D9%A3%3Aa", None, "cursor"),  # An Arabic-Indic digit.
    ("/sessions?cursor=" + "9" * 500 + "%3Aa", None, "cursor"),
    ("/sessions?cursor=" + "0" * 511, None, "cursor"),
    ("/send-to-user", {"userId": 2**63, "message": {}}, "userId: Value error, is more than an integer of 64 bits"),
    ("/send-to-user", {"userId": 2.0**60, "message": {}}, "userId"),
    ("/sessions?channel=a%20b", None, "channel name"),
]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as made:
        yield made


async def test_a_message_reaches_the_session_it_is_for(api: Api) -> None:
    """The answer names the entry, the log holds it, and the session's gateway gets the frame."""
    await api.open("s1", "7")
    answer = await api.post("/send-to-session", {"sessionId": "s1", "message": {"type": "hi"}})
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    entry = (await api.logged("session:s1"))[-1]
    assert (entry.id, entry.type, entry.session) == (answer.json()["id"], "message.published", "s1")
    (delivered,) = await eventually(lambda: api.delivered("g1", "publication"))
    assert delivered.payload()["frame"] == {"type": "hi"}
    assert delivered.cause == entry.id


async def test_an_unknown_session_is_said_to_be_unknown(api: Api) -> None:
    """404 in the old contract's words, and nothing is logged."""
    answer = await api.post("/send-to-session", {"sessionId": "nobody", "message": {}})
    assert (answer.status_code, answer.json()) == (404, {"error": "Session not found"})
    answer = await api.post("/disconnect", {"sessionId": "nobody"})
    assert answer.status_code == 404
    assert await api.logged("session:nobody") == []


async def test_a_broadcast_has_the_form_clients_know(api: Api) -> None:
    """A channel_broadcast with the event where there is one, for all but the session that is excepted."""
    await api.post("/broadcast-to-channel", {"channel": "room", "message": "hello"})
    body = {"channel": "room", "message": {"n": 1}, "event": "Shipped", "except": "s9"}
    await api.post("/broadcast-to-channel", body)
    plain, full = [entry.payload() for entry in await api.logged("channel:room")]
    assert plain["frame"] == {"type": "channel_broadcast", "channel": "room", "data": "hello"}
    assert plain["exclude"] is None
    assert full["frame"] == {
        "type": "channel_broadcast",
        "channel": "room",
        "event": "Shipped",
        "data": {"n": 1},
    }
    assert full["exclude"] == "s9"


@pytest.mark.parametrize("user", [7, "7"])
async def test_user_ids_may_be_numbers(api: Api, user: int | str) -> None:
    """A number and its text are one user."""
    await api.open("s1", "7")
    assert (await api.post("/send-to-user", {"userId": user, "message": [1, 2]})).status_code == 200
    (delivered,) = await eventually(lambda: api.delivered("g1", "publication"))
    assert delivered.topic == "user:7"
    assert delivered.payload()["frame"] == {"type": "message", "data": [1, 2]}


async def test_sessions_are_disconnected_with_code_and_reason(api: Api) -> None:
    """By session or by user; without a code it is a forced end."""
    await api.open("s1", "7")
    assert (await api.post("/disconnect", {"sessionId": "s1"})).status_code == 200
    assert (await api.post("/disconnect", {"userId": 7, "code": 4001, "reason": "bye"})).status_code == 200

    async def both() -> bool:
        return len(await api.delivered("g1", "disconnect")) == 2

    await eventually(both)
    orders = {entry.topic: entry.payload() for entry in await api.delivered("g1", "disconnect")}
    assert orders["session:s1"] == {"code": 3500, "reason": "disconnected by the application"}
    assert orders["user:7"] == {"code": 4001, "reason": "bye"}


async def test_sessions_are_listed_in_exact_pages(api: Api) -> None:
    """Every session once, in pages of the asked size, and by user or channel where asked."""
    for n in range(7):
        await api.open(f"s{n}", str(n % 2), "all", *(["even"] if n % 2 == 0 else []))
    seen: list[str] = []
    cursor, sizes = "", []
    while True:
        page = (await api.call("GET", f"/sessions?limit=3{cursor}")).json()
        seen += [one["id"] for one in page["sessions"]]
        sizes.append(len(page["sessions"]))
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(seen) == [f"s{n}" for n in range(7)]
    assert sizes[:2] == [3, 3]
    first = next(one for one in await api.listed() if one["id"] == "s0")
    assert first == {
        "id": "s0",
        "userId": "0",
        "channels": ["all", "even"],
        "connectedAt": "2023-11-14T22:13:20.000Z",
    }
    assert [one["id"] for one in await api.listed("?user=1")] == ["s1", "s3", "s5"]
    assert [one["id"] for one in await api.listed("?channel=even")] == ["s0", "s2", "s4", "s6"]
    assert await api.listed("?user=1&channel=even") == []
    page = (await api.call("GET", "/sessions?channel=all&limit=5")).json()
    assert [one["id"] for one in page["sessions"]] == ["s0", "s1", "s2", "s3", "s4"]
    rest = (await api.call("GET", f"/sessions?channel=all&limit=5&cursor={page['next']}")).json()
    assert [one["id"] for one in rest["sessions"]] == ["s5", "s6"]
    assert rest["next"] is None


async def test_an_invalid_request_is_told_what_is_wrong(api: Api) -> None:
    """422 with what is wrong, in one sentence."""
    for target, body, words in INVALID:
        answer = await api.call("GET" if body is None else "POST", target, body)
        assert answer.status_code == 422, (target, body)
        assert list(answer.json()) == ["error"]
        assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"userId": 7, "message": NaN}',
        b'{"userId": 7, "message": "\\ud800"}',
        b'{"userId": 7, "message": "\xff"}',
        b'\xef\xbb\xbf{"userId": 7, "message": 1}',
        b'{"userId": 7, "message": ' + b"[" * 129 + b"]" * 129 + b"}",
        b'{"userId": 7, "message": ' + b'{"a":' * 129 + b"1" + b"}" * 129 + b"}",
        b'{"userId": 7, "message": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"userId": "' + b"u" * 256 + b'", "message": 1}',
    ],
)
async def test_what_readers_of_the_log_could_not_take_is_refused(api: Api, body: bytes) -> None:
    """422, whatever the body is, and nothing of it is in the log."""
    headers = api.signed("POST", "/send-to-user", body) | {"Content-Type": "application/json"}
    answer = await api.http.post("/send-to-user", content=body, headers=headers)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert await api.logged("user:7") == []


async def test_messages_may_have_128_levels(api: Api) -> None:
    """The deepest message that is taken reaches its gateway."""
    await api.open("s1", "7")
    message: Any = 1
    for _ in range(128):
        message = [message]
    assert (await api.post("/send-to-user", {"userId": 7.0, "message": message})).status_code == 200
    (delivered,) = await eventually(lambda: api.delivered("g1", "publication"))
    assert delivered.payload()["frame"]["data"] == message


@pytest.mark.parametrize("cursor", ["0%3A%FF", "0%3A%00", "3%3A~", "15%3A%F4%8F%BF%BF", "00%3As0", "0%3A" + "z" * 500])
async def test_a_cursor_that_no_page_gave_leads_nowhere_else(api: Api, cursor: str) -> None:
    """One of the right form is a place between sessions, and a page from there has live sessions and no others."""
    await api.open("s0", "0", "all")
    for query in (f"?cursor={cursor}", f"?cursor={cursor}&channel=all", f"?cursor={cursor}&user=0&limit=1"):
        page = await api.call("GET", f"/sessions{query}")
        assert page.status_code == 200
        assert [one["id"] for one in page.json()["sessions"]] in ([], ["s0"])


async def test_refusals_have_one_shape(api: Api) -> None:
    """Unknown routes, wrong methods and broken JSON answer {error} like everything else."""
    for method, target, status in (("GET", "/nothing", 404), ("GET", "/disconnect", 405)):
        answer = await api.call(method, target)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
    signer = api.settings.signer()
    headers = signer.headers("POST", "/disconnect", b"{", timestamp=int(time.time()), nonce="broken")
    answer = await api.http.post("/disconnect", content=b"{", headers=headers | {"Content-Type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    too_long = await api.post("/disconnect", {"userId": "7"}, idempotency_key="k" * 256)
    assert too_long.status_code == 422


async def test_unsigned_replayed_and_oversized_requests_stay_outside(api: Api) -> None:
    """401 without a signature and for a nonce that was used, 413 for a body over the limit."""
    body = b'{"userId": 7, "message": {}}'
    headers = api.settings.signer().headers("POST", "/send-to-user", body, timestamp=int(time.time()), nonce="once") | {
        "Content-Type": "application/json"
    }
    statuses = [(await api.http.post("/send-to-user", content=body, headers=headers)).status_code for _ in range(2)]
    assert statuses == [200, 401]
    assert 0 < await api.client.ttl(api.keys.nonce("default", "once")) <= 600
    assert (await api.http.get("/sessions")).status_code == 401
    assert (await api.http.get("/openapi.json")).status_code == 401
    assert (await api.http.post("/send-to-user", content=b"x" * 300_000)).status_code == 413
    assert len(await api.logged("user:7")) == 1


async def test_a_repeated_call_with_one_key_is_delivered_once(api: Api) -> None:
    """Two calls with one Idempotency-Key give one id and one offset; another key gives another."""
    await api.open("s1", "7", "room")
    body = {"channel": "room", "message": 1}
    ids = [
        (await api.post("/broadcast-to-channel", body, idempotency_key=key)).json()["id"] for key in ("k1", "k1", "k2")
    ]
    assert ids[0] == ids[1] != ids[2]

    async def routed() -> bool:
        return any(one.cause == ids[2] for one in await api.delivered("g1", "publication"))

    await eventually(routed)
    places = [(one.cause, one.payload()["offset"]) for one in await api.delivered("g1", "publication")]
    assert places == [(ids[0], 1), (ids[0], 1), (ids[2], 2)]


async def test_a_trace_goes_on_through_the_api(api: Api) -> None:
    """The entry carries the caller's traceparent; without a valid one it begins a trace of its own."""
    body = {"userId": "7", "message": {}}
    await api.post("/send-to-user", body, traceparent=TRACEPARENT)
    await api.post("/send-to-user", body, traceparent="nonsense")
    given, own = [entry.traceparent for entry in await api.logged("user:7")]
    assert given == TRACEPARENT
    assert len(own) == len(TRACEPARENT)
    assert own != TRACEPARENT


async def test_monitoring_sees_the_service(api: Api) -> None:
    """Health in numbers, liveness, readiness and metrics, all without a signature."""
    await api.open("s1", "7")
    health = (await api.http.get("/health")).json()
    assert (health["status"], health["sessions"]) == ("healthy", 1)
    assert health["uptime"] > 0
    assert (await api.http.get("/health/live")).json() == {"status": "alive"}
    assert (await api.http.get("/health/ready")).json() == {"status": "ready", "problems": [], "warnings": []}
    document = (await api.http.get("/asyncapi.json")).json()
    assert document["operations"]["receive.message.published"]["action"] == "receive"
    assert document["operations"]["send.delivery.publication"]["action"] == "send"
    assert document["channels"]["receive.message.published"]["address"].endswith("{out:q}")
    assert "headgate_router_deliveries_total" in (await api.http.get("/metrics")).text
    paths = (await api.call("GET", "/openapi.json")).json()["paths"]
    assert {"/send-to-session", "/broadcast-to-channel", "/send-to-user", "/disconnect"} <= paths.keys()


async def test_nothing_is_accepted_while_the_log_is_away(api: Api) -> None:
    """503 with Retry-After instead of a success that nobody could keep, until Redis is back."""
    body = {"userId": "7", "message": {}}
    await api.server.kill()
    for answer in (await api.post("/send-to-user", body), await api.http.get("/health")):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert list(answer.json()) == ["error"]
    await api.server.start()

    async def accepted() -> bool:
        return (await api.post("/send-to-user", body)).status_code == 200

    await eventually(accepted)


async def test_pages_of_configured_origins_alone_may_read(api: Api) -> None:
    """The service has the headers of its settings: no CORS by default, and always those against caches and guesses."""
    asks = {"Origin": "https://tools.example", "Access-Control-Request-Method": "GET"}
    refused = await api.http.options("/sessions", headers=asks)
    assert refused.status_code == 401
    assert "access-control-allow-origin" not in refused.headers
    assert (await api.http.get("/health")).headers["x-content-type-options"] == "nosniff"
    async with running_api(api.server, api_origins="https://tools.example,https://b.example") as open_to_two:
        allowed = await open_to_two.http.options("/sessions", headers=asks)
    assert allowed.headers["access-control-allow-origin"] == "https://tools.example"
