"""A page that uses plain WebSocket, in headless Chromium, against real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.browser import chromium
from tests.support.system import System, system

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = b"""<!doctype html><title>test</title><script>
let socket, waiting = [], received = [];
function open(url) {
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({data}) => {
    const frame = typeof data === "string" ? JSON.parse(data) : {type: "bytes", bytes: [...new Uint8Array(data)]};
    received.push(frame);
    waiting = waiting.filter(look => !look());
  };
  window.ending = new Promise(done => { socket.onclose = ({code, reason}) => done([code, reason]); });
  return new Promise((done, failed) => { socket.onopen = done; socket.onerror = failed; });
}
const send = frame => socket.send(JSON.stringify(frame));
function frame(wanted) {
  const matches = one => Object.entries(wanted).every(([key, value]) => one[key] === value);
  return new Promise(done => {
    const look = () => { const found = received.find(matches); if (found) done(found); return found; };
    if (!look()) waiting.push(look);
  });
}
</script>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[int]:
    """The port of a web server with the page; Chromium lets only pages of this machine connect to this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(PAGE) + PAGE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(site: int) -> AsyncIterator[System]:
    """One gateway and everything behind it."""
    async with system(allowed_origins=f"http://localhost:{site}") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def page(site: int) -> AsyncIterator[Page]:
    """A page of an allowed origin, in a browser that takes the development certificate for wss."""
    async with chromium("--ignore-certificate-errors") as browser:
        page = await browser.new_page()
        await page.goto(f"http://localhost:{site}/")
        yield page


def url(running: System, path: str = "") -> str:
    return running.gateway_urls[0].replace("https://127.0.0.1", "wss://localhost") + path


async def test_a_page_uses_websocket(running: System, page: Page) -> None:
    """Auth, a message and its ack, a broadcast from a WebTransport session, cursors both ways, msgpack, the end."""
    login = await running.laravel.token("browser")
    async with running.client() as other:
        await other.authenticate((await running.laravel.token("beside")).token)
        await other.subscribe("presence-page")
        await page.evaluate("url => open(url)", url(running))
        await page.evaluate("token => send({type: 'auth', protocol: 1, token})", login.token)
        assert (await page.evaluate("frame({type: 'auth_success'})"))["userId"] == str(login.user_id)
        await page.evaluate("send({type: 'subscribe', channel: 'presence-page'})")
        await page.evaluate("frame({type: 'subscribed'})")
        await page.evaluate(
            "send({type: 'message', id: 'm1', channel: 'presence-page', data: {content: 'from a page'}})"
        )
        ack = await page.evaluate("frame({type: 'ack', id: 'm1'})")
        assert (await other.wait_type("channel_broadcast"))["data"]["content"] == "from a page"
        stored = [row["event_id"] for row in await running.laravel.messages() if row["content"] == "from a page"]
        assert stored == [ack["event"]]
        await other.message("presence-page", "to a page")
        assert (await page.evaluate("frame({type: 'channel_broadcast'})"))["data"]["content"] == "to a page"
        await page.evaluate("send({type: 'cursor', channel: 'presence-page', x: 1, unreliable: true})")
        assert (await other.receive_datagram())["x"] == 1
        other.datagram({"type": "cursor", "channel": "presence-page", "x": 2})
        assert (await page.evaluate("frame({type: 'cursor'})"))["unreliable"] is True
        await page.evaluate("socket.send(new Uint8Array([0x81, 0xa4, 116, 121, 112, 101, 0xa4, 112, 105, 110, 103]))")
        assert (await page.evaluate("frame({type: 'bytes'})"))["bytes"][1:10] == list(b"\xa4type\xa4pong"[:9])
        await running.post("/disconnect", {"userId": str(login.user_id), "code": 3500, "reason": "signed out"})
        assert await page.evaluate("ending") == [3500, "signed out"]


async def test_a_page_is_told_why_it_is_closed(running: System, page: Page) -> None:
    """A frame that is none and one that is too long: the page's close event has code and reason."""
    for message, code in (("'hello'", 4400), ("JSON.stringify({type: 'x', pad: 'x'.repeat(3e6)})", 4413)):
        await page.evaluate("url => open(url)", url(running))
        await page.evaluate(f"socket.send({message})")
        closed = await page.evaluate("ending")
        assert closed[0] == code
        assert closed[1]


async def test_a_page_of_another_origin_is_told_so(running: System, page: Page, site: int) -> None:
    """4403 and its reason reach the script; another path only fails, as browsers hide the status."""
    await page.goto(f"http://127.0.0.1:{site}/")
    await page.evaluate("url => open(url)", url(running))
    assert (await page.evaluate("ending"))[0] == 4403
    assert await page.evaluate("url => open(url).catch(() => ending)", url(running, "elsewhere")) == [1006, ""]
