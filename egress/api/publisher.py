"""Turning an API request into one confirmed entry of the outbound log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.trace import SpanKind
from prometheus_client import Counter
from starlette.requests import Request

from runtime.bus.appender import Appender
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.events import Event
from schemas.ids import derived, uuid7
from schemas.keys import Keys
from schemas.traceparent import parse

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
PUBLISHED: Final = Counter("headgate_api_published", "Entries the API appended to the outbound log.", ["route"])


class Publisher:
    """Appends what the API is asked to publish."""

    def __init__(self, appender: Appender, keys: Keys, telemetry: Telemetry, clock: Callable[[], int]) -> None:
        """`clock` gives Unix ms."""
        self._appender = appender
        self._keys = keys
        self._telemetry = telemetry
        self._clock = clock

    async def publish(self, request: Request, topic: str, event: Event, **context: Any) -> str:
        """Append `event` on `topic`; gives the entry's id once Redis confirmed it. Raises LogUnavailable.

        Requests of one key with the same Idempotency-Key become entries of one id, which their topic takes
        once (within HEADGATE_DEDUP_SECONDS).
        """
        now = self._clock()
        repeat = request.headers.get(IDEMPOTENCY_HEADER)
        entry_id = derived(request.state.key_id, f"api/{repeat}") if repeat else uuid7(now, os.urandom(10))
        header = request.headers.get("traceparent", "")
        route = request.scope["route"].path
        with self._telemetry.span(
            f"api {route}", header if parse(header) else "", {"http.route": route}, kind=SpanKind.SERVER
        ) as traceparent:
            entry = Entry.of(event, id=entry_id, ts=now, topic=topic, traceparent=traceparent, **context)
            await self._appender.append(self._keys.outbound_of(topic), entry)
        PUBLISHED.labels(route).inc()
        return entry_id
