"""`headgate dev` and its page in two real browsers, with a real Laravel application behind it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page, expect

from schemas.signing import Signer
from tests.support.browser import ARTIFACTS, chromium
from tests.support.laravel import REQUEST_TIMEOUT_S, LaravelApp, laravel_app
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SECRET = "the secret of a development machine and its tests"


@dataclass
class Demo:
    """A running `headgate dev`."""

    url: str
    api: str
    process: asyncio.subprocess.Process
    log: Path
    env: dict[str, str]

    async def api_call(self, target: str, body: dict[str, object]) -> int:
        """A signed call of the HTTP API; gives the status."""
        raw = json.dumps(body).encode()
        signed = Signer("default", SECRET.encode()).headers(
            "POST", target, raw, timestamp=int(time.time()), nonce=os.urandom(12).hex()
        )
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
            answer = await http.post(
                self.api + target, content=raw, headers=signed | {"Content-Type": "application/json"}
            )
        return answer.status_code


@asynccontextmanager
async def headgate_dev(folder: Path, **settings: str) -> AsyncIterator[Demo]:
    """`headgate dev` on free ports until the block ends."""
    ports = {name: free_port() for name in ("demo", "ingress", "ingress_http", "processors_http", "api", "console")}
    env = {f"HEADGATE_{name.upper()}_PORT": str(port) for name, port in ports.items() if name != "demo"}
    env |= {f"HEADGATE_{name.upper()}": value for name, value in settings.items()}
    log = folder / "dev.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "console.cli", "dev",
            "--port", str(ports["demo"]), "--data-dir", str(folder / "data"),
            cwd=ROOT, env=os.environ | env, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        await eventually(lambda: process.returncode is not None or "Headgate is ready" in log.read_text(), 60)
        assert process.returncode is None, log.read_text()
        url, api = f"http://localhost:{ports['demo']}", f"http://127.0.0.1:{ports['api']}"
        yield Demo(url, api, process, log, env)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)


async def join(browser: Browser, demo: Demo, name: str, script: str = "") -> Page:
    """A page of its own context that has joined the room; `script` runs in it before all others."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    await context.add_init_script(script)
    page = await context.new_page()
    await page.goto(f"{demo.url}/?name={name}")
    await expect(page.locator("#send-button")).to_be_enabled()
    await expect(page.locator("#status")).to_have_attribute("data-state", "connected")
    return page


async def say(page: Page, text: str) -> None:
    await page.fill("#composer-input", text)
    await page.click("#send-button")


async def move_pointer(page: Page, seen_by: Page, user: str | None = None) -> None:
    """Move over the room until the other page shows the cursor (of anybody): datagrams may be lost."""
    shown_at = ".cursor" if user is None else f".cursor[data-user='{user}']"
    box = await page.locator("#messages").bounding_box()
    assert box is not None

    async def shown() -> bool:
        for step in (0.4, 0.45, 0.5):
            await page.mouse.move(box["x"] + box["width"] * step, box["y"] + box["height"] * step)
        return await seen_by.locator(shown_at).count() == 1

    await eventually(shown, 15)


async def test_two_browsers_talk_through_the_log_and_laravel(tmp_path: Path) -> None:
    """Over WebTransport a message is stored by Eloquent and reaches the other browser, and its way is seen."""
    async with laravel_app(SECRET) as laravel, chromium() as browser:
        settings = {
            "laravel_url": laravel.url,
            "secret": SECRET,
            "traces": f"file:{tmp_path / 'traces.jsonl'}",
        }
        async with headgate_dev(tmp_path, **settings) as demo:
            ada, grace = await join(browser, demo, "Ada"), await join(browser, demo, "Grace")
            await expect(ada.locator("#members [data-user]")).to_have_count(2)
            await say(ada, "Is this message safe?")
            own = ada.locator("#messages .own[data-stage=stored]")
            await expect(own).to_have_count(1)
            arrived = grace.locator("#messages [data-message]", has_text="Is this message safe?")
            await expect(arrived).to_have_count(1)
            (row,) = await laravel.messages()
            assert row["content"] == "Is this message safe?"
            assert await own.locator(".durable").get_attribute("data-event") == row["event_id"]
            await say(grace, "It was in the log before you saw the tick.")
            await expect(ada.locator("#messages [data-message]")).to_have_count(2)

            users = await _users(laravel)
            await move_pointer(grace, ada, users["Grace"])
            await move_pointer(ada, grace, users["Ada"])
            for kind in (
                "session.opened",
                "session.auth_requested",
                "message.received",
                "message.published",
                "datagram.received",
            ):
                await expect(ada.locator(f"#log .entry[data-type='{kind}']").first).to_be_visible()
            await _screenshots(ada, grace)

            sessions = [await page.locator("#session-id").get_attribute("data-session") for page in (ada, grace)]
            assert (
                await demo.api_call(
                    "/disconnect", {"sessionId": sessions[1], "code": 3500, "reason": "signed out elsewhere"}
                )
                == 200
            )
            reason = grace.locator("#close-reason")
            await expect(reason).to_have_attribute("data-code", "3500")
            await expect(reason).to_contain_text("signed out elsewhere")
            await expect(grace.locator("#status")).to_have_attribute("data-state", "closed")
            await expect(ada.locator("#members [data-user]")).to_have_count(1)
            await _tail_shows(demo, tmp_path)


async def _users(laravel: LaravelApp) -> dict[str, str]:
    return {name: str((await laravel.token(name)).user_id) for name in ("Ada", "Grace")}


async def _screenshots(ada: Page, grace: Page) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    await ada.screenshot(path=ARTIFACTS / "demo-light.png")
    await grace.emulate_media(color_scheme="dark")
    await grace.screenshot(path=ARTIFACTS / "demo-dark.png")
    await grace.set_viewport_size({"width": 390, "height": 844})
    await grace.screenshot(path=ARTIFACTS / "demo-phone.png")
    await grace.set_viewport_size({"width": 1280, "height": 800})


async def _tail_shows(demo: Demo, folder: Path) -> None:
    """`headgate tail` prints the run's entries, readable, from the start of the log."""
    match = re.search(r"redis://\S+", demo.log.read_text())
    assert match is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console.cli",
        "tail", "--from-start", "--json", "--type", "message.received", "--max", "2",
        cwd=ROOT, env=os.environ | demo.env | {"HEADGATE_REDIS_URL": match[0]},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    contents = {json.loads(line)["entry"]["data"]["frame"]["data"]["content"] for line in output.splitlines()}
    assert contents == {"Is this message safe?", "It was in the log before you saw the tick."}


async def test_the_stand_in_application_answers_and_says_what_it_is(tmp_path: Path) -> None:
    """Without a Laravel application the page works on embedded defaults, and nobody is led to believe otherwise."""
    async with chromium() as browser, headgate_dev(tmp_path) as demo:
        page = await join(browser, demo, "Solo")
        await say(page, "anyone?")
        await expect(page.locator("#messages .own[data-stage=stored]")).to_have_count(1)
        await expect(page.locator("body")).to_contain_text("not Laravel")
        assert "not Laravel" in demo.log.read_text()

        (link,) = re.findall(r"http://\S+/enter/\S+", demo.log.read_text())
        console = await (await browser.new_context()).new_page()
        await console.goto(link)
        await expect(console.get_by_role("heading", level=1)).to_have_text("Overview")
        await expect(console.locator("table", has_text="ready")).to_contain_text("gateway")
        await console.get_by_role("link", name="Sessions").click()
        await expect(console.locator("tbody tr")).to_have_count(1)
        stranger = await (await browser.new_context()).new_page()
        await stranger.goto(link)
        await expect(stranger.get_by_role("alert")).to_contain_text("used already")


#: What a page finds in place of WebTransport: nothing, or one whose packets are stopped on their way.
MISSING = "delete globalThis.WebTransport"
BLOCKED = """globalThis.WebTransport = class {
  constructor() { this.ready = this.closed = Promise.reject(new Error("blocked")); this.ready.catch(() => {}); }
  close() {}
}"""


async def test_a_browser_without_webtransport_uses_websocket(tmp_path: Path) -> None:
    """Where WebTransport is missing or cannot connect the page says that it speaks WebSocket, and shares the room."""
    async with chromium("--ignore-certificate-errors") as browser, headgate_dev(tmp_path) as demo:
        other = await join(browser, demo, "Other")
        await expect(other.locator("#transport")).to_have_text("WebTransport")
        for number, script in enumerate((MISSING, BLOCKED), start=1):
            page = await join(browser, demo, f"Plain{number}", script)
            await expect(page.locator("#transport")).to_have_text("WebSocket")
            await say(page, f"over WebSocket {number}")
            await expect(page.locator("#messages .own[data-stage=stored]")).to_have_count(1)
            await expect(other.locator("#messages [data-message]", has_text=f"over WebSocket {number}")).to_have_count(
                1
            )
            await expect(page.locator("#members [data-user]")).to_have_count(2)
            await move_pointer(page, other)
            await move_pointer(other, page)
            await page.context.close()
            await expect(other.locator("#members [data-user]")).to_have_count(1)


async def test_a_gateway_that_nothing_reaches(tmp_path: Path) -> None:
    """Neither transport connects, here because the certificate is not trusted: the page says what to look at."""
    async with chromium() as browser, headgate_dev(tmp_path) as demo:
        page = await browser.new_page()
        await page.add_init_script(BLOCKED)
        await page.goto(f"{demo.url}/?name=Nobody")
        await expect(page.locator("#notice-title")).to_have_text("The gateway cannot be reached")
        await expect(page.locator("#notice-more")).to_contain_text("certificate")
        await expect(page.locator("#notice-next")).to_contain_text("Reconnects in")


async def test_nothing_is_left_running_when_dev_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the parent ends its children too: no orphan keeps a port or the log."""
    async with headgate_dev(tmp_path) as demo:
        children = _descendants(demo.process.pid)
        assert len(children) >= 4
        demo.process.kill()
        await demo.process.wait()
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() and _lives(pid) for pid in children), 15)


def _descendants(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [deeper for child in found for deeper in _descendants(child)]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
