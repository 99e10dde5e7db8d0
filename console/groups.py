"""`headgate groups`: who reads the log, how far they are behind, and removing one that nobody needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio as aioredis
import typer
from redis.exceptions import ResponseError
from rich.console import Console
from rich.table import Table

from console.log import opened_log
from console.records import order
from runtime.bus.trim import removed_groups
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.groups import FORWARDER, INBOUND, OUTBOUND
from schemas.keys import Keys
from schemas.readable import to_json


@dataclass(slots=True)
class Group:
    """One group over all partitions that have it."""

    name: str
    log: str
    """`in`, `out`, or the same with `:datagrams` or `:trail`."""
    members: int
    """Processes that consume for it now."""
    pending: int = 0
    """Entries that were read and are not acknowledged."""
    unread: int = 0
    """Entries that were not read."""
    oldest: int | None = None
    """When the oldest of all these was appended (Unix ms)."""


async def groups(client: aioredis.Redis, keys: Keys, *, forwarded: bool) -> list[Group]:
    """Every group there is, and those that are missing although the log is kept for them. Raises RedisError.

    `forwarded`: whether that is so of the one that hands over by HTTP.
    """
    found: dict[tuple[str, str], Group] = {}
    removed = await removed_groups(client, keys)
    for name, log in [*((name, "in") for name in INBOUND), *((name, "out") for name in OUTBOUND)]:
        if name not in removed and (name != FORWARDER or forwarded):
            found[log, name] = Group(name, log, await _members(client, keys, name))
    for log, stream in _streams(keys):
        for info in await _info(client, stream):
            name = info["name"].decode()
            if (log, name) not in found:
                found[log, name] = Group(name, log, await _members(client, keys, name))
            await _add(client, stream, info, found[log, name])
    return list(found.values())


async def _add(client: aioredis.Redis, stream: str, info: dict[str, Any], group: Group) -> None:
    last = info["last-delivered-id"].decode()
    unread = cast("Any", await client.xrange(stream, f"({last}", "+", count=1))
    needs = [order(unread[0][0].decode())[0]] if unread else []
    if unread:
        # Redis does not know the lag after some deletions (https://redis.io/docs/latest/commands/xinfo-groups/).
        lag = info.get("lag")
        group.unread += lag if lag is not None else len(cast("Any", await client.xrange(stream, f"({last}")))
    if info["pending"]:
        group.pending += info["pending"]
        needs.append(order((await client.xpending(stream, group.name))["min"].decode())[0])
    group.oldest = min(needs + ([] if group.oldest is None else [group.oldest]), default=None)


async def _members(client: aioredis.Redis, keys: Keys, group: str) -> int:
    return int(await client.zcard(keys.members(group)))


async def _info(client: aioredis.Redis, stream: str) -> Sequence[dict[str, Any]]:
    try:
        return await client.xinfo_groups(stream)
    except ResponseError:  # There is no such log yet.
        return []


def _streams(keys: Keys) -> list[tuple[str, str]]:
    logs = [("in", keys.inbound(p)) for p in range(keys.partitions)]
    logs += [("out", keys.outbound(p)) for p in range(keys.partitions)]
    beside = (("datagrams", Keys.datagrams), ("trail", Keys.trail))
    return logs + [(f"{log}:{name}", make(stream)) for name, make in beside for log, stream in logs]


async def list_groups(json: bool) -> None:
    """Print every group: its processes, and what it has not handled."""
    settings = Settings()
    async with opened_log(settings) as (client, keys):
        seconds, microseconds = await client.time()
        now = seconds * 1000 + microseconds // 1000
        found = await groups(client, keys, forwarded=settings.laravel_via == "http")
    rows = [
        {
            "group": one.name,
            "log": one.log,
            "processes": one.members,
            "pending": one.pending,
            "unread": one.unread,
            "age_seconds": 0 if one.oldest is None else max(0, now - one.oldest) / 1000,
        }
        for one in found
    ]
    if json:
        for row in rows:
            sys.stdout.buffer.write(to_json(row) + b"\n")
        return
    table = Table(box=None, pad_edge=False)
    for title in rows[0]:
        table.add_column(title.replace("_", " "), justify="left" if title in ("group", "log") else "right")
    for row in rows:
        table.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(highlight=False).print(table)


async def remove(name: str) -> None:
    """Remove a group from every log. Raises ConfigurationError while processes consume for it."""
    async with opened_log(Settings()) as (client, keys):
        if await _members(client, keys, name):
            raise ConfigurationError(f"processes consume for the group {name}: stop them first")
        await client.sadd(keys.removed_groups(), name)
        destroyed = 0
        for _, stream in _streams(keys):
            if any(info["name"] == name.encode() for info in await _info(client, stream)):
                destroyed += await client.xgroup_destroy(stream, name)
    typer.echo(f"removed from {destroyed} logs" if destroyed else f"no log has the group {name}; none waits for it now")
