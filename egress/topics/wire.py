"""Many commands in one round trip, packed by hand: at these sizes redis-py's pipeline costs twice as much."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import redis.asyncio as aioredis
from redis.exceptions import ResponseError, TimeoutError

from runtime.bus.appender import pack
from runtime.bus.assurance import Assurance
from runtime.bus.servers import SOCKET_TIMEOUT_S


class Wire:
    """Round trips over connections that were told something first, each time anew that they were made.

    A server that restarts has forgotten it, and then no connection is the same.
    """

    def __init__(self, first: Sequence[bytes], assurance: Assurance | None = None) -> None:
        """`first`: packed commands. What needs them is not sent before they were carried out.

        `assurance`: what must be so of what a round trip wrote before its answers are given. A server tells a
        connection of that connection's own writes, so a round trip has to write something to be told of what others
        wrote before it.
        """
        self._first = first
        self._assurance = assurance
        self._question = [] if assurance is None else [pack(assurance.command)]
        self._told: WeakSet[Any] = WeakSet()

    def forget(self) -> None:
        """Tell every connection again: a server has forgotten it."""
        self._told.clear()

    async def round_trip(self, server: aioredis.Redis, commands: Sequence[bytes]) -> list[Any]:
        """The answers of one server to packed `commands`, in order; an error answer is a ResponseError in its place.

        Raises RedisError when not all answers came, or when what they tell of is not yet where it was to be.
        """
        pool = server.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                if connection not in self._told:
                    await self._tell(connection)
                answers = await _exchange(connection, [*commands, *self._question])
        except BaseException as error:
            # Answers that were not read would be taken for those of the next command.
            await connection.disconnect(nowait=True)
            if isinstance(error, asyncio.TimeoutError):
                raise TimeoutError("no answer in time") from error
            raise
        finally:
            await pool.release(connection)
        if self._assurance is not None:
            assured = answers.pop()
            if isinstance(assured, ResponseError):
                raise assured
            self._assurance.check(assured)
        return answers

    async def _tell(self, connection: Any) -> None:
        for answer in await _exchange(connection, self._first):
            if isinstance(answer, ResponseError):
                raise answer
        connection.register_connect_callback(self._connected)
        self._told.add(connection)

    def _connected(self, connection: Any) -> None:
        self._told.discard(connection)


async def _exchange(connection: Any, commands: Sequence[bytes]) -> list[Any]:
    await connection.send_packed_command(b"".join(commands), check_health=False)
    return [await _answer(connection) for _ in commands]


async def _answer(connection: Any) -> Any:
    try:
        # The time is limited once for all of them, which is cheaper than for each.
        return await connection.read_response(disable_decoding=True, timeout=math.inf)
    except ResponseError as error:
        return error
