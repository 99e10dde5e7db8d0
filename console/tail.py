"""Following the log from a terminal."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from fnmatch import fnmatchcase

import redis.asyncio as aioredis

from console.log import keys_of_log
from console.output import Write
from console.records import order, streams
from runtime.bus.cursor import Batch, follow
from runtime.bus.servers import connect
from runtime.recording import topic_of
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.entry import Entry


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted; an empty field wants all."""

    session: str = ""
    """A session id, or the end of one as `headgate tail` shows it."""
    type: str = ""
    """An event type, such as `message.received`; `*` and `?` stand for anything."""
    topic: str = ""
    """A topic, such as `channel:lobby`; `*` and `?` stand for anything."""

    def wants(self, entry: Entry) -> bool:
        """Whether `entry` passes."""
        return (
            entry.session.endswith(self.session)
            and (not self.type or fnmatchcase(entry.type, self.type))
            and (not self.topic or fnmatchcase(topic_of(entry), self.topic))
        )


@dataclass(frozen=True, slots=True)
class Options:
    """What is followed, from where, until when."""

    wanted: Filter = Filter()
    datagrams: bool = False
    """The datagram logs too."""
    from_start: bool = False
    """From the oldest entry that is kept; otherwise only what comes."""
    limit: int | None = None
    """End after so many entries; None follows on."""


async def tail(settings: Settings, write: Write, options: Options) -> None:
    """Give every wanted entry to `write` as it is appended, until the limit, SIGINT or SIGTERM.

    Entries of one partition come in the order of the log; those of several partitions that are read together
    are sorted by the time of their append. Raises LogUnavailable when the server does not answer at first.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = connect(settings)
    following = asyncio.create_task(_follow(client, settings, write, options))
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({following, asked}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            await following
    finally:
        await cancel(following, asked)
        await client.aclose()


async def _follow(client: aioredis.Redis, settings: Settings, write: Write, options: Options) -> None:
    logs = streams(await keys_of_log(client, settings), datagrams=options.datagrams)
    left = options.limit
    async for batch in follow(client, dict.fromkeys(logs, "0" if options.from_start else "$")):
        given = _give(batch, write, options.wanted, left)
        left = None if left is None else left - given
        if left == 0:
            return


def _give(batch: Batch, write: Write, wanted: Filter, most: int | None) -> int:
    found = [item for item in sorted(batch, key=lambda item: order(item[1])) if wanted.wants(item[2])]
    chosen = found[:most]
    for item in chosen:
        write(*item)
    return len(chosen)
