"""What the web console makes of the services' metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from console.web.services import Service, Services, _samples
from schemas.errors import ConfigurationError


def test_rates_and_bounds_are_of_what_was_added() -> None:
    """Counters are summed over their labels; the bound is that of the bucket in which 95 of 100 lie."""
    registry = CollectorRegistry()
    handled = Counter("headgate_handled", "", ["group", "verdict"], registry=registry)
    append = Histogram("headgate_append_seconds", "", buckets=(0.001, 0.01, 0.1), registry=registry)
    service = Service("http://gateway")
    assert (service.handled, service.append_ms) == (None, None)
    append.observe(0.09)
    service.history.append((0.0, _samples(generate_latest(registry).decode())))
    for group in ("auth", "laravel"):
        handled.labels(group, "done").inc(10)
    for _ in range(20):
        append.observe(0.005)
    service.history.append((4.0, _samples(generate_latest(registry).decode())))
    assert service.handled == 5.0
    assert service.append_ms == 10.0
    assert service.asked_ms is None


@pytest.mark.parametrize("url", ["127.0.0.1:9101", "ftp://127.0.0.1", "http://", "http://["])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    """An address that could not be asked keeps the console from starting."""
    with pytest.raises(ConfigurationError, match="HEADGATE_CONSOLE_SERVICES"):
        Services([url])
