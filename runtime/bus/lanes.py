"""Lanes: what has the same key is handled strictly in order, different keys side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from runtime.backoff import backoff
from runtime.bus.appender import Appender
from runtime.bus.connection import is_away
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.settle import Settler
from runtime.tasks import cancel
from runtime.telemetry import Attributes, OpenSpan, Telemetry
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.keys import Keys
from schemas.traceparent import is_sampled

log = structlog.get_logger()

HANDLED = Counter("headgate_handled", "Outcomes of handled entries.", ["group", "verdict"])

Handler = Callable[[Sequence[Received]], Awaitable[Sequence[Outcome]]]
"""Handles entries of one lane, in order; answers one outcome for each of them."""


def one_by_one(handle: Callable[[Received], Awaitable[Outcome]]) -> Handler:
    """A Handler from a function of one entry; use it with `max_batch=1`."""

    async def handler(batch: Sequence[Received]) -> Sequence[Outcome]:
        return [await handle(received) for received in batch]

    return handler


class Lanes:
    """Runs a group's handler over what its reader delivers."""

    def __init__(
        self,
        group: str,
        handler: Handler,
        *,
        key: Callable[[Received], str],
        settler: Settler,
        appender: Appender,
        keys: Keys,
        telemetry: Telemetry,
        max_attempts: int,
        max_batch: int = 1,
        traced: bool = True,
        window: int = 1000,
    ) -> None:
        self._group = group
        self._handler = handler
        self._key = key
        self._settler = settler
        self._appender = appender
        self._keys = keys
        self._telemetry = telemetry
        self._max_attempts = max_attempts
        self._max_batch = max_batch
        self._traced = traced
        self._window = window
        self._lanes: dict[str, deque[Received]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._verdicts = {verdict: HANDLED.labels(group, verdict.value) for verdict in Verdict}
        self.in_flight: set[tuple[int, str]] = set()

    def submit(self, batch: Sequence[Received]) -> None:
        """Queue entries, in log order, each in its lane."""
        for received in batch:
            self.in_flight.add((received.partition, received.stream_id))
            key = self._key(received)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = deque()
                task = asyncio.create_task(self._run(key, lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            lane.append(received)
        if len(self.in_flight) >= self._window and not self._closing:
            self._room.clear()

    async def room(self) -> None:
        """Wait until fewer than the window's entries are in flight."""
        await self._room.wait()

    def close(self) -> None:
        """Let nobody wait for room any more: what is in flight may be waiting itself, and its reader is to end."""
        self._closing = True
        self._room.set()

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109  # of the lanes, not of this await
        """Let the lanes finish for at most `timeout` seconds, cancel the rest; gives how many were left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)
        left = len(self.in_flight)
        await cancel(*self._tasks)
        return left

    async def _run(self, key: str, lane: deque[Received]) -> None:
        failures, width = 0, self._max_batch
        while lane:
            batch = [lane[i] for i in range(min(width, len(lane)))]
            outcomes = await self._handle(batch)
            settled = 0
            for received, outcome in zip(batch, outcomes, strict=False):
                if not await self._settle(received, outcome):
                    break
                settled += 1
                lane.popleft()
            if settled == len(batch):
                failures, width = 0, self._max_batch
                continue
            failures += 1
            if settled < len(outcomes) and outcomes[settled].verdict is Verdict.AGAIN:
                lane[0] = replace(lane[0], attempt=lane[0].attempt + 1)
                width = 1  # The entry that fails is found by itself, its neighbours are not blamed.
            await asyncio.sleep(backoff(failures))
        del self._lanes[key]

    async def _handle(self, batch: list[Received]) -> Sequence[Outcome]:
        spans: list[OpenSpan] = []
        handed = list(batch)  # What is settled later (a dead letter, too) keeps the traceparent it came with.
        for i, received in enumerate(batch):
            entry = received.entry
            if self._traced and is_sampled(entry.traceparent):
                attributes: Attributes = {"headgate.type": entry.type, "headgate.attempt": received.attempt}
                span = self._telemetry.begin(f"process {self._group}", entry.traceparent, attributes)
                spans.append(span)
                handed[i] = replace(received, entry=entry.traced(span.traceparent))
        failure = ""
        try:
            return await self._handler(handed)
        except RedisError as error:
            failure = type(error).__name__
            return [Outcome.later(failure) if is_away(error) else Outcome.again(failure)]
        # A defect in a handler is an attempt that failed, counted and in the end a dead letter; it must not end
        # the partition. The text of the error stays here: it may hold what a client sent.
        except Exception as error:
            failure = type(error).__name__
            log.exception("handler.failed", group=self._group, type=batch[0].entry.type, id=batch[0].entry.id)
            return [Outcome.again(failure)]
        finally:
            for span in spans:
                span.end(failure)

    async def _settle(self, received: Received, outcome: Outcome) -> bool:
        """Emit and acknowledge as the outcome says; False when the entry must be handled again."""
        verdict = outcome.verdict
        if verdict is Verdict.AGAIN and received.attempt >= self._max_attempts:
            verdict = Verdict.DEAD
        self._verdicts[verdict].inc()
        if verdict in (Verdict.AGAIN, Verdict.LATER):
            # What is away is reported by whoever finds it away: here it would be a line per lane and attempt.
            report = log.warning if verdict is Verdict.AGAIN else log.debug
            report(
                "entry.retry",
                group=self._group,
                type=received.entry.type,
                id=received.entry.id,
                error=outcome.error,
                attempt=received.attempt,
            )
            return False
        if outcome.emits:
            await self._emit(outcome.emits)
        if verdict is Verdict.DEAD:
            await self._settler.bury(received, outcome.error)
        else:
            self._settler.acknowledge(received.partition, received.stream_id)
        self.in_flight.discard((received.partition, received.stream_id))
        if len(self.in_flight) < self._window:
            self._room.set()
        return True

    async def _emit(self, entries: Sequence[Entry]) -> None:
        """Append to the outbound log, however long Redis takes; repeats carry the same ids and are dropped later."""
        failures = 0
        while True:
            futures = [self._appender.append(self._keys.outbound_of(entry.topic), entry) for entry in entries]
            results = await asyncio.gather(*futures, return_exceptions=True)
            errors = [result for result in results if isinstance(result, BaseException)]
            if not errors:
                return
            if not isinstance(errors[0], LogUnavailable):
                raise errors[0]
            failures += 1
            await asyncio.sleep(backoff(failures))
