"""Connections that were reset while nothing was asked over them.

A connection learns of it with the next command. asyncio's own event loop says ConnectionError then; uvloop, on which
services run, says RuntimeError, since its transport is closed (`UVHandle._ensure_alive`,
https://github.com/MagicStack/uvloop/blob/master/uvloop/handles/handle.pyx). Whoever waits for a server that is away
looks for the former.
"""

from __future__ import annotations

from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError

Kind = TypeVar("Kind", bound=AbstractConnection)


class _NamesResets:
    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*arguments, **options)  # type: ignore[misc]  # of what it is mixed into
        except RuntimeError as error:
            raise ConnectionError("the connection was reset") from error


def naming_resets(kind: type[Kind]) -> type[Kind]:
    """`kind` of connection, of which a command that finds it reset raises redis' ConnectionError on any event loop."""
    return type(kind.__name__, (_NamesResets, kind), {})
