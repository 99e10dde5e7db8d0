"""Records into a sandbox: who takes which."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console.replay.answers import RecordedAnswers
from console.replay.differences import Tally
from console.replay.processing import Processing
from console.replay.routing import Moments, Routing
from console.replay.sandbox import Sandbox
from runtime.recording import Record
from schemas.events import EntryHandled
from schemas.keys import Keys


class Decided:
    """Hands records to processors and router, in order, and judges what they make of them. Raises RedisError."""

    def __init__(
        self,
        keys: Keys,
        sandbox: Sandbox,
        answers: RecordedAnswers | None,
        moments: Moments,
        tally: Tally,
        *,
        router: bool,
    ) -> None:
        """`keys`: those of the recording. `router`: whether all of every topic is there, so that it can be routed."""
        self.prefix = sandbox.keys.prefix
        """Of the sandbox's keys."""
        self.tally = tally
        self.positions: dict[str, str] = {}
        """The last stream id that was taken of each stream."""
        self._inbound = {keys.inbound(p) for p in range(keys.partitions)}
        self._outbound = {keys.outbound(p) for p in range(keys.partitions)}
        self._inbound_trails, self._outbound_trails = (
            {Keys.trail(log) for log in logs} for logs in (self._inbound, self._outbound)
        )
        self._processing = Processing(sandbox, answers, tally)
        self._routing = Routing(sandbox, moments, tally) if router else None
        self._unrouted: Sequence[Record] = ()
        """What the processors have decided and the router has yet to."""

    async def take(self, batch: Sequence[Record]) -> None:
        """What was recorded next. While the processors decide it the router decides what came before."""
        self.tally.read += len(batch)
        await self._processing.forget()
        routed = asyncio.create_task(self._route())
        try:
            await self._process(batch)
        finally:
            await routed
        self._unrouted = batch

    async def finish(self) -> None:
        """That was all."""
        await self._route()
        await self._processing.finish()
        await self._processing.forget()
        if self._routing is not None:
            self._routing.finish()

    async def _process(self, batch: Sequence[Record]) -> None:
        processing = self._processing
        for record in batch:
            self.positions[record.stream] = record.stream_id
            if _erased(record):
                self.tally.notes["erased"] += 1
            elif record.stream in self._inbound:
                await processing.inbound(record)
            elif record.stream in self._outbound:
                if record.entry.cause:
                    processing.output(record.entry)
            elif record.stream in self._inbound_trails:
                if isinstance(handled := record.event, EntryHandled):
                    await processing.trail(record.entry, handled)
                else:
                    self.tally.notes["not settled as far as can be read"] += 1

    async def _route(self) -> None:
        routing = self._routing
        if routing is None:
            return
        for record in self._unrouted:
            if record.stream in self._outbound:
                routing.erased(record.entry) if _erased(record) else routing.outbound(record)
            elif record.stream in self._outbound_trails and isinstance(handled := record.event, EntryHandled):
                routing.trail(record, handled)
        self._unrouted = ()
        await routing.route()


def _erased(record: Record) -> bool:
    return not record.entry.data
