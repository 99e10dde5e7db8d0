"""What the QUIC listeners of this process count, as metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ingress.server.options import ListenerCounters


class ListenerEvents(Collector):
    """Reads the listeners' counters when metrics are asked for: counting itself stays an addition."""

    def __init__(self) -> None:
        self.listeners: list[ListenerCounters] = []
        """Added to when a listener starts; one that stopped stays, so that sums never fall."""

    def collect(self) -> Iterable[Metric]:
        """One series for each counter, the sum over the listeners."""
        family = CounterMetricFamily("headgate_listener_events", "What the QUIC listener saw.", labels=["event"])
        for counter in fields(ListenerCounters):
            family.add_metric([counter.name], sum(getattr(listener, counter.name) for listener in self.listeners))
        yield family


LISTENER_EVENTS = ListenerEvents()
REGISTRY.register(LISTENER_EVENTS)
