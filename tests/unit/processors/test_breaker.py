from __future__ import annotations

from processors.breaker import CEILING_S, FIRST_PROBE_S, THRESHOLD, Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(now) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]
    return breaker


def test_single_failures_do_not_open_it() -> None:
    """A success between failures starts the count anew."""
    breaker = Breaker()
    for _ in range(THRESHOLD * 3):
        breaker.failed(0.0)
        assert not breaker.succeeded()
        assert breaker.allow(0.0)


def test_open_it_lets_one_probe_through() -> None:
    """After failures in a row nothing passes until the delay is over, then one request."""
    breaker = opened(100.0)
    assert not breaker.allow(100.0 + FIRST_PROBE_S * 0.9)
    assert breaker.allow(100.0 + FIRST_PROBE_S)
    assert not breaker.allow(100.0 + FIRST_PROBE_S)


def test_probes_become_rarer_up_to_a_ceiling() -> None:
    """The time between probes doubles and ends at the ceiling."""
    breaker, now, last = opened(), 0.0, 0.0
    gaps: list[float] = []
    while len(gaps) < 8:
        now += 0.125
        if breaker.allow(now):
            breaker.failed(now)
            gaps.append(now - last)
            last = now
    assert gaps == [FIRST_PROBE_S, 0.5, 1.0, 2.0, 4.0, CEILING_S, CEILING_S, CEILING_S]


def test_a_probe_that_never_ends_does_not_block_it() -> None:
    """The next probe passes in its time, even when nothing is heard of the last one."""
    breaker = opened()
    assert breaker.allow(FIRST_PROBE_S)
    assert breaker.allow(FIRST_PROBE_S * 10)


def test_the_first_success_closes_it() -> None:
    """One answer lets everything pass again, and the next outage begins with the first delay."""
    breaker = opened()
    for now in (1.0, 10.0, 20.0):
        assert breaker.allow(now)
    assert breaker.succeeded()
    assert not breaker.open
    assert all(breaker.allow(20.0) for _ in range(10))
    for _ in range(THRESHOLD):
        breaker.failed(30.0)
    assert breaker.allow(30.0 + FIRST_PROBE_S)
