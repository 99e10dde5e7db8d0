"""Clients in a page of headless Chromium, with the faces of the clients of tests/support."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

from playwright.async_api import Browser, Page

from runtime.tasks import cancel
from schemas.codec import FrameLimits, decode_frame, encode_frame
from tests.support import wt_client
from tests.support.ws_client import MessageStream
from tests.support.wt_client import Closed
from tests.support.wt_stream import TIMEOUT, ClientStream, StreamResetError

HARNESS: Final = Path(__file__).with_name("harness.js").read_bytes()
_LIMITS: Final = FrameLimits(max_bytes=1 << 20, max_keys=100_000, max_depth=64)


@asynccontextmanager
async def site() -> AsyncIterator[int]:
    """The port of a web server with the harness; Chromium lets only pages of this machine connect to this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = b"<!doctype html><title>scenarios</title><script>" + HARNESS + b"</script>"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(page) + page)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


async def certificate_of(url: str) -> str:
    """The hash of a gateway's certificate, as `Harness` takes it."""
    async with await wt_client.connect(url, request=False) as client:
        return base64.b64encode(client.certificate_hash).decode()


class Harness:
    """A page with the harness, and the clients in it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._ids = itertools.count(1)
        self._clients: dict[int, Callable[..., None]] = {}

    @classmethod
    async def open(cls, browser: Browser, url: str) -> Self:
        """Load the page."""
        page = await browser.new_page()
        harness = cls(page)
        await page.expose_function("tell", harness._told)
        await page.goto(url)
        return harness

    def _told(self, client: int, what: str, *about: Any) -> None:
        self._clients[client](what, *about)

    async def connect(self, client: PageClient, *where: Any) -> int:
        """Open a session for `client`; gives its number."""
        number = next(self._ids)
        self._clients[number] = client.told
        await self._page.evaluate("([id, ...where]) => connect(id, ...where)", [number, *where])
        return number

    async def webtransport(self, url: str, certificate: str) -> PageWebTransport:
        """A session at a gateway's URL; raises playwright's Error."""
        local = url.replace("https://127.0.0.1", "https://localhost")
        return await PageWebTransport(self).connect("webtransport", local, certificate)

    async def commands(self, client: int, all_of_them: list[tuple[Any, ...]]) -> None:
        """Have the page do something for a client, one after the other."""
        await self._page.evaluate("how => commands(...how)", [client, [list(how) for how in all_of_them]])


class PageClient:
    """What both transports share: commands in order, and the end."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._number = 0
        self._commands: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self._datagrams: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._worker: asyncio.Task[None] | None = None

    async def connect(self, *where: Any) -> Self:
        """Open the session."""
        self._number = await self._harness.connect(self, *where)
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.done()
        await cancel(self._worker)

    async def _work(self) -> None:
        while True:
            together = [await self._commands.get()]
            while not self._commands.empty():
                together.append(self._commands.get_nowait())
            await self._harness.commands(self._number, together)
            for _ in together:
                self._commands.task_done()

    async def done(self) -> None:
        """The page has done what it was told."""
        await self._commands.join()

    def do(self, *how: Any) -> None:
        """Have the page do something, after what it was told before."""
        self._commands.put_nowait(how)

    async def receive_datagram(self, within: float = TIMEOUT) -> bytes:
        """As WebTransportClient, and so are the others."""
        return await asyncio.wait_for(self._datagrams.get(), within)

    def close(self, code: int = 0, reason: str = "") -> None:
        self.do("close", code, reason)

    async def wait_closed(self, within: float = TIMEOUT) -> Closed:
        return await asyncio.wait_for(asyncio.shield(self._ended), within)

    def told(self, what: str, *about: Any) -> None:
        """The page tells what came."""
        getattr(self, f"_on_{what}")(*about)


class PageWebTransport(PageClient):
    """A session over the page's WebTransport."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        self._streams: dict[int, ClientStream] = {}
        self._accepted: asyncio.Queue[ClientStream] = asyncio.Queue()
        self._opened = itertools.count()

    async def open_bidirectional(self) -> ClientStream:
        stream = self._stream(4 * next(self._opened))
        self.do("openStream", stream.id, False)
        return stream

    async def open_unidirectional(self) -> ClientStream:
        stream = self._stream(4 * next(self._opened) + 2)
        self.do("openStream", stream.id, True)
        return stream

    async def accept_stream(self, within: float = TIMEOUT) -> ClientStream:
        return await asyncio.wait_for(self._accepted.get(), within)

    def send_datagram(self, data: bytes) -> None:
        self.do("datagram", _text(data))

    def write_stream(self, stream_id: int, data: bytes, end: bool) -> None:
        self.do("write", stream_id, _text(data), end)

    def reset_stream(self, stream_id: int, code: int) -> None:
        self.do("reset", stream_id, code)

    def stop_stream(self, stream_id: int, code: int) -> None:
        self.do("stop", stream_id, code)

    def _stream(self, stream_id: int) -> ClientStream:
        if stream_id not in self._streams:
            self._streams[stream_id] = ClientStream(self, stream_id)
            if stream_id & 1:
                self._accepted.put_nowait(self._streams[stream_id])
        return self._streams[stream_id]

    def _on_data(self, stream_id: int, data: str, ended: bool) -> None:
        self._stream(stream_id).feed(base64.b64decode(data), ended)

    def _on_reset(self, stream_id: int, code: int | None) -> None:
        self._stream(stream_id).fail(StreamResetError(code))

    def _on_stopped(self, stream_id: int, code: int | None) -> None:
        stopped = self._stream(stream_id).stopped
        if not stopped.done():
            stopped.set_result(code)

    def _on_datagram(self, data: str) -> None:
        self._datagrams.put_nowait(base64.b64decode(data))

    def _on_closed(self, code: int, reason: str, abrupt: bool) -> None:
        self._ended.set_result(Closed(code, reason, abrupt))


class PageWebSocket(PageClient):
    """A session over the page's WebSocket."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        self._stream = MessageStream(self._send)

    async def open_bidirectional(self) -> MessageStream:
        return self._stream

    def _send(self, data: bytes) -> None:
        self.do("message", _text(data), data[:1] == b"{")

    def send_datagram(self, data: bytes) -> None:
        frame = decode_frame(data, _LIMITS) | {"unreliable": True}
        self._send(encode_frame(frame, "json" if data[:1] == b"{" else "msgpack"))

    def _on_message(self, text: str, is_text: bool) -> None:
        data = base64.b64decode(text)
        assert is_text == (data[:1] == b"{")
        if decode_frame(data, _LIMITS).get("unreliable") is True:
            self._datagrams.put_nowait(data)
        else:
            self._stream.feed(data)

    def _on_closed(self, code: int, reason: str, abrupt: bool) -> None:
        self._ended.set_result(Closed(0 if abrupt or code in (1000, 1005) else code, reason, abrupt))
        self._stream.feed(b"")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
