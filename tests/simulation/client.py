"""redis-py over the simulated network: its clients, pipelines and scripts as they are, on connections of our own.

A connection here sends, waits, fails and closes as redis-py's does with hiredis and without retries, for a tenth of the
price: answers come as values, and nothing is negotiated, locked or measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable
from typing import Any

import hiredis
import redis.asyncio as aioredis
import redis.asyncio.client
import redis.asyncio.connection
import redis.commands.core
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from tests.simulation.network import Link, Network
from tests.simulation.twin.resp import Failure
from tests.simulation.world import Process


class _Pool(aioredis.BlockingConnectionPool):
    """Raises MaxConnectionsError where the real one waits: no schedule comes near."""

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
            if connection.can_be_read:
                await connection.disconnect()
                await connection.connect()
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)


class _Connection(aioredis.Connection):
    """A connection to the twin."""

    network: Network
    process: Process
    credential_provider = None

    def __init__(self, *, retry: Any, socket_timeout: float, himport_registry: Any, **_: Any) -> None:
        self.retry, self.socket_timeout, self.himport_registry = retry, socket_timeout, himport_registry
        self.link: Link | None = None
        self._writer = None
        self.db, self.host, self.port = 0, "twin", 0
        self._connect_callbacks: list[Any] = []
        self._reset_himport_state()

    def __del__(self, *_: Any) -> None:
        """There is no socket to close."""

    @property
    def is_connected(self) -> bool:
        return self.link is not None

    @property
    def can_be_read(self) -> bool:
        """Whether it is of no use to who takes it from the pool."""
        return self.link is None or bool(self.link.answers) or self.link.over

    async def connect(self) -> None:
        if self.link is None:
            await asyncio.sleep(self.network.latency())
            self.link = self.network.connect(self.process)
            for reference in self._connect_callbacks:
                if (callback := reference()) is not None:
                    callback(self)

    async def disconnect(self, *_: Any, **__: Any) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.close()

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        words = name.split() if isinstance(name, str) and " " in name else [name]
        return [hiredis.pack_command((*words, *rest))]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [part for command in commands for part in self.pack_command(*command)]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        await self.connect()
        try:
            if self.network.in_tasks:
                await asyncio.sleep(0)
            self._linked().write(command if isinstance(command, bytes) else b"".join(command))
        except OSError as error:
            await self.disconnect()
            raise ConnectionError(f"Error while writing to socket. {error}") from error
        except BaseException:
            await self.disconnect()
            raise

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  # as in redis-py
        **_: Any,
    ) -> Any:
        try:
            link = self._linked()
            if link.answers:
                answer = link.answers.popleft()
            else:
                answer = await link.read(timeout or self.socket_timeout or math.inf)
        except TimeoutError:
            await self.disconnect()
            raise NoAnswer("Timeout reading from the twin") from None
        except OSError as error:
            await self.disconnect()
            raise ConnectionError(f"Error while reading from the twin: {error}") from error
        except BaseException:
            await self.disconnect()
            raise
        if isinstance(answer, Failure):
            raise self._error(answer)
        if isinstance(answer, list):  # Of a transaction.
            return [self._error(one) if isinstance(one, Failure) else one for one in answer]
        return answer

    @staticmethod
    def _error(failure: Failure) -> ResponseError:
        error: ResponseError = BaseParser.parse_error(str(failure))  # type: ignore[no-untyped-call]
        return error

    def _linked(self) -> Link:
        if self.link is None:
            raise ConnectionError("Connection closed by server.")
        return self.link


async def execute(client: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """In place of Redis.execute_command."""
    await client.initialize()
    connection = client.connection or await client.connection_pool.get_connection()

    async def ask() -> Any:
        await connection.send_packed_command(connection.pack_command(name, *arguments))
        answer = await connection.read_response()
        options.pop("keys", None)
        callback = client.response_callbacks.get(name)
        return answer if callback is None else callback(answer, **options)

    try:
        async with client._single_conn_lock if client.single_connection_client else contextlib.nullcontext():
            return await connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
    finally:
        if client.connection is None:
            await client.connection_pool.release(connection)


async def _nothing(*_: Any, **__: Any) -> None:
    """Nobody reads the metrics."""


def attach(client: aioredis.Redis, network: Network, process: Process) -> None:
    """Have `client` connect over `network`."""
    pool = client.connection_pool
    pool.__class__ = _Pool
    pool.connection_class = type("_ConnectionOfProcess", (_Connection,), {"network": network, "process": process})


def lighten() -> None:
    """From now on redis-py does no more for a command than is needed."""
    aioredis.Redis.execute_command = execute  # type: ignore[method-assign, assignment]
    for module in (redis.asyncio.client, redis.asyncio.connection):
        for name in vars(module):
            if name.startswith("record_"):
                setattr(module, name, _nothing)
    redis.commands.core.async_record_streaming_lag = _nothing  # type: ignore[attr-defined]
    redis.asyncio.client.CaseInsensitiveDict = dict  # type: ignore[attr-defined, assignment]  # made for every client
