"""From HEADGATE_REDIS_URL to a client: one server, whichever is the master that Sentinels name, or a cluster.

Sources: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis.asyncio as aioredis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff

from runtime.bus.cluster import Cluster
from runtime.bus.resets import naming_resets
from runtime.bus.slots import SlotMap
from runtime.settings import Settings
from schemas.errors import ConfigurationError

#: No answer for this long means that the server is gone (seconds); above the time that a read may block.
SOCKET_TIMEOUT_S: Final = 5.0
#: A Sentinel that does not answer within this time is passed over for the next one (seconds).
SENTINEL_TIMEOUT_S: Final = 1.0
_SENTINEL: Final = "redis+sentinel"
_SENTINEL_PORT: Final = 26_379
_CLUSTERS: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_REDIS_PORT: Final = 6379


class _SentinelPool(SentinelConnectionPool, aioredis.BlockingConnectionPool):
    """Connections to the master, as many as there may be; whoever comes then waits for one."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """`redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/NAME[/DATABASE]`."""

    addresses: list[tuple[str, int]]
    name: str
    """Of the master, as the Sentinels monitor it."""
    database: int
    username: str | None
    password: str | None
    """Of the master; the Sentinels themselves are asked without one."""


def connect(settings: Settings, *, max_connections: int = 64) -> aioredis.Redis:
    """A client that never re-sends a command by itself. Raises ConfigurationError for an unusable URL.

    redis-py's default retry appends an entry twice when only the reply was lost, and strands what a repeated
    XREADGROUP delivered the first time; whoever repeats here knows what it repeats. When all connections are in use
    the next command waits for one: with the plain pool a burst of lanes would fail, and leases with it.
    """
    common: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "timeout": SOCKET_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "max_connections": max_connections,
        "client_name": "headgate",
    }
    if (sentinels := sentinels_of(settings.redis_url)) is not None:
        return _master(sentinels, common)
    if (nodes := nodes_of(settings.redis_url)) is not None:
        return _cluster(nodes, common)
    try:
        pool = aioredis.BlockingConnectionPool.from_url(settings.redis_url, **common)
        pool.connection_class = naming_resets(pool.connection_class)
    except ValueError as error:
        raise ConfigurationError(f"HEADGATE_REDIS_URL cannot be used: {error}") from error
    return aioredis.Redis.from_pool(pool)


def _master(where: Sentinels, common: dict[str, Any]) -> aioredis.Redis:
    asking = {"socket_timeout": SENTINEL_TIMEOUT_S, "socket_connect_timeout": SENTINEL_TIMEOUT_S}
    sentinel = Sentinel(where.addresses, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    for asked in sentinel.sentinels:
        asked.connection_pool.connection_class = naming_resets(asked.connection_pool.connection_class)
    client: aioredis.Redis = sentinel.master_for(
        where.name,
        connection_pool_class=_SentinelPool,
        connection_class=naming_resets(SentinelManagedConnection),
        db=where.database,
        username=where.username,
        password=where.password,
        **common,
    )
    return client


def _cluster(nodes: list[str], common: dict[str, Any]) -> aioredis.Redis:
    """`max_connections` are to each node."""
    try:
        options: list[dict[str, Any]] = [{**parse_url(node)} for node in nodes]
    except ValueError as error:
        raise ConfigurationError(f"HEADGATE_REDIS_URL cannot be used: {error}") from error
    seeds = [(str(one.pop("host", "")), int(one.pop("port", _REDIS_PORT))) for one in options]
    if not all(host for host, _ in seeds) or any(one.pop("db", 0) for one in options):
        raise ConfigurationError(
            "HEADGATE_REDIS_URL is not redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…], or names a database "
            "other than 0: a cluster has no other"
        )
    max_connections = common.pop("max_connections")
    slots = SlotMap(seeds, common | options[0], max_connections)
    return Cluster(slots, slots.node(seeds[0]))


def nodes_of(url: str) -> list[str] | None:
    """URLs of the nodes that `url` names a cluster by; None when it names none.

    `redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]`, or `rediss+cluster://` for TLS.
    """
    parts = urlsplit(url)
    if (scheme := _CLUSTERS.get(parts.scheme)) is None:
        return None
    credentials, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(scheme=scheme, netloc=f"{credentials}{at}{host}").geturl() for host in hosts.split(",")]


def sentinels_of(url: str) -> Sentinels | None:
    """Where the Sentinels of `url` are; None when it names the server itself. Raises ConfigurationError."""
    if urlsplit(url).scheme != _SENTINEL:
        return None
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    name, _, database = parts.path.strip("/").partition("/")
    try:
        addresses = [_address(host) for host in hosts.split(",")]
        number = int(database or 0)
    except ValueError:
        addresses, number = [], 0
    if not addresses or not name:
        raise ConfigurationError(
            f"HEADGATE_REDIS_URL is not {_SENTINEL}://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/NAME[/DATABASE]"
        )
    return Sentinels(addresses, name, number, unquote(username) or None, unquote(password) or None)


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or _SENTINEL_PORT
