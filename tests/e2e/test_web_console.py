"""The web console in a real Chromium, over a whole system."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, StorageState, expect

from console.web.timeline import PAGE
from schemas.keys import Keys, partition_of
from tests.support.browser import chromium
from tests.support.console import CHANNEL, FEW, MANY, OPERATORS_TOKEN, VIEWERS_TOKEN, Scene, Visit, scene, visit
from tests.support.system import PARTITIONS, System
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here() -> AsyncIterator[Scene]:
    """A system in which something happened."""
    async with scene() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed_in(here: Scene, browser: Browser) -> StorageState:
    """What a browser keeps of the operator's sign-in."""
    async with visit(browser, here.url) as made:
        page = await made.sign_in()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        return await page.context.storage_state()


@pytest_asyncio.fixture(loop_scope="module")
async def ada(here: Scene, browser: Browser, signed_in: StorageState) -> AsyncIterator[Visit]:
    """The operator; nothing may go wrong on what she opens."""
    async with visit(browser, here.url, storage_state=signed_in) as made:
        yield made
        assert made.problems == []


async def message_of(here: Scene) -> str:
    """The place of the first message that ada's client sent."""
    log = here.system.keys.inbound_of(here.ada.session)
    stored: Any = await here.system.log.xrange(log)
    for stream_id, fields in stored:
        if fields.get(b"type") == b"message.received" and fields.get(b"session") == here.ada.session.encode():
            return f"in:{partition_of(here.ada.session, PARTITIONS)}/{stream_id.decode()}"
    raise AssertionError("no message")


async def pages(here: Scene) -> dict[str, str]:
    """Every page there is, by a name."""
    log = Keys.dead(here.system.keys.inbound(1))
    letters: Any = await here.system.log.xrange(log, count=1)
    letter = f"in:1/{letters[0][0].decode()}"
    return {
        "overview": "/",
        "groups": "/groups",
        "sessions": "/sessions",
        "session": f"/sessions/{here.ada.session}",
        "archived": f"/sessions/{here.archived}",
        "entry": f"/entries/{await message_of(here)}",
        "channels": "/channels",
        "channel": f"/channels/{CHANNEL}",
        "dead": "/dead",
        "letter": f"/dead/{letter}",
        "activity": "/activity",
        "missing": "/entries/in:0/1-0",
    }


async def test_nobody_gets_in_without_a_token(here: Scene, browser: Browser) -> None:
    """A wrong one is refused in words; the right one leads to the page that was asked for."""
    async with visit(browser, here.url) as stranger:
        page = await stranger.open(f"/channels/{CHANNEL}")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert await stranger.inaccessible() == []
        await page.get_by_label("Your token").fill("a token that lets nobody in, however long")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("lets nobody in")
        await page.get_by_label("Your token").fill(VIEWERS_TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(CHANNEL)
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert stranger.problems == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
async def test_every_page_is_there_for_everybody(
    here: Scene, browser: Browser, signed_in: StorageState, scheme: str, width: int
) -> None:
    """In either scheme, on a phone too: no serious finding of axe, nothing to scroll sideways, no broken policy."""
    window = {"width": width, "height": 844}
    async with visit(browser, here.url, storage_state=signed_in, color_scheme=scheme, viewport=window) as somebody:
        page = somebody.page
        for name, path in (await pages(here)).items():
            await somebody.open(path)
            await expect(page.get_by_role("heading", level=1)).to_have_count(1)
            assert await somebody.inaccessible() == [], name
            assert await somebody.widest() == 0, name
            await somebody.picture(f"{name}-{scheme}-{width}")
        dark = await page.evaluate("getComputedStyle(document.body).color")
        lightness = float(dark.removeprefix("oklch(").split()[0])
        assert (lightness > 0.5) == (scheme == "dark")
        assert somebody.problems == []


async def test_axe_finds_what_is_wrong(ada: Visit) -> None:
    """A button without a name is found: a check that finds nothing anywhere would pass too."""
    await ada.open("/activity")
    await ada.page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any("button-name" in one for one in await ada.inaccessible())


async def test_the_overview_goes_on_by_itself(here: Scene, ada: Visit) -> None:
    """A session that opens appears without loading the page again; paused, nothing moves."""
    page = await ada.open("/")
    sessions = page.locator(".figures li", has_text="Sessions").locator("strong")
    await expect(sessions).to_have_text("2")
    await expect(page.locator("table", has_text="gateway-0")).to_contain_text("alive")
    for service in ("egress", "processors", "gateway"):
        await expect(page.get_by_role("row", name=service).last).to_contain_text("ready")
    async with here.system.client() as third:
        await third.authenticate((await here.system.laravel.token("carol")).token)
        await expect(sessions).to_have_text("3")
        await page.get_by_role("button", name="Pause").click()
    await here.system.settled()
    asked: list[str] = []
    page.on("requestfinished", lambda request: asked.append(request.url))
    await page.get_by_role("button", name="Pause").click()
    await expect(sessions).not_to_have_text("4")
    await eventually(lambda: any("/live/overview" in url for url in asked))


async def test_sessions_are_found(here: Scene, ada: Visit) -> None:
    """By id, by user, by channel; one that is nowhere is said to be unknown."""
    page = await ada.open("/sessions")
    rows = page.locator("tbody tr")
    wanted = (
        ("a user", here.ada.user or "", 1),
        ("a channel", CHANNEL, 2),
        ("a channel", "nobody", 0),
        ("a gateway", "gateway-0", 2),
        ("a gateway", "gateway-9", 0),
    )
    for by, name, found in wanted:
        await page.get_by_label("Look for").select_option(label=by)
        await page.get_by_label("named").fill(name)
        await page.get_by_role("button", name="Search").click()
        await expect(rows).to_have_count(found)
    await page.get_by_label("Look for").select_option(label="a session id")
    await page.get_by_label("named").fill(here.ada.session)
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(here.ada.session)
    await expect(page.locator(".facts")).to_contain_text("connected")
    await expect(page.locator("tbody")).to_contain_text("session.opened")
    await expect(page.locator("tbody")).not_to_contain_text("datagram.received")
    await page.get_by_role("link", name="With datagrams").click()
    await expect(page.locator("tbody")).to_contain_text("datagram.received")
    await ada.open("/sessions/no-such-session")
    await expect(page.locator(".facts")).to_contain_text("unknown")


async def opened_at_once(somebody: Visit, path: str) -> Page:
    """A page, loaded within a second."""
    began = time.perf_counter()
    page = await somebody.open(path)
    took = time.perf_counter() - began
    assert took < 1.0 * PATIENCE, f"{path}: {took:.2f} s"
    return page


async def test_a_session_of_thousands_opens_at_once(here: Scene, ada: Visit) -> None:
    """A page has so many rows and costs one round trip, whatever is behind it; more rows come on demand."""
    page = await opened_at_once(ada, f"/sessions/{here.long}")
    rows = page.locator("tr.entry")
    await expect(rows).to_have_count(PAGE)
    await expect(page.locator("[data-cost]")).to_contain_text("in 1 round trip and 0 of the archive,")
    await page.get_by_role("link", name="Show more").press("Enter")
    await expect(rows).to_have_count(2 * PAGE)
    # Whoever uses the keyboard goes on where the new rows begin.
    await expect(rows.nth(PAGE).get_by_role("link")).to_be_focused()
    await page.get_by_role("link", name="Newest first").click()
    await expect(rows.first).to_contain_text('"n":4999')


async def test_a_session_of_the_archive_opens_as_one_of_the_log(here: Scene, ada: Visit) -> None:
    """5,000 entries that only the archive has and those that the log has are one timeline, from either end."""
    page = await opened_at_once(ada, f"/sessions/{here.archived}")
    rows = page.locator("tr.entry")
    await expect(rows).to_have_count(PAGE)
    await expect(page.locator("[data-cost]")).to_contain_text("in 1 round trip and 200 of the archive,")
    await expect(page.locator(".facts")).to_contain_text("dora")
    await expect(page.locator(".facts")).to_contain_text("unknown")
    await page.get_by_role("link", name="Show more").press("Enter")
    await expect(rows).to_have_count(2 * PAGE)
    await expect(rows.last).to_contain_text('"n":399')
    await page.get_by_role("link", name="Newest first").click()
    await expect(rows.first).to_contain_text(f'"n":{MANY + FEW}}}')
    await expect(rows).to_have_count(PAGE)
    for place, words in ((FEW - 1, "log"), (FEW, "log and archive"), (FEW + 1, "archive")):
        number = MANY + FEW - place
        await rows.nth(place).get_by_role("link").click()
        await expect(page.locator("[data-held]")).to_have_text(words)
        await expect(page.locator("pre")).to_contain_text(f'"n": {number}')
        await page.go_back()


async def test_an_entry_shows_what_followed(here: Scene, ada: Visit) -> None:
    """The message, what Laravel's answer became, and its payload as text, whatever is in it."""
    page = await ada.open(f"/sessions/{here.ada.session}")
    await page.locator("tr.entry", has_text="<script>alert(1)</script>").first.get_by_role("link").click()
    steps = page.locator(".waterfall tbody tr")
    await expect(steps.first).to_contain_text("message.received")
    await expect(steps.first.get_by_role("link")).to_have_attribute("aria-current", "true")
    await expect(steps.filter(has_text="message.published")).to_have_count(2)
    await expect(page.locator("pre")).to_contain_text("<script>alert(1)</script>")
    done = page.locator(".trail tbody tr")
    await expect(done).to_contain_text(["laravel"])
    await expect(done).to_contain_text(["answered 200"])
    await page.locator(".waterfall").get_by_role("link", name="message.published").first.click()
    await expect(page.locator("section", has_text="What was done with it").last).to_contain_text(
        "publication to gateway-0"
    )
    await expect(steps.first).to_contain_text("message.received")


async def test_a_channel_shows_members_and_history(here: Scene, ada: Visit) -> None:
    """Who is in it, through which sessions, and what was said."""
    page = await ada.open("/channels?q=lobb")
    await page.get_by_role("link", name=CHANNEL).click()
    await expect(page.locator(".people li")).to_have_count(2)
    await expect(page.locator(".people")).to_contain_text('"name":"bob"')
    await expect(page.get_by_role("link", name=here.bob.session)).to_be_visible()
    await expect(page.get_by_role("row").filter(has_text="good morning")).to_contain_text("1")


async def test_groups_show_every_partition(ada: Visit) -> None:
    """Each group with the process that reads each of its partitions."""
    page = await ada.open("/groups")
    laravel = page.locator("section", has_text="laravel")
    await expect(laravel.locator("tbody tr")).to_have_count(PARTITIONS)
    await expect(laravel).not_to_contain_text("nobody")


async def test_a_viewer_looks_and_operates_nothing(here: Scene, browser: Browser) -> None:
    """The pages offer no operation, and a form that asks for one all the same is refused."""
    async with visit(browser, here.url) as grace:
        page = await grace.sign_in(VIEWERS_TOKEN)
        for path in ("/dead", f"/sessions/{here.ada.session}", f"/sessions?by=user&q={here.ada.user}"):
            await grace.open(path)
            for word in ("Retry", "Drop", "Disconnect"):
                await expect(page.get_by_text(word)).to_have_count(0)
        assert await posted(page, f"/sessions/{here.ada.session}/disconnect", await form_key(page)) == 403
        assert await posted(page, "/dead", await form_key(page)) == 403


async def test_a_form_of_another_sign_in_is_refused(here: Scene, ada: Visit) -> None:
    """Without the key of the sign-in nothing is done, whoever asks."""
    await ada.open("/activity")
    for key in ("", "0" * 64):
        assert await posted(ada.page, f"/sessions/{here.ada.session}/disconnect", key) == 403


async def form_key(page: Page) -> str:
    return await page.locator("input[name=form_key]").first.input_value()


async def posted(page: Page, path: str, key: str) -> int:
    """The status of a form that the page's own origin sends."""
    script = (
        "([path, key]) => fetch(path, {method: 'POST', body: new URLSearchParams({form_key: key})}).then(a => a.status)"
    )
    status: int = await page.evaluate(script, [path, key])
    return status


async def test_the_keyboard_is_enough(here: Scene, browser: Browser) -> None:
    """Sign in, skip to the content, walk the navigation in its order, open a page: what has the focus shows it."""
    async with visit(browser, here.url) as ada:
        page = await ada.open("/sign-in")
        await expect(page.get_by_label("Your token")).to_be_focused()
        await page.keyboard.type(OPERATORS_TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        await page.get_by_role("button", name="Pause").press("Enter")  # So that nothing moves meanwhile.
        await ada.open("/sessions")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        walked = []
        for _ in range(9):
            await page.keyboard.press("Tab")
            walked.append(await page.evaluate("document.activeElement.textContent.trim().split('\\n')[0].trim()"))
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", walked
        pages = ["Overview", "Sessions", "Channels", "Groups", walked[5], "Replays", "Activity"]
        assert walked == ["Headgate", *pages, "Sign out"]
        assert walked[5].startswith("Dead letters")
        await ada.open("/channels")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_label("Names that contain")).to_be_focused()
        await page.keyboard.type("lobby")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name=CHANNEL)).to_be_visible()
        assert ada.problems == []


# From here on things are changed.


async def test_dead_letters_are_decided(here: Scene, ada: Visit) -> None:
    """One is put back, so that its group fails at it again; others are dropped, after one more question."""
    page = await ada.open("/dead?group=laravel")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(PARTITIONS)
    name = await rows.first.locator("th a").inner_text()
    await rows.first.locator("th a").click()
    await expect(page.locator("p.error")).to_contain_text("field id is missing")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("status")).to_have_text("1 put back.")
    await expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    await here.system.settled()
    await ada.open("/dead?group=laravel")
    await expect(rows).to_have_count(PARTITIONS)

    await ada.open("/dead?group=persistence")
    await page.get_by_label("All on this page").check()
    await page.get_by_text("Drop the chosen…").click()
    await page.get_by_role("button", name="Drop them").click()
    await expect(page.get_by_role("status")).to_have_text(f"{PARTITIONS} dropped.")
    await expect(page.get_by_text("No letter passes these filters.")).to_be_visible()


async def test_an_operation_is_written_down(here: Scene, ada: Visit) -> None:
    """Who did what from where: on a page, and in the console's own log."""
    page = await ada.open("/activity")
    row = page.locator("tbody tr").filter(has_text="drop letter").first
    for words in ("ada", "operator", "drop letter", "127.0.0.1"):
        await expect(row).to_contain_text(words)
    assert '"operation": "drop letter"' in here.system.services["console"].log(1 << 20)


async def test_a_session_is_disconnected(here: Scene, ada: Visit) -> None:
    """Its client is told why and is not asked to come back; another session of the system stays."""
    page = await ada.open(f"/sessions/{here.bob.session}")
    await page.get_by_text("Disconnect…").click()
    await page.get_by_label("Reason").fill("you were away")
    await page.get_by_role("button", name="Disconnect", exact=True).click()
    await expect(page.get_by_role("status")).to_contain_text("is being disconnected")
    told = await here.bob.wait_type("disconnect")
    assert (told["code"], told["reason"], told["reconnect"]) == (3500, "you were away", False)
    await eventually(lambda: _left(here.system, here.bob.session))
    await here.system.settled()
    await ada.open(f"/sessions/{here.bob.session}")
    await expect(page.locator(".facts")).to_contain_text("ended")
    await expect(page.get_by_text("Disconnect…")).to_have_count(0)


async def _left(system: System, session: str) -> bool:
    return not await system.log.hexists(system.keys.topic(f"channel:{CHANNEL}", "subscribers"), session)


async def test_all_sessions_of_a_user_are_disconnected(here: Scene, ada: Visit) -> None:
    """From the list of this user."""
    page = await ada.open(f"/sessions?by=user&q={quote(here.ada.user or '')}")
    await page.get_by_text("Disconnect all of this user…").click()
    await page.get_by_role("button", name="Disconnect all of this user").click()
    told = await here.ada.wait_type("disconnect")
    assert (told["code"], told["reason"]) == (3500, "disconnected by an operator")
