"""The twin answers as the server does."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.exceptions import RedisError, ResponseError

from egress.operations import End, Grant, Look, Operation, Publish, Suspend
from egress.topics.store import TopicStore
from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.events import Position
from tests.simulation.client import attach, execute
from tests.simulation.network import Network
from tests.simulation.twin.resp import Failure
from tests.simulation.twin.server import Server
from tests.simulation.world import EPOCH_S, World
from tests.support.redis_server import redis_server

KEYS = ("a", "b")
NAMES = ("x", "y", "z")


def _command(chance: random.Random, ids: list[bytes]) -> tuple[Any, ...]:
    key, name, number = chance.choice(KEYS), chance.choice(NAMES), chance.randint(-3, 3)
    one = chance.choice(ids) if ids else b"1-1"
    return chance.choice(
        [
            ("SET", f"s{key}", name, *chance.choice([(), ("NX",), ("NX", "PX", 60_000)])),
            ("GET", f"s{key}"),
            ("DEL", f"s{key}", f"h{key}"),
            ("EXISTS", f"s{key}", f"h{key}", "t"),
            ("PEXPIRE", f"h{key}", 60_000),
            ("PERSIST", f"h{key}"),
            ("RENAME", f"h{key}", "hb"),
            ("HSET", f"h{key}", name, number),
            ("HGET", f"h{key}", name),
            ("HMGET", f"h{key}", *NAMES),
            ("HINCRBY", f"h{key}", name, number),
            ("HDEL", f"h{key}", name),
            ("HLEN", f"h{key}"),
            ("HEXISTS", f"h{key}", name),
            ("SADD", f"e{key}", name),
            ("SREM", f"e{key}", name),
            ("ZADD", f"z{key}", number, name),
            ("ZRANGE", f"z{key}", 0, -1),
            ("ZREM", f"z{key}", name),
            ("ZREMRANGEBYSCORE", f"z{key}", "-inf", number),
            ("RPUSH", f"l{key}", name, name),
            ("LRANGE", f"l{key}", number, -1),
            ("LTRIM", f"l{key}", -3, -1),
            ("LLEN", f"l{key}"),
            ("LINDEX", f"l{key}", 0),
            ("LINDEX", f"l{key}", 7),
            ("LPOP", f"l{key}"),
            ("GET", f"l{key}"),
            *[("XADD", "t", "*", "n", name)] * 4,
            ("XGROUP", "CREATE", "t", "g", "0", "MKSTREAM"),
            *[("XREADGROUP", "GROUP", "g", "owner", "COUNT", 2, "STREAMS", "t", ">")] * 3,
            ("XREADGROUP", "GROUP", "g", "owner", "COUNT", 2, "STREAMS", "t", chance.choice(["0", one])),
            ("XREAD", "COUNT", 2, "STREAMS", "t", one),
            ("XACK", "t", "g", one),
            ("XDEL", "t", one),
            ("XLEN", "t"),
            ("XRANGE", "t", chance.choice([b"-", one, b"(" + one]), "+", "COUNT", 2),
            ("XREVRANGE", "t", "+", "-", "COUNT", 1),
            ("XPENDING", "t", "g", "-", "+", 10),
            ("XPENDING", "t", "g", one, one, 1),
        ]
    )


def _plain(value: Any, name: Callable[[bytes], bytes]) -> Any:
    """An answer with stream ids by their number, and without how long something is pending."""
    if isinstance(value, Failure | ResponseError):
        # redis-py takes the code of an error for a class of its own.
        return "error"
    if isinstance(value, bytes):
        return name(value) if re.fullmatch(rb"\d{13}-\d+", value) else value
    if isinstance(value, dict):
        return {_plain(key, name): _plain(item, name) for key, item in value.items()}
    if isinstance(value, list):
        items = [_plain(item, name) for item in value]
        pending = len(items) == 4 and items[1] == b"owner"
        return [*items[:2], "idle", items[3]] if pending else items
    return value


class Names:
    """Stream ids in the order of their making."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []

    def __call__(self, one: bytes) -> bytes:
        return b"id %d" % self.ids.index(one) if one in self.ids else one

    def translated(self, command: tuple[Any, ...], other: Names) -> list[Any]:
        """`command`, said in ids of `other`, in those of this one."""
        return [self._own(part, other) if isinstance(part, bytes) else part for part in command]

    def _own(self, part: bytes, other: Names) -> bytes:
        bare = part.lstrip(b"(")
        return part.replace(bare, self.ids[other.ids.index(bare)]) if bare in other.ids else part


async def test_commands_answer_as_the_servers() -> None:
    """Commands of every kind that the project uses, at random, give what redis-server gives."""
    async with redis_server(appendonly="no") as real:
        client = aioredis.Redis.from_url(real.url)
        for seed in range(20):
            await client.flushall()
            chance, twin = random.Random(seed), Server(lambda: 1_700_000_000_000, lambda *_: None)
            ours, theirs = Names(), Names()
            for _ in range(150):
                command = _command(chance, theirs.ids)
                raw = [
                    part if isinstance(part, bytes) else str(part).encode() for part in ours.translated(command, theirs)
                ]
                answer = twin._answer(raw)
                expected = await _raw(client, command)
                if command[0] == "XADD":
                    ours.ids.append(answer)
                    theirs.ids.append(expected)
                assert _plain(answer, ours) == _plain(expected, theirs), (seed, command)
        await client.aclose()


async def _raw(client: aioredis.Redis, command: tuple[Any, ...]) -> Any:
    """The answer as it came."""
    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.send_command(*command)
        return await connection.read_response()
    except ResponseError as error:
        return error
    finally:
        await client.connection_pool.release(connection)


def _operation(chance: random.Random, number: int) -> Operation:
    topic, session = chance.choice(("channel:a", "channel:presence-b")), chance.choice(NAMES)
    member = b'{"id":"u"}' if "presence" in topic else None
    id_ = f"id{chance.randint(0, number)}"
    match chance.randint(0, 4):
        case 0:
            return Grant(
                topic,
                f"g{id_}",
                session,
                f"gw{chance.randint(0, 1)}",
                "u",
                member,
                Position(epoch="e", offset=chance.randint(-1, 5)) if chance.random() < 0.3 else None,
                generation=chance.choice((1, 1, 2, 3)),
                limited=chance.random() < 0.3,
            )
        case 1:
            return End(topic, f"e{id_}", session)
        case 2:
            return Look(topic)
        case 3:
            return Suspend(topic, f"s{id_}", session, chance.choice((1, 1, 2)))
    return Publish(topic, f"p{id_}", b"x")


async def test_topics_answer_as_on_the_server() -> None:
    """The topics' scripts, run on the twin, give what they give in redis-server."""
    async with redis_server(appendonly="no") as real:
        settings = Settings(
            redis_url=real.url, dedup_seconds=5, max_sessions_per_user=2, history_size=3, _env_file=None
        )
        client = aioredis.Redis.from_url(real.url)
        for seed in range(10):
            await client.flushall()
            chance = random.Random(seed)
            batches = [[_operation(chance, n) for _ in range(chance.randint(1, 8))] for n in range(30)]
            expected = await _run(TopicStore(client, settings, _Clock()), batches)
            assert _on_the_twin(settings, batches) == expected, seed
        await client.aclose()


async def test_clients_are_told_as_by_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors, errors in transactions, and ended connections look the same to the project's code as over a socket."""
    async with redis_server(appendonly="no") as real:
        settings = Settings(redis_url=real.url, _env_file=None)
        client = connect(settings)
        expected = await _told(client)
        await client.aclose()
    monkeypatch.setattr(aioredis.Redis, "execute_command", execute)
    world = World(0)
    server = Server(world.milliseconds, lambda ms, then: world.at(ms / 1000 - EPOCH_S, then))
    process = world.process("any")
    client = connect(settings)
    attach(client, Network(world, server.connect), process)
    task = process.create_task(_told(client))
    assert world.run(task.done, 60)
    assert task.result() == expected


async def _told(client: aioredis.Redis) -> list[str]:
    """What a client gets for commands of which many fail."""
    reading = aioredis.Redis(connection_pool=client.connection_pool, single_connection_client=True)
    number = await reading.client_id()
    waits: Any = {"t": "$"}
    steps: list[Callable[[], Any]] = [
        lambda: client.evalsha("0" * 40, 0),
        lambda: client.set("s", "x"),
        lambda: client.rpush("s", "y"),
        lambda: client.xgroup_create("t", "g", id="0", mkstream=True),
        lambda: client.xgroup_create("t", "g", id="0"),
        lambda: client.xreadgroup("none", "owner", {"t": ">"}),
        lambda: _pipelined(client, transaction=True).execute(raise_on_error=False),
        lambda: _pipelined(client, transaction=False).execute(),
        lambda: client.client_kill_filter(_id=str(number)),
        lambda: reading.get("s"),
        lambda: reading.get("s"),
        lambda: _ended(client, reading, waits),
        lambda: reading.get("s"),
    ]
    told = [await _attempt(step) for step in steps]
    await reading.aclose()
    return told


def _pipelined(client: aioredis.Redis, *, transaction: bool) -> Any:
    pipeline = client.pipeline(transaction=transaction)
    pipeline.set("s", "x")
    pipeline.rpush("s", "y")
    return pipeline


async def _ended(client: aioredis.Redis, reading: aioredis.Redis, streams: Any) -> Any:
    """A read that blocks, and whose connection is ended then."""
    number = await reading.client_id()
    read: asyncio.Future[Any] = asyncio.ensure_future(reading.xread(streams, block=5000))
    while not read.done():
        await client.client_kill_filter(_id=str(number))
        await asyncio.sleep(0.01)
    return await read


async def _attempt(step: Callable[[], Any]) -> str:
    try:
        answer = await step()
    except RedisError as error:
        return type(error).__name__
    answers = answer if isinstance(answer, list) else [answer]
    return str([type(one).__name__ if isinstance(one, Exception) else one for one in answers])


class _Clock:
    """A second later each time."""

    def __init__(self) -> None:
        self._now = 1_700_000_000_000

    def __call__(self) -> int:
        self._now += 1000
        return self._now


async def _run(store: TopicStore, batches: list[list[Operation]]) -> list[str]:
    """What each batch gives, epochs left out."""
    return [re.sub(r"epoch='\w+'", "epoch", repr(await store.run(batch))) for batch in batches]


def _on_the_twin(settings: Settings, batches: list[list[Operation]]) -> list[str]:
    world = World(0)
    server = Server(world.milliseconds, lambda *_: None)
    process = world.process("router")
    client = connect(settings)
    attach(client, Network(world, server.connect), process)
    task = process.create_task(_run(TopicStore(client, settings, _Clock()), batches))
    assert world.run(task.done, 60)
    result: list[str] = task.result()
    return result
