"""What the older contract let anybody do, tried on the whole system. docs/security.md has the list."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from schemas.signing import Signer
from tests.support.client import Client
from tests.support.laravel import REQUEST_TIMEOUT_S
from tests.support.system import SECRET, System, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

VICTIM = "999"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """One gateway and everything behind it."""
    async with system() as made:
        yield made


async def signed_in(system: System, client: Client, name: str, *channels: str) -> str:
    """Authenticate `client` as a user, in `channels`; gives the user id."""
    login = await system.laravel.token(name)
    await client.authenticate(login.token)
    for channel in channels:
        assert (await client.subscribe(channel))["type"] == "subscribed"
    return str(login.user_id)


async def test_a_user_id_that_a_client_sends_counts_for_nothing(running: System) -> None:
    """Neither in `auth` nor in a message: the user is the one that the application named for the token."""
    login = await running.laravel.token("claims-to-be-another")
    async with running.client() as client:
        await client.send({"type": "auth", "token": login.token, "userId": VICTIM, "user": VICTIM, "protocol": 1})
        success = await client.wait_type("auth_success")
        await client.ask({"type": "echo", "userId": VICTIM, "X-User-Id": VICTIM})
        found = (await running.get(f"/sessions?user={login.user_id}")).json()["sessions"]
        assert [(one["id"], one["userId"]) for one in found] == [(success["sessionId"], str(login.user_id))]
        assert (await running.get(f"/sessions?user={VICTIM}")).json()["sessions"] == []
        await running.settled()
        entries = [entry for entry in await running.entries() if entry.session == success["sessionId"]]
        assert {entry.user for entry in entries if entry.type == "message.received"} == {str(login.user_id)}
        told = [one["data"] for one in await running.laravel.events()]
        assert {one["userId"] for one in told if one["sessionId"] == success["sessionId"]} == {str(login.user_id)}


@pytest.mark.parametrize("path", ["auth/verify", "webtransport/handle", "webtransport/event", "webtransport/authorize"])
async def test_the_application_takes_nothing_unsigned(running: System, path: str) -> None:
    """Whoever calls its routes as the gateway does, but without the secret, is refused and leaves nothing."""
    before = len(await running.laravel.events())
    body = {"event": "connection.opened", "data": {"sessionId": "s", "userId": VICTIM}}
    async with httpx.AsyncClient(trust_env=False, base_url=running.laravel.url, timeout=REQUEST_TIMEOUT_S) as http:
        answer = await http.post(f"/api/{path}", json=body, headers={"X-User-Id": VICTIM})
    assert answer.status_code == 401
    assert len(await running.laravel.events()) == before


async def test_operators_listeners_publish_nothing(running: System) -> None:
    """What is open on any listener is health, metrics and a document; nothing of it tells of one session or user."""
    async with running.client() as client, httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        await signed_in(running, client, "observed", "news")
        for service in running.services.values():
            for path in ("/sessions", "/send-to-session", "/disconnect", "/admin", "/debug", "/docs", "/openapi.json"):
                assert (await http.get(service.health + path)).status_code in (401, 404, 405), path
                assert (await http.post(service.health + path, json={})).status_code in (401, 404, 405), path
            for path in ("/health", "/health/live", "/health/ready", "/metrics"):
                text = (await http.get(service.health + path)).text
                assert client.session not in text


async def test_not_every_channel_is_anybodys(running: System) -> None:
    """A channel that the application did not grant is neither joined, nor heard, nor spoken in."""
    async with running.client() as member, running.client() as other:
        await signed_in(running, member, "a-member", "presence-board")
        await signed_in(running, other, "no-member")
        assert (await other.subscribe("private-forbidden"))["code"] == 103
        assert (await other.ask({"type": "client-hi", "channel": "presence-board", "data": 1}))["code"] == 104
        await running.post("/broadcast-to-channel", {"channel": "private-forbidden", "message": "secret"})
        await running.post("/broadcast-to-channel", {"channel": "presence-board", "message": "for members"})
        assert (await member.wait_type("channel_broadcast"))["data"] == "for members"
        assert (await other.ask({"type": "ping"}))["type"] == "pong"
        assert [frame for frame in other.received if frame["type"] in ("channel_broadcast", "client-hi")] == []
        assert [frame for frame in member.received if frame["type"] == "client-hi"] == []


async def test_presence_cannot_be_spoofed(running: System) -> None:
    """Members see who the application says is there: no frame of a client joins, leaves or speaks for another."""
    async with running.client() as ada, running.client() as eve:
        await signed_in(running, ada, "watches-presence", "presence-stage")
        user = await signed_in(running, eve, "spoofs-presence")
        answer = await eve.ask(
            {"type": "subscribe", "channel": "presence-stage", "member": {"id": VICTIM}, "userId": VICTIM}
        )
        assert VICTIM not in json.dumps(answer)
        assert (await ada.wait_type("presence"))["joined"]["id"] == user
        member = {"id": VICTIM, "info": {"name": "the victim"}}
        for change in ("joined", "left"):
            await eve.ask({"type": "presence", "channel": "presence-stage", change: member})
        await eve.send({"type": "client-wave", "channel": "presence-stage", "data": 1, "from": member})
        wave = await ada.wait_type("client-wave")
        assert wave["from"] == {"id": user}
        cursor = await eve.datagram_to(ada, {"type": "cursor", "channel": "presence-stage", "from": member})
        assert cursor["from"] == {"id": user}
        assert [frame for frame in ada.received if VICTIM in json.dumps(frame)] == []


async def test_a_publication_in_redis_reaches_nobody_unless_the_bridge_is_on(running: System) -> None:
    """As long as HEADGATE_PUBSUB_BRIDGE is off nothing listens to PUBLISH at all."""
    async with running.client() as client:
        await signed_in(running, client, "hears-no-pubsub", "news")
        for name in ("channel:news", f"session:{client.session}"):
            assert await running.log.publish(name, '{"type": "spoofed"}') == 0
        await running.post("/broadcast-to-channel", {"channel": "news", "message": "signed"})
        await client.wait_type("channel_broadcast")
        assert [frame for frame in client.received if "spoofed" in json.dumps(frame)] == []


async def test_a_recorded_request_cannot_be_sent_again(running: System) -> None:
    """The API refuses the second of two equal requests, and one over another body or under another method."""
    body = b'{"userId": 7, "message": {"type": "once"}}'
    headers = Signer("default", SECRET.encode()).headers(
        "POST", "/send-to-user", body, timestamp=int(time.time()), nonce="recorded"
    ) | {"Content-Type": "application/json"}
    url = f"{running.api_url}/send-to-user"
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        assert (await http.post(url, content=body, headers=headers)).status_code == 200
        assert (await http.post(url, content=body, headers=headers)).status_code == 401
        fresh = headers | {"X-Headgate-Nonce": "another"}
        assert (await http.post(url, content=body, headers=fresh)).status_code == 401
        assert (await http.post(url, content=body.replace(b"7", b"8"), headers=headers)).status_code == 401
        assert (await http.get(url, headers=headers)).status_code == 401

    async def routed() -> bool:
        return await running.services["egress"].metric("headgate_api_refused_total", status="401") >= 4

    await eventually(routed)
