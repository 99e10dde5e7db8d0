"""The modules of the demo page that need no page: run in Chromium, as they are served."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from playwright.async_api import Page, Route, async_playwright

from schemas.close_codes import CloseCode, reconnects
from schemas.events import EVENTS

STATIC = Path(__file__).parents[3] / "console" / "demo" / "static"
ORIGIN = "http://demo.test"

# What comes back is text: on its way out of the browser an object would lose a key named `__proto__`.
SPLIT = """async ([bytes, cuts]) => {
  const { FrameSplitter } = await import('/frames.js');
  const splitter = new FrameSplitter();
  const edges = [0, ...cuts, bytes.length];
  const pieces = edges.slice(1).map((end, index) => Uint8Array.from(bytes.slice(edges[index], end)));
  return JSON.stringify(pieces.flatMap((piece) => splitter.push(piece)));
}"""
DECODE = "async (bytes) => JSON.stringify((await import('/frames.js')).decodeDatagram(Uint8Array.from(bytes)))"
MAY_RECONNECT = "async (closure) => (await import('/close-codes.js')).mayReconnect(closure)"
BACKOFF = "async ([failures, chance]) => (await import('/connection.js')).backoff(failures, chance)"
LOG_OF = "async ([stream, type]) => (await import('/summaries.js')).logOf(stream, type)"
SUMMARIZE = """async (type) => (await import('/summaries.js')).summarize(
  { type, topic: 'channel:presence-lobby', user: '7', data: {} }, () => null)"""

# Beyond 2^53 the whole numbers of the two languages differ.
numbers = st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
frames = st.dictionaries(text, values, max_size=4)
# A browser answers as fast as the machine lets it.
in_browser = settings(max_examples=40, deadline=None)
# One browser, and so one event loop, for all: the modules keep nothing from call to call.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    """An empty page of an origin that serves the demo's modules."""

    async def serve(route: Route) -> None:
        name = route.request.url.removeprefix(f"{ORIGIN}/")
        if name.endswith(".js"):
            await route.fulfill(path=STATIC / name, content_type="text/javascript")
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        page = await browser.new_page()
        await page.route("**/*", serve)
        await page.goto(f"{ORIGIN}/")
        yield page
        await browser.close()


@in_browser
@given(data=st.data())
async def test_frames_survive_any_cut(page: Page, data: st.DataObject) -> None:
    """The same frames come out of a stream wherever it is cut, with or without newlines between them."""
    sent = data.draw(st.lists(frames, max_size=4))
    stream = (
        data.draw(st.sampled_from(["", "\n", " \r\n\t"]))
        .join(json.dumps(frame, ensure_ascii=data.draw(st.booleans())) for frame in sent)
        .encode()
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    assert json.loads(await page.evaluate(SPLIT, [list(stream), cuts])) == sent


@pytest.mark.parametrize("stream", [b"[1]", b'"text"', b'{"a":1}{"b":}', b'{"a":1},{"b":2}', b"\xff{}"])
async def test_what_is_no_frame_is_refused(page: Page, stream: bytes) -> None:
    """Bytes that are no JSON objects are an error, never frames."""
    with pytest.raises(Exception, match="Error"):
        await page.evaluate(SPLIT, [list(stream), []])


@in_browser
@given(frame=frames, packed=st.booleans())
@example(frame={"a": "\ufeffmarked"}, packed=True)
@example(frame={"__proto__": None}, packed=True)
@example(frame={"__proto__": {"a": 1}}, packed=False)
async def test_datagrams_of_both_codecs_are_read(page: Page, frame: dict[str, Any], packed: bool) -> None:
    """A datagram is read the same from JSON and from msgpack."""
    datagram: bytes = msgpack.packb(frame) if packed else json.dumps(frame).encode()
    assert json.loads(await page.evaluate(DECODE, list(datagram))) == frame


@pytest.mark.parametrize("datagram", [b"", b"\xc1", b"\x93\x01\x02", b"\x82\xa1a\x01", b"\x80\x80", b"\x91" * 64, b"{"])
async def test_a_broken_datagram_is_refused(page: Page, datagram: bytes) -> None:
    """A datagram that is cut short, holds more than one value, no map or unknown bytes is an error."""
    with pytest.raises(Exception, match="Error"):
        await page.evaluate(DECODE, list(datagram))


@pytest.mark.parametrize("code", [*(code for code in CloseCode if code), 3499, 3999, 4000, 4399, 4999])
async def test_the_page_reconnects_when_the_code_says_so(page: Page, code: int) -> None:
    """The page and the gateway agree on the codes after which a client comes back."""
    closure = {"by": "gateway", "code": int(code), "reason": ""}
    assert await page.evaluate(MAY_RECONNECT, closure) is reconnects(code)


async def test_a_cut_connection_is_opened_again(page: Page) -> None:
    """A session that ended without a code is opened again, unless the page itself ended it."""
    assert await page.evaluate(MAY_RECONNECT, {"by": "lost", "code": None, "reason": ""}) is True
    assert await page.evaluate(MAY_RECONNECT, {"by": "page", "code": 0, "reason": ""}) is False


async def test_the_waits_grow_and_are_spread(page: Page) -> None:
    """The wait before an attempt doubles up to a bound, and chance takes up to half of it away."""
    waits = [await page.evaluate(BACKOFF, [failures, 1]) for failures in (0, 1, 2, 30)]
    assert waits == [500, 1000, 2000, 15000]
    assert await page.evaluate(BACKOFF, [2, 0]) == 1000


async def test_every_event_has_its_log_and_a_line(page: Page) -> None:
    """An entry is shown in the log that its stream's key names, and has a line even without content."""
    for stream, log in [("hg:{in:3}", "in"), ("hg:{out:15}", "out"), ("hg:{in:3}:datagrams", "datagrams")]:
        assert await page.evaluate(LOG_OF, [stream, "message.received"]) == log
    for event in EVENTS:
        assert await page.evaluate(SUMMARIZE, event)


async def test_a_page_goes_on_where_it_was(page: Page) -> None:
    """What it asks to resume names its session, the latest secret, and the last place of each topic that it got."""
    asked = await page.evaluate("""async () => {
      const { Progress } = await import('/progress.js');
      const progress = new Progress();
      const before = progress.resume ?? null;
      const place = (offset, epoch = 'e') => ({ epoch, offset });
      const welcome = (sessionId, resumeSecret, recovered, offsets) =>
        progress.welcomed({ sessionId, resumeSecret, recovered, offsets });
      welcome('s', '1.a', false, { 'session:s': place(0), 'user:7': place(4) });
      progress.received({ type: 'subscribed', channel: 'news', ...place(2) });
      progress.received({ type: 'x', headgate: { topic: 'session:s', ...place(1) } });
      progress.received({ type: 'channel_broadcast', channel: 'news', ...place(3) });
      progress.received({ type: 'presence', channel: 'news', joined: {} });
      const first = structuredClone(progress.resume);
      welcome('s', '2.b', true, { 'session:s': place(9), 'user:7': place(9) });
      const resumed = structuredClone(progress.resume);
      welcome('new', '1.c', false, { 'session:new': place(0, 'f') });
      return { before, first, resumed, fresh: progress.resume };
    }""")
    offsets = {"session:s": 1, "user:7": 4, "channel:news": 3}
    places = {topic: {"epoch": "e", "offset": offset} for topic, offset in offsets.items()}
    assert asked == {
        "before": None,
        "first": {"session": "s", "secret": "1.a", "offsets": places},
        "resumed": {"session": "s", "secret": "2.b", "offsets": places},
        "fresh": {"session": "new", "secret": "1.c", "offsets": {"session:new": {"epoch": "f", "offset": 0}}},
    }
