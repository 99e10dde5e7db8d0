"""The readers of a group: one, or one for all that a command can be about where that is not everything.

A command in a cluster is about keys of one slot, also when other slots are on the same node, and so is a read that
waits. So each partition has a connection of its own there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import redis.asyncio as aioredis

from runtime.bus.cluster import together
from runtime.bus.reader import Reader


class Readers:
    """Several readers behind the interface of one."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers

    @property
    def identity(self) -> str:
        """The connections that are read with, separated by commas."""
        return ",".join(reader.identity for reader in self._readers)

    def problem(self) -> str | None:
        """Why one of them reads nothing although its server answers, or None."""
        return next((problem for reader in self._readers if (problem := reader.problem()) is not None), None)

    def ownership_changed(self) -> None:
        """Tell them to look at what is owned again at once."""
        for reader in self._readers:
            reader.ownership_changed()

    def gained(self, partitions: Collection[int]) -> None:
        """`partitions` are ours from now on, perhaps again: begin with what is pending."""
        for reader in self._readers:
            reader.gained(partitions)

    async def turned(self) -> None:
        """Wait until nothing is being read that was asked for before this call."""
        await asyncio.gather(*(reader.turned() for reader in self._readers))

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping`."""
        async with asyncio.TaskGroup() as running:
            for reader in self._readers:
                running.create_task(reader.run(stopping))


def readers(client: aioredis.Redis, logs: Sequence[str], group: str, **options: Any) -> Reader | Readers:
    """Readers of `logs` as the server of `client` can be asked; `options` as `Reader` takes them."""
    parts = together(client, logs)
    if len(parts) == 1:
        return Reader(client, logs, group, **options)
    return Readers([Reader(client, logs, group, of=part, **options) for part in parts])
