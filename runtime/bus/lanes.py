"""Lanes: what has the same key is handled strictly in order, different keys side by side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import Final

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from runtime.backoff import backoff
from runtime.bus.appender import Appender
from runtime.bus.connection import is_away
from runtime.bus.outcomes import Outcome, Received, Verdict
from runtime.bus.quarantine import Place, Quarantine, Turn, turn_of
from runtime.bus.settle import Settler
from runtime.bus.trail import handled
from runtime.tasks import cancel
from runtime.telemetry import Attributes, OpenSpan, Telemetry
from schemas.entry import Entry
from schemas.errors import LogUnavailable
from schemas.keys import Keys
from schemas.traceparent import is_sampled

log = structlog.get_logger()

HANDLED = Counter("headgate_handled", "Outcomes of handled entries.", ["group", "verdict"])

#: A handler that has not answered after this long has failed (seconds); far above any timeout of what it asks.
HANDLER_TIMEOUT_S: Final = 120.0

#: How long others wait, at most, until what was handled alone is settled (seconds).
SETTLE_S: Final = 2.0

#: Attempts at an entry that fails begin so far apart: most of what makes an entry fail takes seconds to pass.
AGAIN_BASE_S: Final = 0.1

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
        held: Callable[[int], bool],
        begins: Callable[[int], bool],
        max_attempts: int,
        max_batch: int = 1,
        traced: bool = True,
        trailed: bool = False,
        window: int = 1000,
        quarantine: Quarantine | None = None,
    ) -> None:
        """`held`: whether a partition is still this process's; what was handled of another is not settled.

        `begins`: whether anything of it may be begun; what is queued of others is dropped.

        `trailed`: what becomes of each entry is left beside its log.

        `quarantine`: that of the process, if it has other groups.
        """
        self._group = group
        self._begins = begins
        self._held = held
        self._handler = handler
        self._key = key
        self._settler = settler
        self._appender = appender
        self._keys = keys
        self._telemetry = telemetry
        # The failure of a batch is put down to its first entry until that has failed by itself.
        self._max_attempts = max(2, max_attempts) if max_batch > 1 else max_attempts
        self._max_batch = max_batch
        self._traced = traced
        self._trailed = trailed
        self._window = window
        self._lanes: dict[str, deque[Received]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        """Set for a moment when partitions were lost or given up."""
        self._quarantine = quarantine or Quarantine()
        self._places: set[Place] = set()
        """Of those that wait for their turn there."""
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._verdicts = {verdict: HANDLED.labels(group, verdict.value) for verdict in Verdict}
        self._in_flight: dict[int, set[str]] = defaultdict(set)
        self._count = 0
        self._leaving: dict[int, asyncio.Event] = {}

    def has(self, partition: int, stream_id: str) -> bool:
        """Whether an entry is queued or being handled."""
        return stream_id in self._in_flight[partition]

    def submit(self, batch: Sequence[Received]) -> None:
        """Queue entries, in log order, each in its lane."""
        for received in batch:
            self._in_flight[received.partition].add(received.stream_id)
            self._count += 1
            key = self._key(received)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = deque()
                task = asyncio.create_task(self._run(key, lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            lane.append(received)
        if self._count >= self._window and not self._closing:
            self._room.clear()

    async def room(self) -> None:
        """Wait until fewer than the window's entries are in flight."""
        await self._room.wait()

    def space(self) -> int:
        """How many entries there is room for; negative when there are too many."""
        return self._window - self._count

    def close(self) -> None:
        """Let nobody wait for room any more: what is in flight may be waiting itself, and its reader is to end."""
        self._closing = True
        self._room.set()

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109  # of the lanes, not of this await
        """Let the lanes finish for at most `timeout` seconds, cancel the rest; gives how many were left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)
        left = self._count
        await cancel(*self._tasks)
        return left

    def ownership_changed(self) -> None:
        """Partitions were lost or given up: drop what is queued of them, without waiting for its next attempt."""
        self._moved.set()
        self._moved = asyncio.Event()
        for place in self._places:
            if not place.done():
                place.set_result(None)

    async def left(self, partition: int) -> None:
        """Wait until nothing of `partition` is queued or being handled."""
        while self._in_flight[partition]:
            await self._leaving.setdefault(partition, asyncio.Event()).wait()

    async def _run(self, key: str, lane: deque[Received]) -> None:
        failures, width = 0, self._max_batch
        while lane:
            first = lane[0]
            if not self._begins(first.partition):
                # They are pending in the group: the next owner begins with them.
                self._forget(lane)
                break
            verdict = await self._advance(lane, width)
            if verdict is Verdict.DONE:
                failures, width = 0, self._max_batch
                continue
            failures += 1
            if verdict is Verdict.AGAIN:
                lane[0] = await self._failed(lane[0])
                width = 1  # The entry that fails is found by itself, its neighbours are not blamed.
                await self._pause(first.partition, backoff(lane[0].attempt - 1, base=AGAIN_BASE_S))
            else:
                await self._pause(first.partition, backoff(failures))
        del self._lanes[key]

    async def _advance(self, lane: deque[Received], width: int) -> Verdict:
        """Handle and settle as many of a lane as go together, `width` at most; see `_next`."""
        first = lane[0]
        try:
            if first.attempt > self._most_attempts(first):
                await self._give_up(lane)
                return Verdict.DONE
            if first.suspect and first.attempt > 1:
                return await self._quarantined([first], [first], lane, alone=True)
            batch = list(takewhile(lambda one: not one.suspect or one.attempt == 1, islice(lane, width)))
            if suspects := [one for one in batch if one.suspect]:
                return await self._quarantined(suspects, batch, lane, alone=False)
            return await self._next(batch, lane)
        # Nobody waits for a lane: if a defect of ours ended it, what comes for it would wait for ever. It is an attempt
        # that failed at what is the first by now.
        except Exception:
            log.exception("lane.failed", group=self._group, type=first.entry.type, id=first.entry.id)
            return Verdict.AGAIN if lane else Verdict.LATER

    async def _next(self, batch: list[Received], lane: deque[Received], turn: Turn | None = None) -> Verdict:
        """Handle and settle the first entries of a lane; DONE if all of them are, else why the next one is not."""
        began = time.perf_counter()
        outcomes = await self._handle(batch)
        took = time.perf_counter() - began
        if turn is not None:  # What ends a process is its handler; Redis may take long.
            turn.end_within(SETTLE_S)
        for place, (received, outcome) in enumerate(zip(batch, outcomes, strict=False)):
            if not self._held(received.partition):
                return Verdict.LATER  # Another process has it by now.
            if not await self._settle(received, outcome, took):
                for unsettled in range(len(batch) - place):
                    lane[unsettled] = replace(lane[unsettled], redelivered=True)
                return outcome.verdict
            self._forget([lane.popleft()])
        return Verdict.DONE if len(outcomes) >= len(batch) else Verdict.LATER

    async def _quarantined(
        self, suspects: list[Received], batch: list[Received], lane: deque[Received], *, alone: bool
    ) -> Verdict:
        """`_next` in its turn, with the attempts at `suspects`, which are of `batch`, counted before they begin: they
        may end this process. What then was not tried is not counted."""
        place = self._quarantine.ask(alone=alone)
        self._places.add(place)
        try:
            turn = await turn_of(place)
        finally:
            self._places.discard(place)
        if turn is None:
            return Verdict.LATER
        verdict = Verdict.LATER
        try:
            await self._settler.count_attempts(suspects)
            if self._begins(batch[0].partition):  # Waiting and counting took their time.
                verdict = await self._next(batch, lane, turn)
            if alone:  # Whoever is next may end this process at once, before that is acknowledged.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._settler.flushed(), SETTLE_S)
        except Exception:
            verdict = Verdict.AGAIN
            raise
        finally:
            turn.end()
            if verdict is not Verdict.DONE:
                failed = lane[0].stream_id if lane and verdict is Verdict.AGAIN else ""
                left = [one for one in suspects if self.has(one.partition, one.stream_id)]
                await self._settler.count_attempts([one for one in left if one.stream_id != failed], -1)
        return verdict

    def _most_attempts(self, received: Received) -> int:
        """How many there may be. The first at a suspect is made with others, and must not be the last."""
        return max(2, self._max_attempts) if received.suspect else self._max_attempts

    async def _give_up(self, lane: deque[Received]) -> None:
        """Bury what was tried as often as may be, and was never settled."""
        received = lane[0]
        times = received.attempt - 1
        error = f"its process ended {times} times while handling it"
        if not received.suspect:
            error = f"it was tried {times} times, and each time its process ended, or failed, before it was settled"
        await self._settle(received, Outcome.dead(error), 0.0)
        self._forget([lane.popleft()])

    def _forget(self, entries: Collection[Received]) -> None:
        for received in entries:
            of_partition = self._in_flight[received.partition]
            of_partition.discard(received.stream_id)
            if not of_partition and (waits := self._leaving.pop(received.partition, None)):
                waits.set()
        self._count -= len(entries)
        if self._count < self._window:
            self._room.set()

    async def _pause(self, partition: int, seconds: float) -> None:
        if self._begins(partition):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._moved.wait()

    async def _failed(self, received: Received) -> Received:
        """`received` with one more failed attempt, which a next owner counts too."""
        if not received.suspect:
            await self._settler.count_attempts([received])
        return replace(received, attempt=received.attempt + 1)

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
            async with asyncio.timeout(HANDLER_TIMEOUT_S) as limit:
                return await self._handler(handed)
        except TimeoutError as error:
            failure = f"longer than {HANDLER_TIMEOUT_S:g} seconds" if limit.expired() else type(error).__name__
            return [Outcome.again(failure)]
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

    async def _settle(self, received: Received, outcome: Outcome, took: float) -> bool:
        """Emit and acknowledge as the outcome, which `took` seconds, says; False when it must be handled again."""
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
            if outcome.verdict is Verdict.AGAIN and not received.suspect:
                # Whoever finds it after this process has ended must not try again what its sender was told of.
                await self._settler.count_attempts([received])
            await self._emit(outcome.emits)
        trail = handled(self._group, received, outcome, verdict, took) if self._trailed else None
        if verdict is Verdict.DEAD:
            await self._settler.bury(received, outcome.error, trail)
        else:
            attempted = received.attempt > 1 or received.suspect or received.redelivered
            self._settler.acknowledge(received.partition, received.stream_id, attempted=attempted, trail=trail)
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
