"""The system under faults: one Redis, two of each service, an application with a ledger, relays between them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, TimeoutError

from runtime.bus.servers import connect
from runtime.settings import Settings
from schemas.keys import Keys
from tests.chaos import dying
from tests.chaos.clocks import Clock
from tests.chaos.links import TcpRelay, UdpRelay
from tests.chaos.processes import Supervised
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.sentinel import Watched, watched_pair

PARTITIONS: Final = 4
SECRET: Final = "a secret that only this run and its services know"
#: Short, so that there is time for many faults, and long enough for a machine with other work to renew them.
LEASE_S: Final = 2.0
GATEWAY_LEASE_S: Final = 3.0
#: How long a session lives on without a connection.
RESUME_S: Final = 10.0
#: How many publications a channel's history holds; a client that missed more is told that it did not recover.
HISTORY_SIZE: Final = 1000
#: Command lines of services, by kind, unless a run has others.
COMMANDS: Final = {kind: ("-m", "tests.chaos.dying", kind) for kind in dying.POINTS}


@dataclass(slots=True)
class Front:
    """Where clients reach one gateway: a relay for each transport, on one port."""

    udp: UdpRelay
    tcp: TcpRelay
    port: int


@dataclass(slots=True)
class World:
    """Everything that runs."""

    folder: Path
    redis: RedisServer
    log: aioredis.Redis
    keys: Keys
    application: Supervised
    settings: dict[str, str]
    """The environment of all services, and of who looks past the links."""
    services: dict[str, list[Supervised]] = field(default_factory=dict)
    fronts: list[Front] = field(default_factory=list)
    redis_links: dict[str, TcpRelay] = field(default_factory=dict)
    """From each process to Redis, by the name of the process; none under Sentinel, which names the servers itself."""
    apis: list[str] = field(default_factory=list)
    """Base URLs of the HTTP APIs."""
    clocks: dict[str, Clock] = field(default_factory=dict)
    """The wall clock of each service process, by its name. The application, Redis and clients have the true one."""
    watched: Watched | None = None
    """The pair of servers that a Sentinel watches, in a run with one."""

    @property
    def archive(self) -> Path:
        """The archive's database."""
        return self.folder / "archive" / "archive.db"

    def trap(self, kind: str) -> Path:
        """The file that lets a service of a kind end at a chosen line; see tests.chaos.dying."""
        return self.folder / f"{kind}.trap"

    def all(self) -> list[Supervised]:
        """Every service process."""
        return [service for kind in self.services.values() for service in kind]

    def behave(self, mode: str, share: float = 1.0) -> None:
        """Tell the application how to answer; see tests.chaos.application."""
        path = self.folder / "mode.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"mode": mode, "share": share}))
        new.replace(path)


def patient(port: int) -> aioredis.Redis:
    """A client to look with, past the relays: it tries again for some seconds."""
    again = Retry(ConstantBackoff(0.2), 50, supported_errors=(ConnectionError, TimeoutError))
    return aioredis.Redis(port=port, retry=again, socket_timeout=5)


def _settings(folder: Path, application_port: int) -> dict[str, str]:
    """What all services share: leases and timeouts that end soon, nothing trimmed during the run."""
    return {
        "HEADGATE_PARTITIONS": str(PARTITIONS),
        "HEADGATE_SECRET": SECRET,
        "HEADGATE_LARAVEL_URL": f"http://127.0.0.1:{application_port}",
        "HEADGATE_LARAVEL_TIMEOUT": "1.5",
        "HEADGATE_ALLOWED_ORIGINS": "http://localhost:8080",
        "HEADGATE_DATA_DIR": str(folder),
        "HEADGATE_ARCHIVE_URL": f"sqlite+aiosqlite:///{folder / 'archive' / 'archive.db'}",
        "HEADGATE_LOG_FORMAT": "json",
        "HEADGATE_LOG_SECONDS": "86400",
        "HEADGATE_LEASE_SECONDS": str(LEASE_S),
        "HEADGATE_GATEWAY_LEASE_SECONDS": str(GATEWAY_LEASE_S),
        "HEADGATE_RESUME_SECONDS": str(RESUME_S),
        "HEADGATE_AUTH_TIMEOUT": "3",
        "HEADGATE_HISTORY_SIZE": str(HISTORY_SIZE),
        # Longer than any run: the checkers count publications, not their age.
        "HEADGATE_HISTORY_SECONDS": "86400",
        "HEADGATE_DRAIN_SECONDS": "2",
        # Sessions come and go far more often than users make them, and all come from one address.
        "HEADGATE_MAX_SESSIONS_PER_USER": "0",
        "HEADGATE_MAX_CONNECTIONS_PER_ADDRESS": "0",
    }


@asynccontextmanager
async def world(
    folder: Path,
    dice: random.Random,
    *,
    commands: dict[str, tuple[str, ...]] | None = None,
    sentinel: bool = False,
    **redis_options: str,
) -> AsyncIterator[World]:
    """A running system until the block ends. `redis_options` are of redis.conf, beside an AOF that is always synced.

    With `sentinel` there is a replica, and a Sentinel that lets it take over. Raises RuntimeError when something does
    not start.
    """
    (folder / "archive").mkdir()
    async with AsyncExitStack() as stack:
        watched = await stack.enter_async_context(watched_pair()) if sentinel else None
        redis = (
            watched.servers[0]
            if watched
            else await stack.enter_async_context(redis_server(**{"appendfsync": "always"} | redis_options))
        )
        application_port = free_port()
        settings = _settings(folder, application_port)
        if sentinel:
            # A master that was replaced takes writes until it hears of that, and what it alone has is lost then.
            settings["HEADGATE_ACK"] = "replicated:1"
        application = Supervised(
            "application",
            ("-m", "tests.chaos.application", str(application_port), str(folder)),
            settings,
            f"http://127.0.0.1:{application_port}/health/ready",
            folder,
        )
        log = connect(Settings(redis_url=watched.url, _env_file=None)) if watched else patient(redis.port)
        url = watched.url if watched else f"redis://127.0.0.1:{redis.port}/0"
        all_settings = settings | {"HEADGATE_REDIS_URL": url}
        made = World(folder, redis, log, Keys("hg:", PARTITIONS), application, all_settings, watched=watched)
        stack.push_async_callback(made.log.aclose)
        made.behave("fine")
        for kind, arguments in (COMMANDS | (commands or {})).items():
            made.services[kind] = []
            for number in range(2):
                await _add(stack, made, settings, kind, f"{kind}-{number}", arguments, dice)
        for process in (application, *made.all()):
            process.keep()
            stack.push_async_callback(process.stop)
        ready = await asyncio.gather(*(process.ready() for process in (application, *made.all())))
        if not all(ready):
            texts = [process.log.read_text(errors="replace")[-3000:] for process in made.all() if process.log.exists()]
            raise RuntimeError("not everything is ready:\n" + "\n".join(texts))
        yield made


async def _add(
    stack: AsyncExitStack,
    made: World,
    settings: dict[str, str],
    kind: str,
    name: str,
    arguments: tuple[str, ...],
    dice: random.Random,
) -> None:
    """One service process, its link to Redis, and for a gateway the relays before it."""
    health = free_port()
    if made.watched is not None:
        env = settings | {"HEADGATE_REDIS_URL": made.watched.url}
    else:
        link, link_port = TcpRelay(made.redis.port, random.Random(dice.random())), free_port()
        await link.start(link_port)
        stack.callback(link.stop)
        made.redis_links[name] = link
        env = settings | {"HEADGATE_REDIS_URL": f"redis://127.0.0.1:{link_port}/0"}
    match kind:
        case "ingress":
            port = free_port()
            env |= {"HEADGATE_INGRESS_PORT": str(port), "HEADGATE_INGRESS_HTTP_PORT": str(health)}
            front = Front(UdpRelay(port, random.Random(dice.random())), TcpRelay(port, dice), free_port())
            await front.udp.start(front.port)
            await front.tcp.start(front.port)
            stack.callback(front.udp.stop)
            stack.callback(front.tcp.stop)
            made.fronts.append(front)
        case "processors":
            env |= {"HEADGATE_PROCESSORS_HTTP_PORT": str(health)}
        case "egress":
            env |= {"HEADGATE_API_PORT": str(health)}
            made.apis.append(f"http://127.0.0.1:{health}")
    clock = made.clocks[name] = Clock(made.folder / f"{name}.clock")
    trap = {dying.VARIABLE: str(made.trap(kind))}
    url = f"http://127.0.0.1:{health}/health/ready"
    made.services[kind].append(Supervised(name, arguments, env | clock.env | trap, url, made.folder))
