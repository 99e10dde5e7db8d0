"""The operators' log: who did what to a running Headgate, in the web console or on a command line."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import redis.asyncio as aioredis

from schemas.errors import HeadgateError
from schemas.keys import Keys

#: Records that are kept in Redis, about.
KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Who:
    """Whoever does something."""

    operator: str
    role: str
    address: str
    """Where they are: an IP address, or `cli`."""

    @classmethod
    def at_command_line(cls) -> Self:
        """The user of the operating system. Who may write to Redis may do everything."""
        try:
            name = getpass.getuser()
        except (ImportError, KeyError, OSError):  # Containers run as users that have no name.
            name = f"uid {os.getuid()}"
        return cls(name, "operator", "cli")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of it."""

    stream_id: str
    at_ms: int
    """Unix ms, by the clock of Redis."""
    who: Who
    operation: str
    target: str
    failure: str
    """Why it was not done after all; empty for what was, or is being, done."""


class OperatorsLog:
    """Reads and writes it. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.operators()

    @asynccontextmanager
    async def doing(self, who: Who, operation: str, target: str) -> AsyncIterator[None]:
        """Written before the block does it, so that what cannot be written down is not done; and again when the block
        raises a HeadgateError, which says why it was not done."""
        await self._write(who, operation, target)
        try:
            yield
        except HeadgateError as error:
            await self._write(who, operation, target, str(error))
            raise

    async def newest(self, size: int, before: str = "") -> list[Record]:
        """The last `size` records, the newest first; those before the stream id `before`."""
        start = f"({before}" if before else "+"
        found: Any = await self._client.xrevrange(self._key, start, "-", count=size)
        return [_record(stream_id.decode(), fields) for stream_id, fields in found]

    async def _write(self, who: Who, operation: str, target: str, failure: str = "") -> None:
        fields = {
            "operator": who.operator,
            "role": who.role,
            "address": who.address,
            "operation": operation,
            "target": target,
            "failure": failure,
        }
        await self._client.xadd(self._key, cast("Any", fields), maxlen=KEPT, approximate=True)


def _record(stream_id: str, fields: dict[bytes, bytes]) -> Record:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "replace")

    who = Who(text(b"operator"), text(b"role"), text(b"address"))
    at_ms = int(stream_id.partition("-")[0])
    return Record(stream_id, at_ms, who, text(b"operation"), text(b"target"), text(b"failure"))
