"""What has to be true of an append before it counts as confirmed, beyond that the server has it.

One command after each batch asks the server (https://redis.io/docs/latest/commands/waitaof/,
https://redis.io/docs/latest/commands/wait/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError, ResponseError

from schemas.errors import ConfigurationError

#: An append that is not assured within this time counts as not confirmed, though it may be so later (ms).
WITHIN_MS: Final = 2000


class NotAssured(RedisError):
    """The log's: the server has the entries, and not yet where they were to be."""


@dataclass(frozen=True, slots=True)
class Assurance:
    """Fsynced on the server itself, or held by so many replicas."""

    fsynced: bool
    replicas: int = 0

    @classmethod
    def of(cls, mode: str) -> Assurance | None:
        """What HEADGATE_ACK says; None for `appended`, which asks nothing more."""
        if mode == "fsynced":
            return cls(fsynced=True)
        kind, _, number = mode.partition(":")
        return cls(fsynced=False, replicas=int(number)) if kind == "replicated" else None

    @property
    def command(self) -> tuple[bytes, ...]:
        """What is asked after a batch."""
        if self.fsynced:
            return b"WAITAOF", b"1", b"0", b"%d" % WITHIN_MS
        return b"WAIT", b"%d" % self.replicas, b"%d" % WITHIN_MS

    def check(self, answer: Any) -> None:
        """Raise NotAssured unless the server's answer says that it is so."""
        reached, needed = (answer[0], 1) if self.fsynced else (answer, self.replicas)
        if reached < needed:
            raise NotAssured(f"{reached} of {needed} within {WITHIN_MS} ms")

    async def check_server(self, client: aioredis.Redis) -> None:
        """Raise ConfigurationError when the server cannot do it. Raises RedisError."""
        try:
            await client.execute_command(*self.command)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            raise ConfigurationError(
                f"HEADGATE_ACK=fsynced needs Redis 7.2, or Valkey, with appendonly yes ({error}): use appended with "
                "appendfsync always, which is as good"
            ) from error
