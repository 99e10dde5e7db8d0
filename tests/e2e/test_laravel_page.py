"""The code that the package's README gives for a page, in a page of an application with Laravel's own middleware."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx

from tests.scenarios.chromium import certificate_of
from tests.support.browser import chromium
from tests.support.laravel import PACKAGE
from tests.support.packaged import ROUTES, ask, packaged
from tests.support.system import System, system
from tests.support.waiting import eventually
from tests.unit.docs.reading import blocks, section


def page_code() -> str:
    """The one block of JavaScript under "Connecting"."""
    (code,) = blocks(section((PACKAGE / "README.md").read_text("utf-8"), "## Connecting"), "js")
    return code


async def token_without_csrf(running: System) -> int:
    """The status of `POST /headgate/token` for a page that is signed in and does not say its CSRF token."""
    async with httpx.AsyncClient(base_url=running.laravel.url, trust_env=False) as http:
        (await http.get("/page/ada")).raise_for_status()
        assert "XSRF-TOKEN" in http.cookies
        return (await http.post("/headgate/token", headers={"Accept": "application/json"})).status_code


async def test_a_page_connects_with_the_code_of_the_readme() -> None:
    """It gets a token past the CSRF check, connects over WebTransport, joins its channel and hears a broadcast."""
    application = partial(packaged, SESSION_DRIVER="redis")
    async with (
        system(application=application, allowed_origins="*", **ROUTES) as running,
        chromium() as browser,
    ):
        assert await token_without_csrf(running) == 419
        page = await browser.new_page()
        await page.goto(f"{running.laravel.url}/page/ada")
        gateway = running.gateway_urls[0]
        where = [gateway.replace("127.0.0.1", "localhost"), "private-orders.7", await certificate_of(gateway)]
        await page.add_script_tag(content=page_code())
        await page.evaluate(
            """async ([url, channel, hash]) => {
                window.frames_ = [];
                window.send_ = await connect(url, channel, (frame) => window.frames_.push(frame), hash);
            }""",
            where,
        )

        async def received(kind: str) -> list[dict[str, Any]]:
            frames: list[dict[str, Any]] = await page.evaluate("window.frames_")
            return [frame for frame in frames if frame["type"] == kind]

        (joined,) = await eventually(partial(received, "subscribed"), 20)
        assert joined["channel"] == "private-orders.7"
        await ask(running, "POST", "/api/demo/ship/7")
        (told,) = await eventually(partial(received, "channel_broadcast"), 20)
        assert (told["event"], told["data"]) == ("App\\Events\\OrderShipped", {"order": 7})
        await page.evaluate("window.send_({ type: 'echo', n: 1 })")
        (echo,) = await eventually(partial(received, "echo"), 20)
        assert echo["n"] == 1
