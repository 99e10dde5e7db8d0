"""A stand-in for processors and router: says yes to every session, and publishes what a bench asks for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio as aioredis

from runtime.bus.cursor import follow
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthRequested,
    Event,
    PublicationDelivery,
    SubscribedDelivery,
    SubscribeRequested,
)
from schemas.ids import derived
from schemas.keys import Keys
from schemas.topics import channel_topic, session_topic, user_topic

EPOCH: Final = "bench"
_CONTENT: Final = "x" * 40


class StandInRouter:
    """Reads the inbound log only while it is asked to, so that it costs nothing while others are measured."""

    def __init__(self, log: aioredis.Redis, keys: Keys) -> None:
        self._log = log
        self._keys = keys
        self._offsets: Counter[str] = Counter()
        self._gateways: set[str] = set()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Authenticate and subscribe whoever asks until the block ends."""
        seconds, micros = await self._log.time()
        start = f"{seconds * 1000 + micros // 1000}-0"
        logs = [self._keys.inbound(partition) for partition in range(self._keys.partitions)]
        task = asyncio.create_task(self._answer(dict.fromkeys(logs, start)))
        try:
            yield
        finally:
            await cancel(task)

    async def publish(self, channel: str) -> None:
        """Put one publication on the delivery stream of every gateway that was answered to."""
        self._offsets[channel] += 1
        frame = {"type": "channel_broadcast", "channel": channel, "event": "bench", "data": {"content": _CONTENT}}
        event = PublicationDelivery(frame=frame, epoch=EPOCH, offset=self._offsets[channel])
        entry = Entry.of(
            event,
            id=derived(channel, self._offsets[channel]),
            ts=time.time_ns() // 1_000_000,
            topic=channel_topic(channel),
        )
        await self._append([(gateway, entry) for gateway in self._gateways])

    async def _answer(self, start: dict[str, str]) -> None:
        async for batch in follow(self._log, start):
            answers = []
            for _, _, entry in batch:
                for answer in self._answers_to(entry):
                    self._gateways.add(entry.gateway)
                    answers.append((entry.gateway, answer))
            if answers:
                await self._append(answers)

    def _answers_to(self, entry: Entry) -> list[Entry]:
        event: Event = entry.event()
        if isinstance(event, AuthRequested):
            granted = AuthenticatedDelivery(
                user=entry.session, protocol=event.protocol, stream=event.stream, frame_id=event.frame_id
            )
            joined = SubscribedDelivery(epoch=EPOCH, offset=0)
            return [
                entry.follow("auth", granted, topic=session_topic(entry.session)),
                entry.follow("joined", joined, topic=user_topic(entry.session)),
            ]
        if isinstance(event, SubscribeRequested):
            subscribed = SubscribedDelivery(
                epoch=EPOCH, offset=self._offsets[event.channel], stream=event.stream, frame_id=event.frame_id
            )
            return [entry.follow("subscribed", subscribed, topic=channel_topic(event.channel))]
        return []

    async def _append(self, deliveries: Sequence[tuple[str, Entry]]) -> None:
        pipeline = self._log.pipeline(transaction=False)
        for gateway, entry in deliveries:
            pipeline.execute_command("XADD", self._keys.delivery(gateway), "*", *entry.fields())
        await pipeline.execute()
