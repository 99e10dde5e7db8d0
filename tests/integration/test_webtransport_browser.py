"""Sessions of a real browser, Chromium, without a window."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Error, Page, async_playwright

from ingress.server.certificates import certificate_hash, development_certificate
from ingress.server.networks import PerNetwork
from ingress.server.options import ListenerOptions
from ingress.server.transport import SessionRequest
from tests.support.echo_gateway import EchoGateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[EchoGateway]:
    gateway = EchoGateway(development_certificate(tmp_path, datetime.now(UTC)), "::", ListenerOptions())
    await gateway.listener.start()
    yield gateway
    await gateway.listener.stop()


PAGE = b"""<!doctype html><title>test</title><script>
const text = new TextDecoder(), bytes = new TextEncoder();
async function all(readable) {
  let out = ""; const reader = readable.getReader();
  for (;;) { const {value, done} = await reader.read(); if (done) return out; out += text.decode(value); }
}
async function first(readable) { return text.decode((await readable.getReader().read()).value); }
async function open(url, hash) {
  const value = Uint8Array.from(atob(hash), c => c.charCodeAt(0));
  window.wt = new WebTransport(url, {serverCertificateHashes: [{algorithm: "sha-256", value}]});
  await wt.ready;
}
async function say(word, end) {
  const stream = await wt.createBidirectionalStream(), writer = stream.writable.getWriter();
  await writer.write(bytes.encode(word));
  if (end) await writer.close();
  writer.releaseLock();
  return stream;
}
</script>"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page in a real browser, from a web server on localhost, which browsers count as secure."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(PAGE) + PAGE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0)
    port = server.sockets[0].getsockname()[1]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"],
            args=[
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        page = await browser.new_page()
        await page.goto(f"http://localhost:{port}/")
        yield page
        await browser.close()
    server.close()


async def browse(page: Page, gateway: EchoGateway, path: str = "/") -> None:
    """Open a session from the page."""
    digest = base64.b64encode(certificate_hash(gateway.certificate)).decode()
    await page.evaluate("([url, hash]) => open(url, hash)", [gateway.url(path, "localhost"), digest])


async def test_a_browser_uses_every_way(page: Page, gateway: EchoGateway) -> None:
    """Chromium echoes over streams of each kind and datagrams, and answers on a stream the gateway opens."""
    await browse(page, gateway, "/room?id=1")
    request = gateway.sessions[0].calls[0][1]
    assert isinstance(request, SessionRequest)
    assert request.path == "/room?id=1"
    assert request.origin == await page.evaluate("location.origin")
    # Chromium tells it to web servers only.
    assert request.user_agent is None
    assert await page.evaluate("say('x'.repeat(200000), true).then(s => all(s.readable))") == "x" * 200_000
    assert (
        await page.evaluate(
            """async () => {
            const writer = (await wt.createUnidirectionalStream()).getWriter();
            await writer.write(bytes.encode("note")); await writer.close();
            return all((await wt.incomingUnidirectionalStreams.getReader().read()).value);
        }"""
        )
        == "note"
    )
    assert await page.evaluate(
        """async () => {
            await say("open");
            const stream = (await wt.incomingBidirectionalStreams.getReader().read()).value;
            const reader = stream.readable.getReader(), writer = stream.writable.getWriter();
            const question = text.decode((await reader.read()).value);
            await writer.write(bytes.encode("answer"));
            return [question, text.decode((await reader.read()).value)];
        }"""
    ) == ["question", "answer"]
    assert (
        await page.evaluate(
            """async () => {
            await wt.datagrams.writable.getWriter().write(bytes.encode("datagram"));
            return text.decode((await wt.datagrams.readable.getReader().read()).value);
        }"""
        )
        == "datagram"
    )


async def test_a_browser_sees_code_and_reason(page: Page, gateway: EchoGateway) -> None:
    """What was written just before a close arrives, and `closed` resolves with the exact code and reason."""
    await browse(page, gateway)
    assert await page.evaluate(
        """async () => {
            const words = await first((await say("close")).readable);
            const {closeCode, reason} = await wt.closed;
            return [words, closeCode, reason];
        }"""
    ) == ["last words", 4400, "tschüß"]


async def test_a_browser_closes_with_code_and_reason(page: Page, gateway: EchoGateway) -> None:
    """The handler is told the page's code and reason, and code 0 when the page is left."""
    await browse(page, gateway)
    await page.evaluate("wt.close({closeCode: 4000000001, reason: 'fertig ☕'})")
    assert (await gateway.ended(0))[-1] == ("closed", 4_000_000_001, "fertig ☕", False)
    await browse(page, gateway)
    await page.goto("about:blank")
    assert (await gateway.ended(1))[-1] == ("closed", 0, "", False)


async def test_a_browser_sees_stream_codes(page: Page, gateway: EchoGateway) -> None:
    """A stream that the gateway resets or stops fails in the page with the gateway's code, and back."""
    await browse(page, gateway)
    codes = await page.evaluate(
        """async () => {
            const read = await say("reset").then(s => s.readable.getReader().read()).catch(e => e);
            const stopped = await say("stop");
            const write = await stopped.writable.getWriter().closed.catch(e => e);
            return [read.streamErrorCode, write.streamErrorCode];
        }"""
    )
    assert codes == [4413, 17]


async def test_a_browser_learns_at_once_that_its_gateway_is_gone(page: Page, tmp_path: Path) -> None:
    """Chromium takes a stateless reset for the end of its session: the gateway that was started in place of one that
    was killed tells it so in answer to its next packet, long before the idle timeout."""
    files, options = development_certificate(tmp_path, datetime.now(UTC)), ListenerOptions(reset_key=b"k" * 32)
    first = EchoGateway(files, "::", options)
    await first.listener.start()
    await browse(page, first)
    assert await page.evaluate("say('ping').then(s => first(s.readable))") == "ping"
    second = EchoGateway(files, "::", options, port=first.killed())
    await second.listener.start()
    began = asyncio.get_running_loop().time()
    assert (
        await page.evaluate("{ say('ping').catch(() => {}); wt.closed.then(() => 'closed', () => 'lost') }") == "lost"
    )
    assert asyncio.get_running_loop().time() - began < 20
    assert second.listener.counters.resets_sent > 0
    await browse(page, second)
    assert await page.evaluate("say('ping').then(s => first(s.readable))") == "ping"
    await second.listener.stop()


async def test_a_browser_is_refused_at_once(page: Page, tmp_path: Path) -> None:
    """Over the limit of its address Chromium does not wait for an answer that never comes."""
    files, addresses = development_certificate(tmp_path, datetime.now(UTC)), PerNetwork[object](1)
    gateway = EchoGateway(files, "::", ListenerOptions(), addresses=addresses)
    await gateway.listener.start()
    await browse(page, gateway)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Error, match="handshake failed"):
        await browse(page, gateway)
    assert asyncio.get_running_loop().time() - began < 20
    assert gateway.listener.counters.address_refused > 0
    await gateway.listener.stop()
