"""What a gateway tells all of its sessions, and that no defect in one of them, or in its watch, ends that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from ingress import app
from ingress.gateway import Gateway
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from tests.support.defects import Defect
from tests.support.waiting import eventually
from tests.unit.ingress.test_hub import FakeMember

SETTINGS = Settings(secret="x" * 32, gateway_id="one", redis_url="redis://127.0.0.1:1", _env_file=None)


class BrokenMember(FakeMember):
    """Fails on everything that a gateway tells of itself, and then cannot be closed either."""

    lost = missed = hold = broke = Defect()


class Log:
    """Whether the log is away, which a test decides; a defect where it cannot be asked."""

    def __init__(self) -> None:
        self.away = False
        self.ask: Callable[[], object] = bool

    def problem(self, key: str) -> str | None:
        self.ask()
        return "away" if self.away else None


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def gateway(log: Log, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr("ingress.gateway.WATCH_S", 0.01)
    appender: Any = None
    made = Gateway(SETTINGS, appender, Telemetry(None, "test"), log.problem)
    for member in (BrokenMember("a"), FakeMember("b")):
        made.hub.add(member)
    await made.start()
    yield made
    await made.stop()


def told(gateway: Gateway) -> list[Any]:
    """What the session that works was told."""
    (member,) = [one for one in gateway.hub.members() if one.id == "b"]
    assert isinstance(member, FakeMember)
    return member.told


async def test_each_session_is_told_whichever_fails(gateway: Gateway, log: Log) -> None:
    """Of another name, of a lost log, and of one that is away and back: it fails on each, and is closed for it."""
    with capture_logs() as logs:
        gateway.renamed("another")
        gateway.log_lost([])
        log.away = True
        await eventually(lambda: ("hold", True) in told(gateway))
        log.away = False
        await eventually(lambda: ("hold", False) in told(gateway))
    assert told(gateway) == ["lost", "missed", ("hold", True), ("hold", False)]
    assert [one["session"] for one in logs if one["event"] == "session.broke"] == ["a"] * 4
    assert gateway.problem() is None


async def test_a_defect_does_not_end_the_watch(gateway: Gateway, log: Log) -> None:
    """Sessions are held once it can be told again that the log is away."""
    log.away, log.ask = True, Defect()
    with capture_logs() as logs:
        await eventually(lambda: any(one["event"] == "gateway.watch_broken" for one in logs))
    log.ask = bool
    await eventually(lambda: ("hold", True) in told(gateway))


async def test_a_gateway_whose_loops_ended_is_not_ready() -> None:
    """Health asks each of them."""
    components, health = app.build(SETTINGS)
    health.serving = True
    assert health.problems() == []
    (gateway,) = [one for one in components if isinstance(one, Gateway)]
    (listener,) = [one for one in components if isinstance(one, app.Listener)]
    await gateway.start()
    await listener.start()
    assert health.problems() == []
    await listener.stop()
    await gateway.stop()
    assert health.problems() == ["outage-watch ended", "certificate-watch ended"]
