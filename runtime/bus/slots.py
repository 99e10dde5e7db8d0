"""Which master of a Redis Cluster has which slot.

Sources: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding,
https://redis.io/docs/latest/commands/cluster-slots/
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio as aioredis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ClusterDownError, MovedError, RedisError

from runtime.bus.resets import naming_resets

#: A node that does not give the map within this time is passed over for the next one (seconds).
_ASK_TIMEOUT_S: Final = 1.0
#: The map is read at most this often, in seconds: while a master is away every command to it puts the map in doubt.
_REREAD_S: Final = 0.1

Address = tuple[str, int]


class SlotMap:
    """The map, and a client for each node in it.

    It is put in doubt by connections of its nodes that break, and read again before it is used next. A node that
    answers MOVED says itself where the slot is.
    """

    def __init__(self, seeds: Sequence[Address], options: Mapping[str, Any], max_connections: int) -> None:
        """`options`: those of a connection, with its `connection_class`."""
        self._options = dict(options)
        self._plain: type[aioredis.Connection] = naming_resets(
            self._options.pop("connection_class", aioredis.Connection)
        )
        self._told = type("NodeConnection", (_Telling, self._plain), {})
        self._max_connections = max_connections
        self._nodes: dict[Address, aioredis.Redis] = {}
        self._table: list[aioredis.Redis | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._asked = list(seeds)
        """Whom to ask for the map, in this order."""
        self._in_doubt = True
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def of(self, key: str | bytes) -> aioredis.Redis:
        """The master that has `key`, as the map was read last; raises ClusterDownError when none has."""
        slot = slot_of(key)
        node = self._table[slot]
        if node is None:
            self.doubt()
            raise ClusterDownError(f"no master is known for slot {slot}")
        return node

    def masters(self) -> list[aioredis.Redis]:
        """Every master that has slots."""
        return list(dict.fromkeys(node for node in self._table if node is not None))

    def doubt(self) -> None:
        """Something is not as the map says."""
        self._in_doubt = True

    def moved(self, error: MovedError, host: str) -> None:
        """The node at `host` says where a slot is."""
        self._table[error.slot_id] = self.node((error.host or host, error.port))

    def node(self, address: Address) -> aioredis.Redis:
        """The client of one node."""
        if address not in self._nodes:
            host, port = address
            pool = aioredis.BlockingConnectionPool(
                **self._options,
                connection_class=self._told,
                max_connections=self._max_connections,
                host=host,
                port=port,
                slots=self,
            )
            self._nodes[address] = aioredis.Redis.from_pool(pool)
        return self._nodes[address]

    async def settle(self) -> None:
        """Read the map, if it is in doubt; raises ClusterDownError when no node gives one."""
        if not self._in_doubt:
            return
        async with self._reading:
            if not self._in_doubt or time.monotonic() - self._read_at < _REREAD_S:
                return
            # What turns up from here on is a doubt about the map that comes now.
            self._in_doubt = False
            try:
                await self._read()
            except BaseException:
                self._in_doubt = True
                raise
            finally:
                self._read_at = time.monotonic()

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    async def _read(self) -> None:
        errors = []
        for address in list(self._asked):
            # Another one each time: a node that is cut off from the others has an old map.
            self._asked.append(self._asked.pop(0))
            try:
                ranges = await self._ask(address)
            except RedisError as error:
                errors.append(f"{type(error).__name__} from {address[0]}:{address[1]}")
                continue
            table: list[aioredis.Redis | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, (host, port, *_), *_ in ranges:
                # A node that does not know its own address gives none: it is the one where it was asked.
                master = (host.decode() if host else address[0], port)
                table[first : last + 1] = [self.node(master)] * (last + 1 - first)
                if master not in self._asked:
                    self._asked.append(master)
            self._table = table
            return
        raise ClusterDownError(f"no node of the cluster gives its slots: {', '.join(errors)}")

    async def _ask(self, address: Address) -> list[Any]:
        options = self._options | {
            "connection_class": self._plain,
            "socket_timeout": _ASK_TIMEOUT_S,
            "socket_connect_timeout": _ASK_TIMEOUT_S,
        }
        options.pop("timeout")
        pool = aioredis.ConnectionPool(**options, host=address[0], port=address[1])
        client = aioredis.Redis.from_pool(pool)
        try:
            answer: list[Any] = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
            return answer
        finally:
            await client.aclose()


def slot_of(key: str | bytes) -> int:
    """The slot of a key."""
    return key_slot(key.encode() if isinstance(key, str) else key)


class _Telling:
    """What a connection to a node tells the map: so whoever reads over it need not."""

    host: str

    def __init__(self, *, slots: SlotMap, **options: Any) -> None:
        self._slots = slots
        super().__init__(**options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except MovedError as error:
            self._slots.moved(error, self.host)
            raise
        except ClusterDownError:
            self._slots.doubt()
            raise

    async def disconnect(self, *args: Any, **options: Any) -> None:
        self._slots.doubt()
        await super().disconnect(*args, **options)  # type: ignore[misc]
