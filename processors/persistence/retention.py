"""How long entries stay in the archive: by type, and never shorter than the log needs them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

import redis.asyncio as aioredis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from processors.persistence.reader import ArchiveReader
from processors.persistence.store import Archive
from runtime.bus.handled import oldest_needed
from runtime.bus.trim import removed_groups
from runtime.settings import Settings
from runtime.tasks import cancel
from schemas.errors import ConfigurationError, HeadgateError
from schemas.events import EVENTS

log = structlog.get_logger()

EXPIRED = Counter("headgate_archive_expired", "Entries removed from the archive after HEADGATE_ARCHIVE_RETENTION.")

#: Seconds between two looks for what is too old.
LOOK_S: Final = 60.0
#: Entries that one transaction removes at most: whoever has to write waits so long and no longer.
BATCH: Final = 500
#: Of the time, the share that removing may take: the archive is there to be written.
SHARE: Final = 0.2

_RULE: Final = re.compile(r"(?P<type>[a-z_.*?]+)=(?P<number>[1-9]\d{0,5})(?P<unit>[smhd])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class RetentionRules:
    """The longest pattern that a type fits decides; what fits none is kept for ever."""

    def __init__(self, rules: Sequence[str]) -> None:
        """`rules`: `TYPE=TIME`, such as `*=30d`, where `*` and `?` stand for anything. Raises ConfigurationError."""
        parsed = [_parsed(rule) for rule in rules]
        self._rules = sorted(parsed, key=lambda rule: (not _is_pattern(rule[0]), len(rule[0])), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def seconds(self, type_: str) -> int | None:
        """How long entries of `type_` are kept; None: for ever."""
        return next((seconds for pattern, seconds in self._rules if fnmatchcase(type_, pattern)), None)


def _is_pattern(text: str) -> bool:
    return any(wildcard in text for wildcard in "*?")


def _parsed(rule: str) -> tuple[str, int]:
    found = _RULE.match(rule)
    if found is None:
        raise ConfigurationError(
            f"HEADGATE_ARCHIVE_RETENTION: {rule[:80]!r} is no rule: write TYPE=TIME, as in *=30d or whisper.*=12h"
        )
    if not any(fnmatchcase(name, found["type"]) for name in EVENTS):
        raise ConfigurationError(f"HEADGATE_ARCHIVE_RETENTION: {rule[:80]!r}: there is no event type {found['type']}")
    return found["type"], int(found["number"]) * _SECONDS[found["unit"]]


class Retention:
    """Removes what is too old; a Component."""

    def __init__(
        self, rules: RetentionRules, archive: Archive, reader: ArchiveReader, client: aioredis.Redis, settings: Settings
    ) -> None:
        """`client` and `settings`: of the log, whose clock counts and whose groups may need what is archived."""
        self._rules = rules
        self._archive = archive
        self._reader = reader
        self._client = client
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """Why nothing is removed any more, or None."""
        return "the archive's retention ended" if self._task is not None and self._task.done() else None

    async def start(self) -> None:
        """Begin, if there is any rule."""
        if self._rules:
            self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """End."""
        await cancel(self._task)
        await self._reader.close()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (RedisError, HeadgateError, DBAPIError) as error:
                log.warning("archive.retention_failed", error=type(error).__name__)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Remove all that is too old now, a little at a time; gives how much. Raises RedisError, ArchiveUnavailable.

        What a group has not handled stays, and so does what was appended after that: it can come again.
        """
        seconds, _ = await self._client.time()
        needed = await oldest_needed(
            self._client, self._settings, await removed_groups(self._client, self._settings.keys)
        )
        removed = 0
        for type_ in await self._reader.types():
            kept = self._rules.seconds(type_)
            if kept is not None:
                before = (int(seconds) - kept) * 1000
                removed += await self._remove(type_, before if needed is None else min(before, needed))
        if removed:
            log.info("archive.expired", entries=removed)
        return removed

    async def _remove(self, type_: str, before: int) -> int:
        loop, removed = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            count = await self._archive.expire(type_, before, BATCH)
            EXPIRED.inc(count)
            removed += count
            if count < BATCH:
                return removed
            await asyncio.sleep((loop.time() - began) * (1 / SHARE - 1))
