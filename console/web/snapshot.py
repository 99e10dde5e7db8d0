"""What Redis knows of a running Headgate at one moment: streams, groups, leases, gateways, sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from console.records import order
from runtime.bus.cluster import masters
from runtime.bus.trim import removed_groups
from runtime.gateways import LOST, Gateways
from schemas.groups import INBOUND, OUTBOUND
from schemas.keys import Keys

#: Gateways of which more is looked up than their names.
MOST_GATEWAYS: Final = 64


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, as it is."""

    length: int = 0
    added: int = 0
    """Entries that were ever appended."""
    first_ms: int | None = None
    """When its oldest entry was appended (Unix ms)."""


@dataclass(frozen=True, slots=True)
class Share:
    """One partition of one group."""

    name: str
    """The log's short name, such as `in:3`."""
    pending: int
    """Entries that were read and are not acknowledged."""
    unread: int
    oldest_ms: int | None
    """When the oldest of all these was appended (Unix ms)."""
    owner: str
    """The process that has the lease; empty: nobody has."""

    @property
    def lag(self) -> int:
        """Entries that are not handled."""
        return self.pending + self.unread


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group, over all partitions."""

    name: str
    log: str
    """`in`, `out`, or the same with `:datagrams`."""
    processes: int
    shares: tuple[Share, ...]

    @property
    def pending(self) -> int:
        """Entries that were read and are not acknowledged."""
        return sum(share.pending for share in self.shares)

    @property
    def unread(self) -> int:
        """Entries that were not read."""
        return sum(share.unread for share in self.shares)

    @property
    def lag(self) -> int:
        """Entries that are not handled."""
        return self.pending + self.unread

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of these was appended (Unix ms)."""
        return min((share.oldest_ms for share in self.shares if share.oldest_ms is not None), default=None)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway on the list."""

    name: str
    beat_ms: int | None
    """Its last sign of life (Unix ms); None: it was declared lost."""
    sessions: int
    """Sessions that are connected to it."""
    delivery: Stream
    """Its delivery stream."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment."""

    now_ms: int
    """By the clock of Redis (Unix ms)."""
    streams: dict[str, Stream]
    """By short names: `in:3`, `out:0:datagrams`."""
    groups: tuple[Group, ...]
    gateways: tuple[Gateway, ...]
    sessions: int
    waiting: int
    """Sessions among them that have no connection and may be resumed."""
    channels: int
    dead: int
    memory: int
    """Bytes that the Redis servers use."""
    memory_limit: int
    """Bytes that they may use; 0: no limit is set."""

    def added(self, kind: str) -> int:
        """Entries ever appended to the logs of a kind: `in`, `out`, `datagrams` or `deliveries`."""
        if kind == "deliveries":
            return sum(gateway.delivery.added for gateway in self.gateways)
        if kind == "datagrams":
            return sum(one.added for name, one in self.streams.items() if name.endswith(":datagrams"))
        return sum(
            one.added for name, one in self.streams.items() if name.startswith(f"{kind}:") and name.count(":") == 1
        )


def logs_of(keys: Keys) -> dict[str, str]:
    """Every log's key, by its short name."""
    logs = {
        f"{direction}:{partition}": make(partition)
        for direction, make in (("in", keys.inbound), ("out", keys.outbound))
        for partition in range(keys.partitions)
    }
    return logs | {f"{short}:datagrams": Keys.datagrams(key) for short, key in logs.items()}


async def look(client: aioredis.Redis, keys: Keys) -> Snapshot:
    """Look at everything, in a few round trips whatever there is. Raises RedisError."""
    seconds, micros = await client.time()
    logs = logs_of(keys)
    async with client.pipeline(transaction=False) as pipeline:
        for key in logs.values():
            pipeline.xinfo_stream(key)
            pipeline.xinfo_groups(key)
            pipeline.xlen(Keys.dead(key))
        for partition in range(keys.partitions):
            pipeline.hlen(keys.sessions(partition))
            pipeline.hlen(keys.channels(partition))
            pipeline.zcard(keys.disconnected(keys.inbound(partition)))
        # A log that is not there yet is an error in its place.
        answers = await pipeline.execute(raise_on_error=False)
    per_log, per_partition = answers[: 3 * len(logs)], answers[3 * len(logs) :]
    streams = {short: _stream(info) for short, info in zip(logs, per_log[::3], strict=True)}
    infos = {
        short: () if isinstance(found, RedisError) else found for short, found in zip(logs, per_log[1::3], strict=True)
    }
    used, limit = await _memory(client)
    return Snapshot(
        now_ms=seconds * 1000 + micros // 1000,
        streams=streams,
        groups=await _groups(client, keys, logs, infos, streams),
        gateways=await _gateways(client, keys),
        sessions=sum(map(_number, per_partition[::3])),
        waiting=sum(map(_number, per_partition[2::3])),
        channels=sum(map(_number, per_partition[1::3])),
        dead=sum(map(_number, per_log[2::3])),
        memory=used,
        memory_limit=limit,
    )


def _number(answer: Any) -> int:
    if isinstance(answer, RedisError):
        raise answer
    return int(answer)


def _stream(info: Any) -> Stream:
    if isinstance(info, RedisError):
        return Stream()
    first = info["first-entry"]
    oldest = order(first[0].decode())[0] if first else None
    # Redis before 7 does not count what was added: then it is what there is.
    return Stream(info["length"], info.get("entries-added", info["length"]), oldest)


async def _memory(client: aioredis.Redis) -> tuple[int, int]:
    infos = [await server.info("memory") for server in await masters(client)]
    return sum(info["used_memory"] for info in infos), sum(info.get("maxmemory", 0) for info in infos)


async def _groups(
    client: aioredis.Redis, keys: Keys, logs: dict[str, str], infos: dict[str, Any], streams: dict[str, Stream]
) -> tuple[Group, ...]:
    found = [(short, info) for short, every in infos.items() for info in every]
    async with client.pipeline(transaction=False) as pipeline:
        for short, info in found:
            name = info["name"].decode()
            pipeline.xrange(logs[short], f"({info['last-delivered-id'].decode()}", "+", count=1)
            pipeline.xpending(logs[short], name)
            pipeline.get(Keys.lease(logs[short], name))
        answers = await pipeline.execute(raise_on_error=False)
    shares: dict[tuple[str, str], list[Share]] = {}
    removed = await removed_groups(client, keys)
    for log, names in (("in", INBOUND), ("out", OUTBOUND)):
        shares |= {(name, log): [] for name in names if name not in removed}
    for number, (short, info) in enumerate(found):
        unread, pending, lease = answers[3 * number : 3 * number + 3]
        if isinstance(unread, RedisError) or isinstance(pending, RedisError):
            continue  # Removed between the two looks.
        share = _share(short, info, streams[short], unread, pending, lease)
        shares.setdefault((info["name"].decode(), _log_of(short)), []).append(share)
    async with client.pipeline(transaction=False) as pipeline:
        for name, _ in shares:
            pipeline.zcard(keys.members(name))
        members = await pipeline.execute() if shares else []
    return tuple(
        Group(name, log, count, tuple(parts))
        for ((name, log), parts), count in zip(shares.items(), members, strict=True)
    )


def _share(short: str, info: Any, stream: Stream, unread: Sequence[Any], pending: Any, lease: Any) -> Share:
    needs = [order(unread[0][0].decode())[0]] if unread else []
    if pending["pending"]:
        needs.append(order(pending["min"].decode())[0])
    # Redis does not know the lag after some deletions (https://redis.io/docs/latest/commands/xinfo-groups/).
    lag = info.get("lag")
    owner = lease.decode().partition(":")[0] if isinstance(lease, bytes) else ""
    return Share(
        name=short,
        pending=pending["pending"],
        unread=(lag if lag is not None else stream.length) if unread else 0,
        oldest_ms=min(needs, default=None),
        owner=owner,
    )


def _log_of(short: str) -> str:
    direction, _, rest = short.partition(":")
    return f"{direction}:datagrams" if rest.endswith(":datagrams") else direction


async def _gateways(client: aioredis.Redis, keys: Keys) -> tuple[Gateway, ...]:
    beats = sorted((await Gateways(client, keys).beats()).items())[:MOST_GATEWAYS]
    async with client.pipeline(transaction=False) as pipeline:
        for name, _ in beats:
            pipeline.xinfo_stream(keys.delivery(name))
            for partition in range(keys.partitions):
                pipeline.hlen(keys.connected(keys.inbound(partition), name))
        answers = await pipeline.execute(raise_on_error=False) if beats else []
    width = keys.partitions + 1
    return tuple(
        Gateway(
            name,
            None if beat == LOST else int(beat),
            sum(map(_number, answers[width * place + 1 : width * (place + 1)])),
            _stream(answers[width * place]),
        )
        for place, (name, beat) in enumerate(beats)
    )
