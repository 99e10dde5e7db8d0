"""Records of the log as people and programs get them: stream key, stream id and the entry as plain values."""

from __future__ import annotations

from typing import Any

from schemas.entry import Entry
from schemas.keys import Keys


def streams(keys: Keys, *, datagrams: bool) -> list[str]:
    """Every inbound and outbound log, and their datagram logs if `datagrams`."""
    logs = [log(partition) for log in (keys.inbound, keys.outbound) for partition in range(keys.partitions)]
    return logs + [Keys.datagrams(log) for log in logs] if datagrams else logs


def record(stream: str, stream_id: str, entry: Entry) -> dict[str, Any]:
    """`{stream, redis_id, entry}` with the entry as schemas.entry.Entry.readable gives it."""
    return {"stream": stream, "redis_id": stream_id, "entry": entry.readable()}


def order(stream_id: str) -> tuple[int, int]:
    """What sorts stream ids of several streams: the time of the append in ms, the number in it."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)
