"""Dead letters: entries that a group could not handle, kept beside their log until somebody decides."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import redis.asyncio as aioredis

from runtime.bus.reader import ONLY
from schemas.entry import Entry
from schemas.errors import HeadgateError, InvalidEntry
from schemas.keys import Keys

#: Read in one round trip.
_PAGE: Final = 500
#: What marks a letter; the rest are the entry's own fields.
_OWN: Final = b"dead_"
#: A stream id that Redis understands.
_ID: Final = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)
#: KEYS: the dead letters, their log. ARGV: 1 the letter, 2… fields to append to the log, if any. One of two operators
#: who decide about the same letter finds it gone.
_MOVE: Final = """
if redis.call('XDEL',KEYS[1],ARGV[1])==0 then return 0 end
if #ARGV>1 then redis.call('XADD',KEYS[2],'*',unpack(ARGV,2)) end
return 1
"""


class NoSuchLetter(HeadgateError):
    """The operator's: there is no dead letter of this name, or no more."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One entry that could not be handled."""

    name: str
    """What commands call it: its log and its id among the dead, as `in:3/1700000000000-0`."""
    log: str
    """Key of its log."""
    stream_id: str
    """Its id among the dead; the number before the dash is when it died (Unix ms)."""
    group: str
    """Which group could not handle it."""
    error: str
    attempts: int
    of: str
    """The id that it had on its log."""
    fields: Mapping[bytes, bytes]
    """The entry as it was written, whether or not it is one."""

    @property
    def died(self) -> int:
        """When it died, in Unix ms."""
        return int(self.stream_id.partition("-")[0])

    @property
    def type(self) -> str:
        """The event type that the entry says it has; empty if it says none."""
        return self.fields.get(b"type", b"").decode("utf-8", "replace")

    @property
    def entry(self) -> Entry | None:
        """The entry, if it is one."""
        try:
            return Entry.from_fields(self.fields)
        except InvalidEntry:
            return None

    @classmethod
    def of_fields(cls, short: str, log: str, stream_id: str, fields: Mapping[bytes, bytes]) -> Self:
        """From what the stream holds; `short` is the log's name in `name`."""
        own = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items() if _is_own(name)}
        return cls(
            name=f"{short}/{stream_id}",
            log=log,
            stream_id=stream_id,
            group=own.get("dead_group", ""),
            error=own.get("dead_error", ""),
            attempts=int(own.get("dead_attempts", "0")),
            of=own.get("dead_stream_id", ""),
            fields={name: value for name, value in fields.items() if not _is_own(name)},
        )


class DeadLetters:
    """The dead letters of every log. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._script = client.register_script(_MOVE)
        logs = {
            f"{direction}:{p}": make(p)
            for direction, make in (("in", keys.inbound), ("out", keys.outbound))
            for p in range(keys.partitions)
        }
        beside = (("datagrams", Keys.datagrams), ("trail", Keys.trail))
        self._logs = logs | {f"{short}:{name}": make(log) for name, make in beside for short, log in logs.items()}

    async def all(self, after: str = "") -> AsyncIterator[DeadLetter]:
        """Every letter, log by log, the oldest of each first; those behind the name `after`, which may be gone."""
        first, _, stream_id = after.partition("/")
        if after and (first not in self._logs or not _is_id(stream_id)):
            raise NoSuchLetter(f"{after!r} is no name of a dead letter")
        shorts = list(self._logs)
        for short in shorts[shorts.index(first) if after else 0 :]:
            log, start = self._logs[short], f"({stream_id}" if after and short == first else "-"
            while page := await self._page(short, log, start):
                for letter in page:
                    yield letter
                start = f"({page[-1].stream_id}"

    async def get(self, name: str) -> DeadLetter:
        """The letter `name`; raises NoSuchLetter."""
        short, _, stream_id = name.partition("/")
        log = self._logs.get(short)
        found = await self._page(short, log, stream_id, stream_id) if log and _is_id(stream_id) else []
        if not found:
            raise NoSuchLetter(f"there is no dead letter {name!r}: `headgate dead list` shows their names")
        return found[0]

    async def retry(self, letter: DeadLetter) -> None:
        """Put the entry at the end of its log again, for the group alone that could not handle it.

        The letter goes in the same step. Raises NoSuchLetter when it is gone already.
        """
        fields = {**letter.fields, ONLY: letter.group.encode()}
        await self._move(letter, [part for pair in fields.items() for part in pair])

    async def drop(self, letter: DeadLetter) -> None:
        """Forget the letter. Raises NoSuchLetter when it is gone already."""
        await self._move(letter, [])

    async def _move(self, letter: DeadLetter, fields: list[bytes]) -> None:
        keys = [Keys.dead(letter.log), letter.log]
        if not await self._script(keys=keys, args=[letter.stream_id, *fields]):
            raise NoSuchLetter(f"the dead letter {letter.name} is gone already")

    async def _page(self, short: str, log: str, start: str, end: str = "+") -> list[DeadLetter]:
        items = cast("Any", await self._client.xrange(Keys.dead(log), start, end, count=_PAGE))
        return [DeadLetter.of_fields(short, log, stream_id.decode(), fields) for stream_id, fields in items]


def _is_own(name: bytes) -> bool:
    return name.startswith(_OWN)


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None
