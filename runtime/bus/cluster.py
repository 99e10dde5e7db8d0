"""A Redis Cluster behind the interface of one client, and what else has to know on which node a key is.

A command that was redirected (MOVED, ASK, TRYAGAIN) was not carried out, so that it may be sent again; nothing else is.
A slot that is on its way to another node is waited for: scripts over several keys could not be carried out on either
side before it has arrived (docs/decisions/0016-a-cluster-is-one-client.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import redis.asyncio as aioredis
from redis.asyncio.client import Pipeline
from redis.exceptions import AskError, MovedError, RedisError, TryAgainError

from runtime.bus.slots import SlotMap, slot_of

T = TypeVar("T")

#: A slot that is on its way is waited for this long, and looked for so often (seconds).
MOVING_S: Final = 5.0
LOOK_S: Final = 0.02
#: Answers that say that a command was not carried out here. MovedError is an AskError.
REDIRECTED: Final = (AskError, TryAgainError)

_Command = tuple[tuple[Any, ...], Any]
"""What a pipeline keeps of a command: its arguments, and how its answer is read."""


class Cluster(aioredis.Redis):
    """A client of all masters. Every command is about keys of one slot, or about none."""

    def __init__(self, slots: SlotMap, seed: aioredis.Redis) -> None:
        """`seed`: one of the nodes, for how commands are encoded."""
        super().__init__(connection_pool=seed.connection_pool)
        self.slots = slots

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry out one command; SCRIPT LOAD on every master. Raises RedisError."""
        if args[0] == "SCRIPT LOAD":
            return await self._everywhere(*args, **options)

        async def once() -> Any:
            await self.slots.settle()
            node = self.slots.of(_key_of(args)) if len(args) > 1 else self.slots.masters()[0]
            return await node.execute_command(*args, **options)  # type: ignore[no-untyped-call]

        return await placed(once)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A transaction over keys of one slot, or commands that are carried out on each node in their order."""
        return _ClusterPipeline(self, transaction)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to all nodes."""
        await self.slots.close()

    async def _everywhere(self, *args: Any, **options: Any) -> Any:
        await self.slots.settle()
        results = await asyncio.gather(
            *(node.execute_command(*args, **options) for node in self.slots.masters()),  # type: ignore[no-untyped-call]
            return_exceptions=True,
        )
        # What asked for the script is told by its own node whether that has it.
        answers = [result for result in results if not isinstance(result, BaseException)]
        if not answers:
            raise next(result for result in results if isinstance(result, BaseException))
        return answers[0]


class _ClusterPipeline(Pipeline):
    """Commands to several nodes at once. Where one of them fails the others have carried out theirs."""

    def __init__(self, cluster: Cluster, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._slots = cluster.slots

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The answers in the order of the commands; errors are raised or stand in their places."""
        commands, scripts = self.command_stack, self.scripts
        self.command_stack, self.scripts = [], set()
        if not commands:
            return []
        answers: dict[int, Any] = {}

        async def at(node: aioredis.Redis, which: Sequence[int]) -> None:
            part = node.pipeline(transaction=self.is_transaction)
            part.command_stack, part.scripts = [commands[i] for i in which], scripts
            try:
                answers.update(zip(which, await part.execute(raise_on_error=False), strict=True))
            except RedisError as error:
                answers.update(dict.fromkeys(which, error))
            finally:
                # One that fails while it looks for its scripts keeps its connection otherwise.
                await part.reset()  # type: ignore[no-untyped-call]

        async def once() -> None:
            await self._slots.settle()
            left = [i for i in range(len(commands)) if i not in answers or isinstance(answers[i], REDIRECTED)]
            await all_of([at(node, which) for node, which in self._by_node(commands, left).items()])
            redirected = [answers[i] for i in left if isinstance(answers[i], REDIRECTED)]
            for error in sorted(redirected, key=lambda error: isinstance(error, MovedError)):
                raise error

        try:
            await placed(once)
        except REDIRECTED:
            if raise_on_error:
                raise
        in_order = [answers[i] for i in range(len(commands))]
        if raise_on_error and (errors := [answer for answer in in_order if isinstance(answer, RedisError)]):
            raise errors[0]
        return in_order

    def _by_node(self, commands: Sequence[_Command], which: Sequence[int]) -> dict[aioredis.Redis, list[int]]:
        if self.is_transaction:
            return {self._slots.of(_key_of(commands[0][0])): list(which)}
        parts: dict[aioredis.Redis, list[int]] = {}
        for i in which:
            parts.setdefault(self._slots.of(_key_of(commands[i][0])), []).append(i)
        return parts


async def placed(do: Callable[[], Awaitable[T]]) -> T:
    """What `do` gives once it is not redirected any more; raises the last redirection after MOVING_S."""
    until = time.monotonic() + MOVING_S
    while True:
        try:
            return await do()
        except REDIRECTED as error:
            if time.monotonic() > until:
                raise
            if not isinstance(error, MovedError):
                await asyncio.sleep(LOOK_S)


async def all_of(parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What `parts` give, side by side; one of them costs no task. All have ended when the first error is raised."""
    if len(parts) == 1:
        return [await parts[0]]
    results = await asyncio.gather(*parts, return_exceptions=True)
    found: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


def _key_of(args: Sequence[Any]) -> str | bytes:
    """The first key of a command as redis-py gives it: all are in its slot."""
    name = args[0]
    if name in ("EVAL", "EVALSHA"):
        key = args[3]
    elif name in ("XREAD", "XREADGROUP"):
        key = args[args.index(b"STREAMS") + 1]
    else:
        key = args[1]
    return key if isinstance(key, bytes) else str(key)


# What is the same for one server and for a cluster: who needs more than a client asks here.


def node_of(client: aioredis.Redis, key: str | bytes) -> aioredis.Redis:
    """The server that has `key`, as far as is known; raises ClusterDownError when none has."""
    return client.slots.of(key) if isinstance(client, Cluster) else client


def only_server(client: aioredis.Redis) -> aioredis.Redis | None:
    """The server that has all keys; None where there are several."""
    return None if isinstance(client, Cluster) else client


async def settle(client: aioredis.Redis) -> None:
    """See that `node_of` knows the servers as they are now; raises ClusterDownError."""
    if isinstance(client, Cluster):
        await client.slots.settle()


async def masters(client: aioredis.Redis) -> list[aioredis.Redis]:
    """Every server that has keys; raises ClusterDownError."""
    await settle(client)
    return client.slots.masters() if isinstance(client, Cluster) else [client]


def together(client: aioredis.Redis, keys: Sequence[str]) -> list[list[int]]:
    """Which of `keys` one command can be about, by their places."""
    if not isinstance(client, Cluster):
        return [list(range(len(keys)))]
    slots: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        slots.setdefault(slot_of(key), []).append(place)
    return list(slots.values())
