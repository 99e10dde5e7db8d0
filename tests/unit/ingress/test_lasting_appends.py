"""What has no client that could send it again is appended in its order, however often it has to be repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ingress.gateway import Gateway
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.events import SessionDisconnected, SessionResumed
from tests.support.waiting import eventually


class Failing:
    """An appender that confirms nothing until it is mended, and writes down what it confirmed."""

    def __init__(self) -> None:
        self.mended = False
        self.tried: list[str] = []
        self.confirmed: list[str] = []

    def append(self, key: str, entry: Entry) -> asyncio.Future[str]:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.tried.append(entry.id)
        if self.mended:
            self.confirmed.append(entry.id)
            future.set_result("1-0")
        else:
            future.set_exception(LogUnavailable("away"))
        return future


async def test_a_sessions_end_is_not_logged_before_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log goes away as a session opens, and comes back as it has closed: its events are in their order."""
    monkeypatch.setattr("ingress.gateway.backoff", lambda failures: 0.001)
    appender: Any = Failing()
    gateway = Gateway(Settings(secret="x" * 32, _env_file=None), appender, Telemetry(None, "test"))
    opened = SessionResumed(generation=2)
    closed = SessionDisconnected(generation=2, code=0, reason="", by="client", final=True)
    gateway._append_lasting("log", Entry.of(opened, id="opened", ts=1, session="s"))
    gateway._append_lasting("log", Entry.of(closed, id="closed", ts=1, session="s"))
    await eventually(lambda: len(appender.tried) > 3, 5)
    assert set(appender.tried) == {"opened"}
    appender.mended = True
    await eventually(lambda: appender.confirmed == ["opened", "closed"], 5)
    await eventually(lambda: not gateway._last and not gateway._lasting, 5)
