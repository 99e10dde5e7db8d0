"""The FastStream application around a service's consumer groups.

FastStream brings the life cycle, the control stream with its validation and dependency injection, and AsyncAPI. The
ordered reading of the log is ours (runtime.bus), because FastStream re-reads no pending entries and knows no order
per key (docs/decisions/0001-faststream-around-our-reader.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

import structlog
from faststream import FastStream
from faststream.redis import RedisBroker, RedisClusterBroker, RedisSentinelBroker, StreamSub
from faststream.security import SASLPlaintext
from faststream.specification import AsyncAPI
from pydantic import BaseModel

from runtime.bus.connection import BLOCK_MS
from runtime.bus.group import ConsumerGroup
from runtime.bus.servers import nodes_of, sentinels_of
from runtime.settings import Settings
from schemas.events import Event

log = structlog.get_logger()


class Control(BaseModel):
    """A command on the control stream, for every process: `XADD hg:control * command pause group laravel`."""

    command: Literal["pause", "resume"]
    group: str


class StreamApplication:
    """A FastStream application that runs `groups`; a Component."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        groups: Sequence[ConsumerGroup],
        *,
        reads: Mapping[str, Sequence[type[Event]]],
        writes: Mapping[str, Sequence[type[Event]]],
    ) -> None:
        """`reads` and `writes` name the streams and events that belong in the AsyncAPI document."""
        self.groups = {group.group: group for group in groups}
        self._settings, self._name, self._reads, self._writes = settings, name, reads, writes
        broker = _broker(settings.redis_url)
        self._take_control(broker)
        self._app = FastStream(broker, logger=None, on_startup=[self._start_groups], on_shutdown=[self._stop_groups])

    def asyncapi(self) -> str:
        """The AsyncAPI 3 document, as JSON."""
        return self._document

    @cached_property
    def _document(self) -> str:
        # It is made of a broker that is never started: subscribers that only describe what our reader reads.
        broker = _broker(self._settings.redis_url)
        self._take_control(broker)
        for key, events in self._reads.items():
            for event in events:
                broker.subscriber(
                    stream=StreamSub(key),
                    no_reply=True,
                    title=f"receive.{event.TYPE}",
                    description=f"{self._name} reads it",
                )(_takes(event))
        for key, events in self._writes.items():
            for event in events:
                broker.publisher(
                    stream=key, schema=event, title=f"send.{event.TYPE}", description=f"{self._name} writes it"
                )
        specification = AsyncAPI(title=f"Headgate {self._name}", version="1")
        return str(FastStream(broker, logger=None, specification=specification).schema.to_specification().to_json())

    def problem(self) -> str | None:
        """Why a group does not run, or None."""
        return next((problem for group in self.groups.values() if (problem := group.problem())), None)

    async def start(self) -> None:
        """Start FastStream and with it the groups."""
        await self._app.start()

    async def stop(self) -> None:
        """Drain the groups, stop FastStream."""
        await self._app.stop()

    def _take_control(self, broker: RedisBroker) -> None:
        broker.subscriber(
            stream=StreamSub(self._settings.keys.control(), last_id="$", polling_interval=BLOCK_MS),
            no_reply=True,
            title="control",
            description="Pauses and resumes a consumer group on every process.",
        )(self._control)

    async def _start_groups(self) -> None:
        for group in self.groups.values():
            await group.start()

    async def _stop_groups(self) -> None:
        # Side by side: each may take the whole drain time.
        await asyncio.gather(*(group.stop() for group in self.groups.values()))

    async def _control(self, control: Control) -> None:
        group = self.groups.get(control.group)
        if group is not None:
            group.pause(control.command == "pause")
            log.warning("group.control", group=control.group, command=control.command)


def _takes(event: type[Event]) -> Callable[[Event], Awaitable[None]]:
    async def take(entry: Event) -> None:
        """Nothing."""

    take.__annotations__["entry"] = event
    return take


def _broker(url: str) -> RedisBroker:
    logger = logging.getLogger("headgate.faststream")
    if (nodes := nodes_of(url)) is not None:
        addresses = [(node.hostname or "", node.port or 6379) for node in map(urlsplit, nodes[1:])]
        return RedisClusterBroker(nodes[0], startup_nodes=addresses, logger=logger)
    where = sentinels_of(url)
    if where is None:
        return RedisBroker(url, logger=logger)
    return RedisSentinelBroker(
        sentinels=where.addresses,
        sentinel_master_name=where.name,
        db=where.database,
        security=SASLPlaintext(where.username or "default", where.password) if where.password else None,
        logger=logger,
    )
