"""Sessions while the log is away: held, released, and given up when it takes too long."""

from __future__ import annotations

from typing import Any

from ingress.gateway import Gateway
from ingress.outage import Outage, Step
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from tests.support.waiting import eventually


def test_a_short_outage_holds_and_releases() -> None:
    """Sessions are held once, and read on once the log is back."""
    outage = Outage(60)
    steps = [outage.look(away, now) for now, away in enumerate([False, True, True, False, False])]
    assert steps == [Step.NOTHING, Step.HOLD, Step.NOTHING, Step.RELEASE, Step.NOTHING]


def test_a_long_outage_is_given_up_once() -> None:
    """After the patience is over, and not again before the log was back."""
    outage = Outage(60)
    assert outage.look(True, 100) is Step.HOLD
    assert outage.look(True, 159.9) is Step.NOTHING
    assert outage.look(True, 160) is Step.GIVE_UP
    assert outage.is_on
    assert outage.look(True, 300) is Step.NOTHING
    assert outage.look(False, 301) is Step.RELEASE
    assert not outage.is_on
    assert outage.look(True, 302) is Step.HOLD
    assert outage.look(True, 362) is Step.GIVE_UP


async def test_a_gateway_asks_for_the_server_of_its_own_stream() -> None:
    """Under the name that it has now: where another server of a cluster is away its sessions are not held."""
    settings, asked = Settings(secret="x" * 32, gateway_id="one", _env_file=None), list[str]()
    appender: Any = None
    gateway = Gateway(settings, appender, Telemetry(None, "test"), asked.append)
    await gateway.start()
    await eventually(lambda: asked, 5)
    gateway.renamed("another")
    await eventually(lambda: settings.keys.delivery("another") in asked, 5)
    await gateway.stop()
    assert list(dict.fromkeys(asked)) == [settings.keys.delivery("one"), settings.keys.delivery("another")]
