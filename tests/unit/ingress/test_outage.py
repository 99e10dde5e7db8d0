"""Sessions while the log is away: held, released, and given up when it takes too long."""

from __future__ import annotations

from ingress.outage import Outage, Step


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
