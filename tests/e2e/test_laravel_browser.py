"""Chromium, two gateways, and an application with the Composer package that reads the log itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from tests.scenarios.chromium import Harness, PageWebTransport, certificate_of, site
from tests.support.browser import chromium
from tests.support.client import Party
from tests.support.packaged import ROUTES, ask, heard, packaged, worker
from tests.support.system import System, system
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE_S = 3.0
#: How long after an order of the application sessions may go on as before.
WITHIN_S = 1.0


@dataclass
class Office:
    """Everything that runs, and a page."""

    system: System
    page: Harness
    certificate: str

    @asynccontextmanager
    async def employee(self, name: str, gateway: int = 0) -> AsyncIterator[Party[PageWebTransport]]:
        """A session of a user in the page, over WebTransport."""
        carrier = await self.page.webtransport(self.system.gateway_urls[gateway], self.certificate)
        async with Party(carrier) as party:
            await party.authenticate((await self.system.laravel.token(name)).token)
            yield party


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office() -> AsyncIterator[Office]:
    """A browser's page, two gateways, the application under `php -S`, and its worker."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(site())
        browser = await stack.enter_async_context(chromium())
        page = await Harness.open(browser, f"http://localhost:{port}/")
        running = await stack.enter_async_context(
            system(
                application=partial(packaged, KEEP_NOTES="1"),
                gateways=2,
                laravel_via="log",
                allowed_origins=f"http://localhost:{port}",
                gateway_lease_seconds=str(LEASE_S),
                resume_seconds="1",
                **ROUTES,
            )
        )
        await stack.enter_async_context(worker(running))
        yield Office(running, page, await certificate_of(running.gateway_urls[0]))


async def test_a_broadcast_reaches_the_others_of_a_private_channel(office: Office) -> None:
    """toOthers() leaves the page out that caused it; a channel that the routes refuse cannot be joined."""
    async with office.employee("ada") as ada, office.employee("bob", 1) as bob:
        for party in (ada, bob):
            assert (await party.subscribe("private-orders.7"))["type"] == "subscribed"
        assert (await ada.subscribe("private-orders.13"))["type"] == "error"
        await ask(office.system, "POST", "/api/demo/ship/7", X_Socket_ID=ada.session)
        await ask(office.system, "POST", "/api/demo/ship/7")
        first = await bob.wait_type("channel_broadcast")
        assert (first["event"], first["data"]) == ("App\\Events\\OrderShipped", {"order": 7})
        assert (await ada.wait_type("channel_broadcast"))["offset"] == first["offset"] + 1


async def test_a_message_is_stored_by_a_listener(office: Office) -> None:
    """What a page sends is an event in the worker, and its listener stores it once, under the entry's id."""
    async with office.employee("ada") as ada:
        await ada.send({"type": "note", "text": "from a page", "id": "n1"})
        event = (await ada.wait_type("ack", id="n1"))["event"]

        async def stored() -> list[dict[str, Any]]:
            return [row for row in await office.system.laravel.messages() if row["content"] == "from a page"]

        (row,) = await eventually(stored, 20)
        assert (row["event_id"], row["session"], str(row["user_id"])) == (event, ada.session, ada.user)


async def test_a_page_joins_with_a_signature_of_the_application(office: Office) -> None:
    """What the application signed for a session lets that one in, with what the others are to see, and no other."""
    channel = "presence-room.4"
    async with office.employee("ada") as ada, office.employee("bob", 1) as bob:
        form = {"channel_name": channel, "socket_id": ada.session}
        signed = (await ask(office.system, "POST", f"/api/demo/users/{ada.user}/channels", form)).json()
        frame = {"type": "subscribe", "channel": channel, **signed}
        assert (await bob.ask(frame))["code"] == 103
        joined = await ada.ask(frame)
        assert joined["members"] == [{"id": ada.user, "info": {"name": "ada"}}]
        await ada.ask({"type": "unsubscribe", "channel": channel})
        ada.transport.close()
        await eventually(partial(_over, office, ada.session), 20)
        assert [name for name, _ in await heard(office.system, ada.session)] == [
            "ConnectionOpened",
            "ChannelSubscribed",
            "ChannelUnsubscribed",
            "ConnectionClosed",
        ]


async def test_a_user_is_banned_in_the_middle(office: Office) -> None:
    """Pages on both gateways are closed with the reason within a second, and the listeners hear of each end."""
    async with office.employee("mallory") as one, office.employee("mallory", 1) as other:
        for party in (one, other):
            assert (await party.subscribe("presence-room.2"))["type"] == "subscribed"
        await office.system.settled()
        ordered = time.monotonic()
        await ask(office.system, "DELETE", f"/api/demo/users/{one.user}/sessions")
        for party in (one, other):
            notice = await party.wait_type("disconnect")
            assert (notice["code"], notice["reason"], notice["reconnect"]) == (3500, "banned", False)
            assert (await party.closed()).code == 3500
        assert time.monotonic() - ordered < WITHIN_S * PATIENCE
        for party in (one, other):
            await eventually(partial(_over, office, party.session), 20)


async def test_a_channel_is_taken_away_in_the_middle(office: Office) -> None:
    """From the user's pages on both gateways, within a second; the others see it leave, and it stays connected."""
    channel = "presence-room.5"
    async with office.employee("ada") as ada, office.employee("eve") as one, office.employee("eve", 1) as other:
        for party in (ada, one, other):
            assert (await party.subscribe(channel))["type"] == "subscribed"
        assert (await ada.wait_type("presence"))["joined"]["id"] == one.user
        await office.system.settled()
        ordered = time.monotonic()
        await ask(office.system, "DELETE", f"/api/demo/users/{one.user}/channels/{channel}")
        for party in (one, other):
            told = await party.wait_type("unsubscribed")
            assert (told["reason"], told["message"]) == ("revoked", "removed")
        assert time.monotonic() - ordered < WITHIN_S * PATIENCE
        assert (await ada.wait_type("presence"))["left"]["id"] == one.user
        assert (await one.ask({"type": "client-wave", "channel": channel, "data": {}}))["type"] == "error"


async def test_the_listeners_hear_of_a_killed_gateways_sessions(office: Office) -> None:
    """ConnectionClosed comes with the reason, and whoever is in the presence channel sees its member leave."""
    gateway = office.system.gateways[1]
    async with office.employee("ada") as ada, office.employee("bob", 1) as bob:
        for party in (ada, bob):
            assert (await party.subscribe("presence-room.3"))["type"] == "subscribed"
        assert (await ada.wait_type("presence"))["joined"]["info"] == {"name": "bob"}
        await office.system.settled()
        await gateway.kill()
        assert (await ada.wait_type("presence"))["left"]["id"] == bob.user
        await eventually(partial(_over, office, bob.session), 20)
        assert await heard(office.system, bob.session) == [
            ("ConnectionOpened", ""),
            ("ChannelSubscribed", ""),
            ("ChannelUnsubscribed", "closed"),
            ("ConnectionClosed", "gateway_lost"),
        ]
        await gateway.start()


async def _over(office: Office, session: str) -> bool:
    return "ConnectionClosed" in dict(await heard(office.system, session))
