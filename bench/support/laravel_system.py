"""What runs while the Composer package is measured: redis-server, egress, the application of the package's tests."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import executable
from typing import Final

import redis.asyncio as aioredis

from bench.support.processes import ROOT, Process, Ready, answers_http, free_port, redis_process
from processors.application import Application
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.entry import Entry
from schemas.events import Event
from schemas.keys import Keys

APP: Final = ROOT / "clients" / "laravel" / "tests" / "app"
SCRIPTS: Final = Path(__file__).with_name("php")
#: Of `php -S`; they share one core.
WORKERS: Final = 4
SESSIONS: Final = 100
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a script said of itself."""

    count: int
    seconds: float
    cpu: float
    """CPU seconds, user and system."""

    @property
    def per_second(self) -> float:
        """How many it did in a second."""
        return self.count / self.seconds


@dataclass(frozen=True, slots=True)
class LaravelSystem:
    """What runs, by name."""

    processes: dict[str, Process]
    log: aioredis.Redis
    keys: Keys
    env: Mapping[str, str]
    """Of the application."""
    settings: Settings
    """Headgate's, which know the application."""
    app_port: int

    async def script(self, name: str, *arguments: object) -> Spent:
        """Run one of bench/support/php to its end; raises RuntimeError with what it wrote when it fails."""
        said = await php(str(SCRIPTS / name), *map(str, arguments), env=self.env)
        return Spent(**json.loads(said))

    async def fill(self, event: Event, count: int) -> None:
        """Put so many entries on an empty inbound log, of a hundred sessions in turn."""
        partitions = [self.keys.inbound(partition) for partition in range(self.keys.partitions)]
        await self.log.delete(*partitions)
        sessions = [str(uuid.uuid4()) for _ in range(SESSIONS)]
        for begin in range(0, count, _AT_ONCE):
            pipeline = self.log.pipeline(transaction=False)
            for number in range(begin, min(begin + _AT_ONCE, count)):
                session = sessions[number % SESSIONS]
                entry = Entry.of(event, id=str(uuid.uuid4()), ts=1, session=session, user="1")
                fields = entry.fields()
                values = dict(zip(fields[::2], fields[1::2], strict=True))
                pipeline.xadd(self.keys.inbound_of(session), values)  # type: ignore[arg-type]
            await pipeline.execute()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Application]:
        """Headgate's client of the application, as a processor has it."""
        application = Application(self.settings, Telemetry(None, "bench"), "bench")
        try:
            yield application
        finally:
            await application.stop()


async def php(*arguments: str, env: Mapping[str, str]) -> str:
    """Run PHP in the application's folder and give its output; raises RuntimeError when it fails."""
    process = await asyncio.create_subprocess_exec(
        _php(),
        *arguments,
        cwd=APP,
        env={"PATH": os.environ.get("PATH", os.defpath), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"php {' '.join(arguments)} ended with {process.returncode}: {(out + err).decode()}")
    return out.decode()


@asynccontextmanager
async def laravel_system() -> AsyncIterator[LaravelSystem]:
    """All of it, until the block ends."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True))
        )
        redis_port, api_port, app_port = free_port(), free_port(), free_port()
        secret = secrets.token_hex(32)
        headgate = {
            "HEADGATE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "HEADGATE_SECRET": secret,
            "HEADGATE_API_PORT": str(api_port),
            "HEADGATE_API_REQUESTS_PER_MINUTE": "0",
            "HEADGATE_DATA_DIR": str(folder),
        }
        env = {
            "APP_ENV": "production",
            "DB_DATABASE": str(folder / "database.sqlite"),
            "HEADGATE_SECRET": secret,
            "HEADGATE_API_URL": f"http://127.0.0.1:{api_port}",
            "REDIS_PORT": str(redis_port),
            "APP_PACKAGES_CACHE": str(folder / "packages.php"),
            "APP_SERVICES_CACHE": str(folder / "services.php"),
        }
        redis, answers = redis_process(folder, redis_port)
        egress = Process("egress", [executable, "-m", "console.cli", "egress"], folder, headgate)
        serve = [_php(), "-q", "-S", f"127.0.0.1:{app_port}", "-t", str(APP / "public"), str(APP / "public/index.php")]
        application = Process("application", serve, folder, env | {"PHP_CLI_SERVER_WORKERS": str(WORKERS)})
        processes = {"redis": redis, "egress": egress, "application": application}
        for process in processes.values():
            stack.push_async_callback(process.stop)
        await redis.start(answers)
        await egress.start(answers_http(f"http://127.0.0.1:{api_port}/health/ready"))
        (folder / "database.sqlite").touch()
        await php("artisan", "migrate", "--force", env=env)
        await application.start(_listens(app_port))
        log = aioredis.Redis(port=redis_port)
        stack.push_async_callback(log.aclose)
        settings = Settings(_env_file=None, secret=secret, laravel_url=f"http://127.0.0.1:{app_port}")
        yield LaravelSystem(processes, log, Keys("hg:", 16), env, settings, app_port)


def _listens(port: int) -> Ready:
    return answers_http(f"http://127.0.0.1:{port}/api/test/events")


def _php() -> str:
    binary = shutil.which("php")
    if binary is None:
        raise RuntimeError("php is not on PATH: install it as scripts/debian.sh does")
    return binary
