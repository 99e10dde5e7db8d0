"""Datagrams between members: passed on once if that works at once, else dropped and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from prometheus_client import Counter

from processors.channels import rules
from runtime.bus.appender import Appender
from runtime.bus.outcomes import Outcome, Received
from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.events import DatagramReceived
from schemas.keys import Keys

PASSED = Counter("headgate_datagrams_passed", "Datagrams passed on to their channel.")
DROPPED = Counter("headgate_channels_datagrams_dropped", "Datagrams that were not passed on.", ["reason"])


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class DatagramsHandler:
    """Handles batches of the datagram log."""

    def __init__(self, appender: Appender, keys: Keys, maxlen: int, wall_ms: Callable[[], int] = _wall_ms) -> None:
        """`maxlen` is about how many entries an outbound datagram log keeps."""
        self._appender = appender
        self._keys = keys
        self._maxlen = maxlen
        self._wall_ms = wall_ms

    async def handle(self, batch: Sequence[Received]) -> Sequence[Outcome]:
        """Every entry is done, whatever became of it: datagrams are never repeated."""
        now_ms = self._wall_ms()
        passed = [told for received in batch if (told := self._told(received.entry, now_ms)) is not None]
        appends = [
            self._appender.append(Keys.datagrams(self._keys.outbound_of(told.topic)), told, maxlen=self._maxlen)
            for told in passed
        ]
        results = await asyncio.gather(*appends, return_exceptions=True)
        failed = sum(isinstance(result, BaseException) for result in results)
        DROPPED.labels("log_unavailable").inc(failed)
        PASSED.inc(len(passed) - failed)
        return [Outcome.done()] * len(batch)

    @staticmethod
    def _told(entry: Entry, now_ms: int) -> Entry | None:
        try:
            event = entry.event()
        except InvalidEntry:
            DROPPED.labels("invalid").inc()
            return None
        if not isinstance(event, DatagramReceived):
            DROPPED.labels("invalid").inc()
            return None
        told = rules.datagram(entry, event, now_ms)
        if isinstance(told, Entry):
            return told
        DROPPED.labels(told).inc()
        return None
