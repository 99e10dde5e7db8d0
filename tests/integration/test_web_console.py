"""The web console over a real Redis, asked by HTTP: ways in, what it shows of a log, what it says when that is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from console.web import live
from console.web.app import build
from processors.persistence import rules
from runtime.settings import Settings
from schemas.entry import Entry
from schemas.events import MessageReceived, SessionClosed, SessionOpened
from schemas.keys import Keys, partition_of
from tests.support.archives import erase, filled
from tests.support.bus import Bus
from tests.support.command import outcome
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

SECRET = "the secret of an operator of this test"
TOKENS = SecretStr(f"ada:operator:{SECRET}")
HERE = {"Sec-Fetch-Site": "same-origin"}
PROXY: dict[str, Any] = {
    "console_proxy_header": "X-User",
    "console_proxy_roles": ("ada:operator",),
    "trusted_proxies": ("127.0.0.1",),
}


@asynccontextmanager
async def console(
    settings: Settings, links: Callable[[str], None] | None = None, **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A running console, and a client of it."""
    port = free_port()
    chosen = settings.model_copy(update={"console_port": port} | more)
    components, health = build(chosen, links=links)
    for component in components:
        await component.start()
    health.serving = True
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
            yield http
    finally:
        for component in reversed(components):
            await component.stop()


async def sign_in(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    form = {"token": SECRET, "next": "/groups"}
    return await http.post("/sign-in", data=form, headers=HERE | headers)


async def test_a_token_signs_in_and_out(settings: Settings) -> None:
    """The cookie opens the pages until the sign-out, and is sent to nobody else."""
    async with console(settings, console_tokens=TOKENS) as http:
        answer = await sign_in(http)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/groups")
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie
        page = (await http.get("/groups")).text
        key = page.split('name="form_key" value="', 1)[1].split('"', 1)[0]
        kept = dict(http.cookies)
        assert (await http.post("/sign-out", data={"form_key": key}, headers=HERE)).status_code == 303
        assert (
            await http.get("/groups", headers={"Cookie": f"headgate_console={kept['headgate_console']}"})
        ).status_code == 303


async def test_behind_a_proxy_with_tls_the_cookie_is_for_tls(settings: Settings) -> None:
    """A trusted proxy says how the browser came; anybody else's word for it counts for nothing."""
    for proxies, secure in ((("127.0.0.1",), True), (("192.0.2.1",), False)):
        async with console(settings, console_tokens=TOKENS, trusted_proxies=proxies) as http:
            answer = await sign_in(http, **{"X-Forwarded-Proto": "https"})
            assert ("secure" in answer.headers["Set-Cookie"].lower()) == secure


async def test_a_proxy_signs_in(settings: Settings) -> None:
    """Whom a trusted proxy names is in; a header that says that one comes from it does not make it so."""
    async with console(settings, **PROXY) as http:
        assert "ada" in (await http.get("/groups", headers={"X-User": "ada"})).text
        assert (await http.get("/groups", headers={"X-User": "eve"})).status_code == 303
    async with console(settings, **PROXY | {"trusted_proxies": ("192.0.2.1",)}) as http:
        answer = await http.get("/groups", headers={"X-User": "ada", "X-Forwarded-For": "192.0.2.1"})
        assert answer.status_code == 303


async def test_a_link_of_dev_signs_in_once(settings: Settings) -> None:
    """And whoever comes late asks for another one, which is told in the terminal alone."""
    links: list[str] = []
    async with console(settings, links.append) as http:
        assert (await http.get(links[0])).headers["Location"] == "/"
        assert (await http.get("/")).status_code == 200
        http.cookies.clear()
        assert (await http.get(links[0])).status_code == 403
        page = await http.post("/link", headers=HERE)
        assert 'role="status">A new link' in page.text
        assert len(links) == 2
        assert links[1] not in page.text
        assert (await http.get(links[1])).status_code == 303


async def test_a_group_that_falls_behind_is_seen(settings: Settings, bus: Bus) -> None:
    """What was not read and what is in hand, by partition, and that nobody reads it."""
    keys = settings.keys
    async with console(settings, **PROXY) as http:
        client = bus.observer
        entry = Entry.of(MessageReceived(frame={}), id="a", ts=1, session="s")
        fields: Any = dict(zip(entry.names(), entry.values(), strict=True))
        await client.xgroup_create(keys.inbound(2), "laravel", id="0", mkstream=True)
        for _ in range(7):
            await client.xadd(keys.inbound(2), fields)
        await client.xreadgroup("laravel", "p", {keys.inbound(2): ">"}, count=3)
        await client.set(Keys.lease(keys.inbound(2), "laravel"), "somebody:token")
        http.headers["X-User"] = "ada"

        async def seen() -> bool:
            page = (await http.get("/live/groups")).text
            row = page.partition("> in:2</th>")[2].partition("</tr>")[0]
            cells = [text for part in row.split(">") if (text := part.partition("<")[0].strip())]
            return cells[:2] == ["3", "4"] and cells[-1] == "somebody"

        await eventually(seen)


async def test_while_redis_is_away_it_says_so(settings: Settings, server: RedisServer) -> None:
    """The pages stay up, say what is old, and answer 503 where there is nothing to show."""
    async with console(settings, **PROXY) as http:
        http.headers["X-User"] = "ada"
        await server.kill()

        async def stale() -> bool:
            return "Redis does not answer" in (await http.get("/groups")).text

        await eventually(stale)
        for path in ("/", "/groups", "/live/overview", "/live/groups"):
            answer = await http.get(path)
            assert (answer.status_code, answer.text.count("Redis does not answer")) == (200, 1), path
        answer = await http.get("/sessions")
        assert answer.status_code == 503
        assert "The log does not answer" in answer.text
        assert (await http.get("/health/ready")).status_code == 503


async def test_after_a_defect_the_overview_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a look fails it says that what is shown is old, and no more once one succeeds."""
    monkeypatch.setattr(live, "TICK_S", 0.05)
    async with console(settings, **PROXY) as http:
        http.headers["X-User"] = "ada"

        async def stale() -> bool:
            return "What is shown is old" in (await http.get("/live/overview")).text

        async def fresh() -> bool:
            return not await stale()

        async def broken(*_: Any) -> Any:
            raise KeyError("length")

        with capture_logs() as logs, monkeypatch.context() as defect:
            defect.setattr(live, "look", broken)
            await eventually(stale)
        await eventually(fresh)
        assert [one["event"] for one in logs if one["log_level"] == "error"] == ["console.look_broken"]
        assert (await http.get("/health/ready")).status_code == 200


async def test_a_session_that_redis_has_forgotten_is_found(settings: Settings, tmp_path: Path) -> None:
    """Its page tells whose it was and how it ended, out of the archive, and leads to its entries. Until there is an
    archive the pages say that none was asked."""
    opened = SessionOpened(transport="webtransport", origin="", path="/", address="::1")
    closed = SessionClosed(code=3001, reason="the gateway is stopping", by="gateway")
    entries = [
        Entry.of(event, id=f"e{number}", ts=1, session="s", user="dora", gateway="gateway-7")
        for number, event in enumerate((opened, closed))
    ]
    rows = [rules.row(settings.keys.inbound_of("s"), f"{1000 + n}-0", entry) for n, entry in enumerate(entries)]
    place = f"in:{partition_of('s', settings.partitions)}/1001-0"
    url = f"sqlite+aiosqlite:///{tmp_path}/archive.db"
    async with console(settings, archive_url=url, **PROXY) as http:
        http.headers["X-User"] = "ada"
        page = (await http.get("/sessions/s")).text
        assert "The archive was not asked: there is no archive" in page
        assert "The log has nothing of this session" in page
        missing = await http.get(f"/entries/{place}")
        assert missing.status_code == 404
        assert "The archive was not asked" in missing.text
        assert "without the archive" in (await http.get("/events/e1")).text
        async with filled(url, rows):
            page = (await http.get("/sessions/s")).text
            for words in ("ended", "dora", "gateway-7", "3001: the gateway is stopping", f'href="/entries/{place}"'):
                assert words in page, words
            assert "not asked" not in page
            found = await http.get(f"/entries/{place}")
            assert found.status_code == 200
            assert "the gateway is stopping" in found.text
            event = await http.get("/sessions", params={"by": "event", "q": "e1"}, follow_redirects=True)
            assert (event.url.path, event.text == found.text) == (found.url.path, True)
            assert (await http.get("/events/e9")).status_code == 404
            await erase(url)
            assert "stopping" not in (await http.get(f"/entries/{place}")).text
            page = (await http.get("/sessions/s")).text
            assert "(erased)" in page
            assert "stopping" not in page


async def test_strange_addresses_are_answered(settings: Settings, bus: Bus) -> None:
    """Names and cursors that cannot be are refused in words, and never an error of ours."""
    entry = Entry.of(MessageReceived(frame={}), id="late", ts=1, session="s")
    fields: Any = dict(zip(entry.names(), entry.values(), strict=True))
    await bus.observer.xadd(settings.keys.inbound_of("s"), fields, id="999999999999999-0")
    nothing: Any = {"type": "message.received", "session": "s"}
    stored: Any = await bus.observer.xadd(settings.keys.inbound_of("t"), nothing)
    without_id = f"in:{partition_of('t', settings.partitions)}/{stored.decode()}"
    late = f"in:{partition_of('s', settings.partitions)}/999999999999999-0"
    async with console(settings, **PROXY) as http:
        assert (await http.get("/sign-in?next=//[")).status_code == 200
        assert (await http.post("/sign-in", headers={"Origin": "http://["})).status_code == 403
        http.headers["X-User"] = "ada"
        for path, status in (
            ("/sessions?after=nonsense", 422),
            ("/sessions?by=cat", 422),
            ("/sessions/a?after=in:0/99999999999999999999-0", 404),
            ("/sessions/a?after=in:0/1-0", 200),
            ("/sessions/s", 200),
            (f"/entries/{late}", 200),
            (f"/entries/{without_id}", 200),
            ("/sessions/%00%ff", 200),
            ("/sessions/a%2Fb", 404),
            ("/channels/a:b", 404),
            ("/channels?q=%00", 200),
            ("/dead/in:0/x", 404),
            ("/dead?after=nonsense", 404),
            ("/dead/in:0/99999999999999999999999999-0", 404),
            ("/activity?before=x", 422),
            ("/entries/../../etc/passwd", 404),
            ("/static/../app.py", 404),
            ("/static/../templates/base.html", 404),
            ("/nowhere", 404),
        ):
            answer = await http.get(path)
            assert answer.status_code == status, (path, answer.status_code)
            assert answer.headers["Content-Type"].startswith("text/html"), path


async def test_without_a_way_in_it_ends_with_words(tmp_path: Path) -> None:
    """`headgate console` without tokens or proxy is a matter of settings."""
    status, _, errors = await outcome("console", env={}, cwd=tmp_path)
    assert status == 2
    assert "HEADGATE_CONSOLE_TOKENS" in errors
