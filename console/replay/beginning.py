"""Where a replay can begin: what is kept is not gone in one piece, and of the rest one half would lack the other."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final, NamedTuple

import redis.asyncio as aioredis

from processors.persistence.retention import LOOK_S, RetentionRules
from runtime.recording import LogRecording, Recording, Selection, recorded
from runtime.settings import Settings
from schemas.events import EVENTS, MessageReceived, WhisperReceived
from schemas.keys import Keys

#: What else is decided does not rest on these.
_BY_THEMSELVES: Final = frozenset({MessageReceived.TYPE, WhisperReceived.TYPE})


class Beginning(NamedTuple):
    """From when on all is there that belongs together."""

    since: int = 0
    """Unix ms; 0: from the first entry."""
    why: str = ""
    """As a note says it."""
    parts: int = 0
    """How many streams or types are gone in part."""

    def of(self, wanted: Selection) -> Selection:
        """`wanted`, from there on."""
        return replace(wanted, since=self.since, since_seq=0) if self.since > (wanted.since or 0) else wanted


async def beginning(source: Recording, settings: Settings, client: aioredis.Redis, keys: Keys) -> Beginning:
    """Where a replay of `source` can begin; `client`: of the log. Raises RedisError."""
    return await _of_log(client, keys) if isinstance(source, LogRecording) else _of_archive(settings)


async def _of_log(client: aioredis.Redis, keys: Keys) -> Beginning:
    """Each stream is trimmed by itself, some blocks at a time: all are whole from where the last one begins."""
    pipeline = client.pipeline(transaction=False)
    for stream in recorded(keys):
        pipeline.xinfo_stream(stream)
    found: list[Any] = await pipeline.execute(raise_on_error=False)
    # Those that do not exist are errors; before Redis 7 nothing says whether a stream was trimmed.
    trimmed = [one for one in found if isinstance(one, dict) and one.get("entries-added", 0) > one["length"]]
    since = max(map(_first, trimmed), default=0)
    why = "streams that were trimmed: what is before the latest of their beginnings is left out"
    return Beginning(since, why, len(trimmed))


def _first(info: Any) -> int:
    """From when on (Unix ms) a stream that was trimmed is whole."""
    first = info["first-entry"][0] if info["first-entry"] else info["last-generated-id"]
    at, _, number = first.decode().partition("-")
    return int(at) + (not info["first-entry"] or number != "0")


def _of_archive(settings: Settings) -> Beginning:
    """Types are kept for times of their own: all are there from where the shortest has its beginning."""
    rules = RetentionRules(settings.archive_retention)
    kept = [rules.seconds(name) for name in EVENTS if name not in _BY_THEMSELVES and "delivery." not in name]
    times = [seconds for seconds in kept if seconds is not None]
    if not times:
        return Beginning()
    since = max(0, int((time.time() - min(times) + LOOK_S) * 1000))
    why = "types that are not kept for ever: what is before the shortest time is left out"
    return Beginning(since, why, len(times))
