"""Which topic keeps how much."""

from __future__ import annotations

import pytest

from egress.routing.history import HistoryRules, Kept
from schemas.errors import ConfigurationError

DEFAULT = Kept(100, 300)


def test_the_first_rule_that_fits_a_channel_counts() -> None:
    """Names are whole, a star is any text, and topics of sessions and users are no channels."""
    rules = HistoryRules(("presence-vip=1/2", "presence-*=50/60", "*.log=0/1", "a*c*e=5/5"), DEFAULT)
    kept = {
        "channel:presence-vip": Kept(1, 2),
        "channel:presence-vip2": Kept(50, 60),
        "channel:my-presence-x": DEFAULT,
        "channel:app.log": Kept(0, 1),
        "channel:applog": DEFAULT,
        "channel:abcde": Kept(5, 5),
        "channel:ace": Kept(5, 5),
        "user:presence-vip": DEFAULT,
        "session:presence-vip": DEFAULT,
    }
    assert {topic: rules.of(topic) for topic in kept} == kept


@pytest.mark.parametrize("rule", ["news", "news=5", "news=5/", "=5/5", "news=-1/5", "news=5/5/5", "two words=5/5"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    """The operator is told which rule, and how one is written."""
    with pytest.raises(ConfigurationError, match="write NAME=SIZE/SECONDS"):
        HistoryRules((rule,), DEFAULT)
