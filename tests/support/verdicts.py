"""An application that knows everybody: answers what gateways ask on the log, in place of processors and router."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

import redis.asyncio as aioredis

from runtime.bus.cursor import follow
from runtime.tasks import cancel
from schemas.entry import Entry
from schemas.events import (
    AuthenticatedDelivery,
    AuthRequested,
    DatagramDelivery,
    Event,
    PublicationDelivery,
    SubscribedDelivery,
    SubscribeRequested,
)
from schemas.keys import Keys
from schemas.topics import channel_topic, session_topic, user_topic

EPOCH: Final = "epoch"
USER: Final = "user"


class Verdicts:
    """Lets every token in, grants every channel, and publishes to one gateway, until the block ends."""

    def __init__(self, redis_url: str, keys: Keys, gateway: str) -> None:
        self._client: aioredis.Redis = aioredis.Redis.from_url(redis_url)
        self._keys = keys
        self._gateway = gateway
        self._ids = itertools.count(1)
        self._published: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._answer_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cancel(self._task)
        await self._client.aclose()

    async def publish(self, channel: str, frames: list[dict[str, Any]]) -> None:
        """Deliver frames to the members of a channel."""
        pipeline = self._client.pipeline(transaction=False)
        for frame in frames:
            self._published[channel] += 1
            event = PublicationDelivery(frame=frame, epoch=EPOCH, offset=self._published[channel])
            self._add(pipeline, event, self._gateway, topic=channel_topic(channel))
        await pipeline.execute()

    async def scatter(self, channel: str, frames: list[dict[str, Any]]) -> None:
        """Deliver frames to the members of a channel as datagrams."""
        pipeline = self._client.pipeline(transaction=False)
        for frame in frames:
            self._add(pipeline, DatagramDelivery(frame=frame), self._gateway, topic=channel_topic(channel))
        await pipeline.execute()

    async def logged(self, kind: str) -> int:
        """How many entries of a type are on the inbound logs."""
        found = 0
        for partition in range(self._keys.partitions):
            entries: Any = await self._client.xrange(self._keys.inbound(partition))
            found += sum(fields[b"type"].decode() == kind for _, fields in entries)
        return found

    async def _answer_all(self) -> None:
        logs = {self._keys.inbound(partition): "0" for partition in range(self._keys.partitions)}
        async for batch in follow(self._client, logs):
            pipeline = self._client.pipeline(transaction=False)
            for _, _, entry in batch:
                self._answer(pipeline, entry)
            await pipeline.execute()

    def _answer(self, pipeline: Any, entry: Entry) -> None:
        event = entry.event()
        if isinstance(event, AuthRequested):
            verdict = AuthenticatedDelivery(
                user=USER, protocol=event.protocol, stream=event.stream, frame_id=event.frame_id
            )
            self._add(pipeline, verdict, entry.gateway, topic=session_topic(entry.session), session=entry.session)
            joined = SubscribedDelivery(epoch=EPOCH, offset=0)
            self._add(pipeline, joined, entry.gateway, topic=user_topic(USER), session=entry.session)
        elif isinstance(event, SubscribeRequested):
            grant = SubscribedDelivery(
                epoch=EPOCH, offset=self._published[event.channel], stream=event.stream, frame_id=event.frame_id
            )
            self._add(pipeline, grant, entry.gateway, topic=channel_topic(event.channel), session=entry.session)

    def _add(self, pipeline: Any, event: Event, gateway: str, **context: str) -> None:
        entry = Entry.of(event, id=f"verdict-{next(self._ids)}", ts=0, gateway=gateway, **context)
        fields = entry.fields()
        pipeline.xadd(self._keys.delivery(gateway), dict(zip(fields[::2], fields[1::2], strict=True)))
