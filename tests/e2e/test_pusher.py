"""Laravel's own broadcast driver for Pusher publishes to Headgate, and clients of Headgate hear it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from schemas.socket_ids import socket_id
from tests.scenarios.chromium import Harness, certificate_of, site
from tests.support.browser import chromium
from tests.support.client import Party
from tests.support.laravel import REQUEST_TIMEOUT_S, LaravelApp, laravel_app
from tests.support.pusher import Pusher
from tests.support.system import SECRET, System, system
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The private channel of an order, and the public one of all orders.
MINE, ALL = "private-orders.7", "orders"


def on_pusher(_: str, api_url: str) -> AbstractAsyncContextManager[LaravelApp]:
    """The application as one that is on Pusher, but for these lines of its environment."""
    api = urlsplit(api_url)
    settings = {
        "BROADCAST_DRIVER": "pusher",
        "PUSHER_APP_ID": "headgate",
        "PUSHER_APP_KEY": "default",
        "PUSHER_APP_SECRET": SECRET,
        "PUSHER_HOST": str(api.hostname),
        "PUSHER_PORT": str(api.port),
        "PUSHER_SCHEME": "http",
    }
    return laravel_app(SECRET, settings=settings)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[str]:
    """Where pages come from."""
    async with site() as port:
        yield f"http://localhost:{port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(origin: str) -> AsyncIterator[System]:
    """Two gateways and everything behind them; what is lost is soon over."""
    async with system(
        gateways=2, application=on_pusher, gateway_lease_seconds="4", resume_seconds="1", allowed_origins=origin
    ) as made:
        yield made


async def member(running: System, client: Party[Any], name: str, *channels: str) -> None:
    """Authenticate as a user and join channels."""
    await client.authenticate((await running.laravel.token(name)).token)
    for channel in channels:
        assert (await client.subscribe(channel))["type"] == "subscribed"


async def ship(running: System, by: str, sender: Party[Any] | None = None) -> None:
    """The application broadcasts to both channels, in a request of `sender`'s page if there is one."""
    headers = {"X-Socket-ID": socket_id(sender.session)} if sender else {}
    async with httpx.AsyncClient(base_url=running.laravel.url, trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        answer = await http.post("/api/demo/ship/7", json={"by": by}, headers=headers)
    assert answer.status_code == 204, (answer.text, running.laravel.log())


async def test_a_broadcast_to_others_reaches_the_others(running: System) -> None:
    """broadcast(...)->toOthers() through the driver `pusher` reaches both channels, and its sender in neither."""
    async with running.client() as ada, running.client(1) as bob:
        await member(running, ada, "ada", MINE, ALL)
        await member(running, bob, "bob", MINE, ALL)
        await ship(running, "ada", ada)
        await ship(running, "all")
        for channel in (MINE, ALL):
            first = await bob.wait_type("channel_broadcast", channel=channel)
            assert (first["event"], first["data"]) == ("App\\Events\\OrderShipped", {"order": 7, "by": "ada"})
            assert (await bob.wait_type("channel_broadcast", channel=channel))["data"]["by"] == "all"
            # Deliveries of one topic come in order: what was sent to all is the first that she has.
            assert (await ada.wait_type("channel_broadcast", channel=channel))["data"]["by"] == "all"


async def test_a_browser_hears_it(running: System, origin: str) -> None:
    """A page of Chromium, over WebTransport, has what the driver published to a private channel."""
    certificate = await certificate_of(running.gateway_urls[0])
    async with chromium() as browser:
        page = await Harness.open(browser, f"{origin}/")
        async with Party(await page.webtransport(running.gateway_urls[0], certificate)) as ada:
            await member(running, ada, "ada", MINE)
            await ship(running, "a browser")
            told = await ada.wait_type("channel_broadcast")
            assert (told["event"], told["data"]) == ("App\\Events\\OrderShipped", {"order": 7, "by": "a browser"})


async def test_an_event_for_a_user_reaches_its_sessions(running: System) -> None:
    """What the libraries' sendToUser publishes; and its sessions end with terminateUserConnections."""
    async with (
        running.client() as ada,
        httpx.AsyncClient(base_url=running.api_url, trust_env=False, timeout=REQUEST_TIMEOUT_S) as http,
    ):
        await member(running, ada, "ada")
        pusher = Pusher(http, SECRET)
        assert (await pusher.trigger([f"#server-to-user-{ada.user}"], "hello", {"n": 1})).status_code == 200
        told = await ada.wait_type("user_event")
        assert (told["event"], told["data"]) == ("hello", {"n": 1})
        await pusher.post(f"users/{ada.user}/terminate_connections", {})
        assert (await ada.closed()).code == 3500


async def test_a_channel_is_empty_when_its_gateway_is_lost(running: System) -> None:
    """Its sessions are not resumed: nobody is in their channels any more, and they are listed no longer."""
    async with (
        httpx.AsyncClient(base_url=running.api_url, trust_env=False, timeout=REQUEST_TIMEOUT_S) as http,
        running.client(1) as ada,
    ):
        pusher = Pusher(http, SECRET)
        await member(running, ada, "ada", "presence-lost")
        occupied = (await pusher.get("channels", filter_by_prefix="presence-lost", info="user_count")).json()
        assert occupied == {"channels": {"presence-lost": {"user_count": 1}}}
        await running.gateways[1].kill()

        async def empty() -> bool:
            answer = await pusher.get("channels", filter_by_prefix="presence-lost")
            return answer.text == '{"channels":{}}'

        await eventually(empty, 30)
        assert (await pusher.get("channels/presence-lost")).json() == {"occupied": False}
