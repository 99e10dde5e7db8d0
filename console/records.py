"""Records of the log as people and programs get them: stream key, stream id and the entry as plain values."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from schemas.entry import Entry
from schemas.errors import InvalidEntry
from schemas.keys import Keys
from schemas.topics import channel_topic


def streams(keys: Keys, *, datagrams: bool) -> list[str]:
    """Every inbound and outbound log, and their datagram logs if `datagrams`."""
    logs = [log(partition) for log in (keys.inbound, keys.outbound) for partition in range(keys.partitions)]
    return logs + [Keys.datagrams(log) for log in logs] if datagrams else logs


def record(stream: str, stream_id: str, entry: Entry) -> dict[str, Any]:
    """`{stream, redis_id, entry}` with the entry as schemas.entry.Entry.readable gives it."""
    return {"stream": stream, "redis_id": stream_id, "entry": entry.readable()}


def to_json(value: object) -> bytes:
    """`value` as a line of JSON; raw bytes become `{"base64": …}`, what has no JSON form becomes its text."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # Deeper than orjson goes, or with keys it cannot write.
        return orjson.dumps({"unreadable": repr(value)[:1000]})


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def order(stream_id: str) -> tuple[int, int]:
    """What sorts stream ids of several streams: the time of the append in ms, the number in it."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)


def topic_of(entry: Entry) -> str:
    """Its topic; for an inbound entry about a channel, the channel's."""
    if entry.topic:
        return entry.topic
    try:
        data = entry.payload()
    except InvalidEntry:
        return ""
    channel = data.get("channel") if isinstance(data, dict) else None
    return channel_topic(channel) if isinstance(channel, str) else ""
