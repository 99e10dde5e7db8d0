"""The web console as tests use it: signed-in pages over a system in which something happens."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page

from processors.persistence import rules
from processors.persistence.store import Archive
from runtime.bus.reader import ONLY
from schemas.entry import Entry
from schemas.events import MessageReceived
from schemas.ids import uuid7
from schemas.keys import Keys
from tests.support.browser import ARTIFACTS
from tests.support.client import Client
from tests.support.system import PARTITIONS, System, system

OPERATOR: Final = "ada"
OPERATORS_TOKEN: Final = "the token of an operator that only tests know"
VIEWERS_TOKEN: Final = "the token of a viewer that only the tests know"
TOKENS: Final = f"{OPERATOR}:operator:{OPERATORS_TOKEN},grace:viewer:{VIEWERS_TOKEN}"
CHANNEL: Final = "presence-lobby"
#: Entries of the longest session.
MANY: Final = 5_000
FEW: Final = 3
#: What axe calls bad enough to keep somebody out.
BAD: Final = ("serious", "critical")


@dataclass(frozen=True, slots=True)
class Scene:
    """A running system, its console, and what is there to be seen."""

    system: System
    ada: Client
    bob: Client
    long: str
    """A session with MANY entries in the log."""
    archived: str
    """A session with MANY entries that only the archive has, one more in both, and FEW that only the log has."""
    letters: int
    """How many dead letters there are."""

    @property
    def url(self) -> str:
        """The console."""
        return self.system.console_url


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """Two users in a presence channel who say something, a long session, entries that nobody can handle."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(system(console=True, console_tokens=TOKENS))
        parties = []
        for name in ("ada", "bob"):
            client = await stack.enter_async_context(running.client())
            login = await running.laravel.token(name)
            await client.authenticate(login.token)
            await client.subscribe(CHANNEL)
            parties.append(client)
        ada, bob = parties
        await ada.subscribe("news")
        for words in ("good morning", "<script>alert(1)</script>", "and a longer one: " + "words " * 40):
            await ada.message(CHANNEL, words)
        await bob.send({"type": "client-wave", "channel": CHANNEL, "data": {"hand": "left"}})
        ada.datagram({"type": "position", "room": CHANNEL, "x": 1, "y": 2})
        long = await _long_session(running)
        archived = await _archived_session(running)
        for partition in range(PARTITIONS):
            nonsense: Any = {"type": "message.received", "session": ada.session, "nobody": "can read this"}
            await running.log.xadd(running.keys.inbound(partition), nonsense)
        await running.settled()
        letters = sum([await running.log.xlen(Keys.dead(running.keys.inbound(p))) for p in range(PARTITIONS)])
        yield Scene(running, ada, bob, long, archived, letters)


async def _long_session(running: System) -> str:
    """A session whose entries no group takes: they are said to be for another."""
    session, now = uuid7(time.time_ns() // 1_000_000, os.urandom(10)), time.time_ns() // 1_000_000
    pipeline = running.log.pipeline(transaction=False)
    for number in range(MANY):
        entry = Entry.of(
            MessageReceived(frame={"type": "message", "n": number}),
            id=f"{session}-{number}",
            ts=now,
            session=session,
            gateway="gateway-0",
        )
        fields: Any = dict(zip(entry.names(), entry.values(), strict=True)) | {ONLY: b"nobody"}
        pipeline.xadd(running.keys.inbound_of(session), fields)
    await pipeline.execute()
    return session


async def _archived_session(running: System) -> str:
    """A session that Redis has no record of: most of what it did is in the archive alone."""
    now = time.time_ns() // 1_000_000
    session = uuid7(now, os.urandom(10))
    log = running.keys.inbound_of(session)
    rows = []
    for number in range(MANY + 1 + FEW):
        event = MessageReceived(frame={"type": "message", "n": number})
        entry = Entry.of(event, id=f"{session}-{number}", ts=now, session=session, user="dora")
        stream_id = f"{now - 3_600_000 + number}-0"
        if number >= MANY:
            fields: Any = dict(zip(entry.names(), entry.values(), strict=True)) | {ONLY: b"nobody"}
            added: Any = await running.log.xadd(log, fields)
            stream_id = added.decode()
        if number <= MANY:
            rows.append(rules.row(log, stream_id, entry))
    archive = Archive(f"sqlite+aiosqlite:///{running.folder}/archive.db")
    await archive.insert(rows)
    await archive.stop()
    return session


class Visit:
    """A page of the console in a browser of its own, and what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        self.problems: list[str] = []
        """Violations of the page's policy, errors of its scripts, answers of 500 and above."""
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("response", lambda answer: self._note("error", answer.url) if answer.status >= 500 else None)

    def _note(self, kind: str, text: str) -> None:
        # The browser reports an answer of 400 and above as an error too; tests ask for some of these.
        if kind == "error" and "Failed to load resource" not in text:
            self.problems.append(text)

    async def open(self, path: str) -> Page:
        """Go to a page."""
        await self.page.goto(self._url + path)
        return self.page

    async def sign_in(self, token: str = OPERATORS_TOKEN) -> Page:
        """Sign in by the form."""
        await self.open("/sign-in")
        await self.page.get_by_label("Your token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()
        return self.page

    async def inaccessible(self) -> list[str]:
        """What axe finds on the page that keeps somebody out."""
        found = await Axe().run(self.page)
        bad = [one for one in found.response["violations"] if one["impact"] in BAD]
        return [f"{one['id']}: {node['html'][:160]}" for one in bad for node in one["nodes"]]

    async def widest(self) -> int:
        """By how many pixels the page is wider than its window."""
        width: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    async def picture(self, name: str) -> None:
        """Keep a screenshot of what is seen of the page."""
        ARTIFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"console-{name}.png")


@asynccontextmanager
async def visit(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visit]:
    """A browser of its own at the console; `options` are those of a context (viewport, color_scheme, …)."""
    settings: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}} | options
    context: BrowserContext = await browser.new_context(**settings)
    try:
        yield Visit(await context.new_page(), url)
    finally:
        await context.close()
