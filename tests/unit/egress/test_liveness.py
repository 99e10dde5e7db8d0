"""When a gateway is lost: told by what was watched, not by clocks."""

from __future__ import annotations

from egress.routing.liveness import Liveness


def test_a_gateway_is_lost_when_its_sign_of_life_stands_still_for_a_lease() -> None:
    """Nine seconds of the same are silence, ten are a loss; another one's signs do not help."""
    liveness = Liveness(10)
    for second in range(10):
        assert liveness.look({"g1": 5000.0, "g2": 5000.0 + second}, float(second)) == []
    assert liveness.look({"g1": 5000.0, "g2": 5010.0}, 10.0) == ["g1"]
    assert liveness.look({"g1": 5000.0, "g2": 5010.0}, 11.0) == ["g1"]


def test_every_sign_of_life_begins_a_lease_anew() -> None:
    """It may be older than the one before: only that it is another counts."""
    liveness = Liveness(10)
    for second in range(40):
        assert liveness.look({"g1": 5000.0 - second // 9}, float(second)) == []


def test_how_old_a_sign_is_when_it_is_first_seen_does_not_count() -> None:
    """After Redis was away for an hour every sign is old, and nobody is lost for it."""
    liveness = Liveness(10)
    assert liveness.look({"g1": 0.001}, 1_000_000.0) == []


def test_a_gateway_that_is_not_on_the_list_is_lost_after_a_lease_too() -> None:
    """It has no sign of life to change; that it comes onto the list is one."""
    liveness = Liveness(10)
    for second in range(0, 10, 2):
        assert liveness.look({"gone": None, "new": None}, float(second)) == []
    assert liveness.look({"gone": None, "new": 1.0}, 10.0) == ["gone"]


def test_what_could_not_be_watched_does_not_count() -> None:
    """A look that failed begins every lease anew: nobody may have been able to show a sign."""
    liveness = Liveness(10)
    for second in range(9):
        liveness.look({"g1": 1.0}, float(second))
    liveness.blind()
    for second in range(9, 19):
        assert liveness.look({"g1": 1.0}, float(second)) == []
    assert liveness.look({"g1": 1.0}, 19.0) == ["g1"]


def test_a_watcher_that_slept_begins_anew() -> None:
    """When the whole machine was paused, gateways get the time to show that they woke up too."""
    liveness = Liveness(10)
    for second in range(5):
        liveness.look({"g1": 1.0}, float(second))
    assert liveness.look({"g1": 1.0}, 100.0) == []
    assert liveness.look({"g1": 1.0}, 105.0) == []
    assert liveness.look({"g1": 1.0}, 110.0) == ["g1"]
