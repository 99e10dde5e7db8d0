"""The whole way with an application that has the Composer package, and nothing else of Headgate's, in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.packaged import ROUTES, ask, heard, packaged, replayed
from tests.support.system import System, system
from tests.support.waiting import eventually

PUBLISHED = "headgate_api_published_total"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    """A gateway and everything behind it."""
    async with system(application=packaged, **ROUTES) as made:
        yield made


async def member(running: System, client: Client, name: str, channel: str) -> str:
    """Connect as a user with a token of the package's and join a channel; gives the user id."""
    login = await running.laravel.token(name)
    await client.authenticate(login.token)
    assert client.user == str(login.user_id)
    answer = await client.subscribe(channel)
    assert answer["type"] == "subscribed", answer
    return str(login.user_id)


async def test_a_broadcast_to_others_reaches_the_others(running: System) -> None:
    """broadcast(...)->toOthers() by stream reaches the other members of a private channel, and not its sender."""
    async with running.client() as ada, running.client() as bob:
        await member(running, ada, "ada", "private-orders.7")
        await member(running, bob, "bob", "private-orders.7")
        await ask(running, "POST", "/api/demo/ship/7", X_Socket_ID=ada.session)
        await ask(running, "POST", "/api/demo/ship/7")
        first = await bob.wait_type("channel_broadcast", offset=1)
        assert (first["event"], first["data"]) == ("App\\Events\\OrderShipped", {"order": 7})
        await bob.wait_type("channel_broadcast", offset=2)
        # Deliveries of one topic come in order: what was sent to all is the first that she has.
        assert (await ada.wait_type("channel_broadcast"))["offset"] == 2


async def test_a_message_is_handled_and_answered(running: System) -> None:
    """A client's message is stored once by its handler, under the event id, and broadcast in a presence channel."""
    async with running.client() as ada, running.client() as bob:
        ada_id = await member(running, ada, "ada", "presence-room.1")
        bob_id = await member(running, bob, "bob", "presence-room.1")
        joined = (await ada.wait_type("presence"))["joined"]
        assert joined == {"id": bob_id, "info": {"name": "bob"}}
        ack = await ada.message("presence-room.1", "kept by the package")
        told = await bob.wait_type("channel_broadcast")
        assert (told["event"], told["data"]["content"]) == ("message.kept", "kept by the package")
        (kept,) = [row for row in await running.laravel.messages() if row["content"] == "kept by the package"]
        assert (kept["event_id"], str(kept["user_id"])) == (ack["event"], ada_id)
        assert (kept["session"], kept["id"]) == (ada.session, told["data"]["id"])
        assert (await ada.ask({"type": "echo", "n": 1}))["n"] == 1
        assert (await ada.ask({"type": "mystery"}))["type"] == "error"


async def test_routes_channels_decides(running: System) -> None:
    """What routes/channels.php refuses, and what no pattern of it means, is refused to a client."""
    async with running.client() as ada:
        await ada.authenticate((await running.laravel.token("ada")).token)
        for channel in ("private-orders.13", "private-orders.7.admin", "private-ordersX7", "private-admins"):
            assert (await ada.subscribe(channel))["type"] == "error", channel


async def test_a_token_of_nobodys_does_not_connect(running: System) -> None:
    """A text that is no token of the package's closes the session with 4401."""
    async with running.client() as stranger:
        await stranger.send({"type": "auth", "token": "a.b.c", "protocol": 1})
        assert (await stranger.closed()).code == 4401


async def test_several_go_over_the_api_at_once(running: System) -> None:
    """publishMany by HTTP is one batch, whose publications arrive in their order."""
    async with running.client() as ada:
        user = await member(running, ada, "ada", "news")
        before = await running.services["egress"].metric(PUBLISHED, route="/send-to-user/batch")
        ids = (await ask(running, "POST", f"/api/demo/users/{user}/notes")).json()
        assert len(set(ids)) == 3
        assert [(await ada.wait_type("note"))["n"] for _ in range(3)] == [1, 2, 3]
        assert await running.services["egress"].metric(PUBLISHED, route="/send-to-user/batch") == before + 3


async def test_a_user_is_banned(running: System) -> None:
    """A listed session is gone after its user was disconnected, and a listener heard of its beginning and its end."""
    async with running.client() as ada:
        user = await member(running, ada, "banned", "news")
        assert ada.session in (await ask(running, "GET", "/api/demo/sessions")).json()
        await ask(running, "DELETE", f"/api/demo/users/{user}/sessions")
        closed = await ada.closed()
        assert (closed.code, closed.reason) == (3500, "banned")

    async def over() -> list[tuple[str, str]]:
        events = await heard(running, ada.session)
        return events if "ConnectionClosed" in dict(events) else []

    assert [name for name, _ in await eventually(over, 20)] == ["ConnectionOpened", "ConnectionClosed"]


async def test_what_a_handler_broadcasts_is_no_output_that_is_missing(running: System) -> None:
    """What the application publishes by stream while it handles a message is told from what Headgate makes of that."""
    async with running.client() as ada:
        await member(running, ada, "ada", "private-orders.8")
        assert (await ada.ask({"type": "ship", "order": 8}))["type"] == "shipped"
        assert (await ada.wait_type("channel_broadcast"))["data"] == {"order": 8}
    status, differences, figures = await replayed(running)
    assert (status, differences) == (0, []), figures
    assert figures["not_judged"]["published by the application"] >= 1
