"""Many commands in one round trip, packed by hand: at these sizes redis-py's pipeline costs twice as much."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import ResponseError, TimeoutError

from runtime.bus.servers import SOCKET_TIMEOUT_S


async def round_trip(server: aioredis.Redis, commands: Sequence[bytes]) -> list[Any]:
    """The answers of one server to packed `commands`, in order; an error answer is a ResponseError in its place.

    Raises RedisError when not all answers came.
    """
    pool = server.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(SOCKET_TIMEOUT_S):
            await connection.send_packed_command(b"".join(commands), check_health=False)
            return [await _answer(connection) for _ in commands]
    except BaseException as error:
        # Answers that were not read would be taken for those of the next command.
        await connection.disconnect(nowait=True)
        if isinstance(error, asyncio.TimeoutError):
            raise TimeoutError("no answer in time") from error
        raise
    finally:
        await pool.release(connection)


async def _answer(connection: Any) -> Any:
    try:
        # The time is limited once for all of them, which is cheaper than for each.
        return await connection.read_response(disable_decoding=True, timeout=math.inf)
    except ResponseError as error:
        return error
