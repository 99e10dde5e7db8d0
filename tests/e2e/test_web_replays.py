"""Replays from the web console in a real Chromium: what was really recorded, decided again."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from schemas.entry import Entry
from schemas.events import MessagePublished
from tests.support.browser import chromium
from tests.support.client import Client
from tests.support.console import CHANNEL, TOKENS, VIEWERS_TOKEN, Visit, visit
from tests.support.system import System, system

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Milliseconds that a whole replay may take: a process starts, and a server for it.
PATIENCE = 60_000


class Scene:
    """A running system in which two users said something."""

    def __init__(self, running: System, ada: Client) -> None:
        self.system = running
        self.ada = ada
        self.url = running.console_url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here() -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(system(console=True, console_tokens=TOKENS))
        parties = []
        for name in ("ada", "bob"):
            client = await stack.enter_async_context(running.client())
            await client.authenticate((await running.laravel.token(name)).token)
            await client.subscribe(CHANNEL)
            parties.append(client)
        for words in ("good morning", "<script>alert(1)</script>"):
            await parties[0].message(CHANNEL, words)
        await running.settled()
        yield Scene(running, parties[0])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ada(here: Scene, browser: Browser) -> AsyncIterator[Visit]:
    """The operator; nothing may go wrong on what she opens."""
    async with visit(browser, here.url) as made:
        await expect((await made.sign_in()).get_by_role("heading", level=1)).to_have_text("Overview")
        yield made
        assert made.problems == []


async def test_a_session_is_replayed_by_the_keyboard(here: Scene, ada: Visit) -> None:
    """From its page to the form, which is filled in; the page of the replay goes on by itself to its result."""
    page = await ada.open(f"/sessions/{here.ada.session}")
    await page.get_by_role("link", name="Replay this session").press("Enter")
    await expect(page.get_by_label("of one session")).to_have_value(here.ada.session)
    await page.locator("select[name=source]").focus()
    for _ in range(7):
        await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Start the replay")).to_be_focused()
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Replay ")
    await expect(page.get_by_role("progressbar")).to_be_visible()
    # So that the page does not go on from under axe.
    await page.get_by_role("button", name="Pause").click()
    assert await ada.inaccessible() == []
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator(".percent")).to_have_text("100 %", timeout=PATIENCE)
    await expect(page.locator(".facts").first).to_contain_text("identical")
    await expect(page.get_by_role("button", name="Cancel the replay")).to_have_count(0)


async def test_all_is_identical(here: Scene, ada: Visit) -> None:
    """Of all that log and archive hold, processors and router decide the same; the list says so, too."""
    page = await ada.open("/replays")
    await page.locator("select[name=source]").select_option("all")
    await page.get_by_role("button", name="Start the replay").click()
    await expect(page.locator(".percent")).to_have_text("100 %", timeout=PATIENCE)
    await expect(page.get_by_role("heading", name="Differences")).to_have_count(0)
    name = await page.get_by_role("heading", level=1).inner_text()
    await ada.open("/replays")
    await expect(page.get_by_role("row", name=name)).to_contain_text("identical")


async def change_an_output(here: Scene) -> tuple[str, str]:
    """Let the log say that something else was published than was; gives the ids of that, and of one that is gone."""
    log = here.system.keys.outbound_of(f"channel:{CHANNEL}")
    stored: Any = await here.system.log.xrange(log)
    found = [(stream_id, Entry.from_fields(fields)) for stream_id, fields in stored]
    first, second = [one for one in found if one[1].type == MessagePublished.TYPE and one[1].cause][:2]
    event = first[1].event()
    assert isinstance(event, MessagePublished)
    made = Entry.of(event.model_copy(update={"stream": 99}), id=first[1].id, ts=first[1].ts).data
    await here.system.log.xdel(log, first[0], second[0])
    fields: Any = dict(zip(first[1].names(), first[1].values(), strict=True)) | {b"data": made}
    await here.system.log.xadd(log, fields)
    return first[1].id, second[1].id


async def test_what_differs_is_seen(here: Scene, ada: Visit) -> None:
    """An output that the code makes otherwise now is there with the fields that differ, another one is new."""
    changed, new = await change_an_output(here)
    page = await ada.open("/replays")
    await page.get_by_role("button", name="Start the replay").click()
    await expect(page.get_by_role("heading", name="Differences")).to_be_visible(timeout=PATIENCE)
    await expect(page.locator(".facts").first).to_contain_text("different", timeout=PATIENCE)
    article = page.get_by_role("article").filter(has_text=changed).filter(has_text="data.stream")
    await expect(article.get_by_role("row", name="data.stream")).to_contain_text("99")
    await expect(article.get_by_role("link", name=here.ada.session)).to_be_visible()
    cause = await article.locator("dd a").last.inner_text()
    await article.get_by_role("link", name=cause).click()
    await expect(page.locator("main")).to_contain_text(cause)
    await expect(page).to_have_url(re.compile("/entries/"))
    await page.go_back()
    await page.get_by_role("link", name="New 1", exact=True).click()
    await expect(page.get_by_role("article")).to_contain_text(new)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
async def test_its_pages_are_there_for_everybody(here: Scene, browser: Browser, scheme: str, width: int) -> None:
    """In either scheme, on a phone too: no serious finding of axe, nothing to scroll sideways, no broken policy."""
    window = {"width": width, "height": 844}
    async with visit(browser, here.url, color_scheme=scheme, viewport=window) as somebody:
        await expect((await somebody.sign_in()).get_by_role("heading", level=1)).to_have_text("Overview")
        paths = {"replays": "/replays", "replay": await different(somebody), "session": f"/sessions/{here.ada.session}"}
        for name, path in paths.items():
            await somebody.open(path)
            await expect(somebody.page.get_by_role("heading", level=1)).to_have_count(1)
            assert await somebody.inaccessible() == [], name
            assert await somebody.widest() == 0, name
            await somebody.picture(f"{name}-{scheme}-{width}")
        assert somebody.problems == []


async def different(somebody: Visit) -> str:
    """The path of the replay that found differences."""
    page = await somebody.open("/replays")
    return await page.get_by_role("row").filter(has_text="different").get_by_role("link").get_attribute("href") or ""


async def test_a_viewer_sees_results_alone(here: Scene, browser: Browser) -> None:
    """No form and no button."""
    async with visit(browser, here.url) as grace:
        page = await grace.sign_in(VIEWERS_TOKEN)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        await grace.open("/replays")
        await expect(page.get_by_role("row").filter(has_text="different")).to_be_visible()
        await expect(page.get_by_role("button", name="Start the replay")).to_have_count(0)
        await grace.open(f"/sessions/{here.ada.session}")
        await expect(page.get_by_role("link", name="Replay this session")).to_have_count(0)
        await grace.open(await different(grace))
        await expect(page.get_by_role("article").first).to_be_visible()
        await expect(page.get_by_role("link", name="Once more")).to_have_count(0)
        assert grace.problems == []
