"""A running Laravel application with a database of its own: tests/laravel_app, or that of the Composer package."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.php import PhpError, PhpServer, require_laravel, run_php

APP: Final = Path(__file__).resolve().parents[1] / "laravel_app"
#: The Composer package, and an application that has it installed.
PACKAGE: Final = Path(__file__).resolve().parents[2] / "clients" / "laravel"
PACKAGED_APP: Final = PACKAGE / "tests" / "app"
MIN_SECRET_BYTES: Final = 32
REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the application with a fresh token: what a client sends in its `auth` frame."""

    token: str
    user_id: int
    name: str


class LaravelApp:
    """The running application. Requests that fail raise PhpError with the end of the server's log."""

    def __init__(self, server: PhpServer, settings: Mapping[str, str]) -> None:
        """`server` has been started, with `settings` in its environment."""
        self._server = server
        #: What another process of the application needs in its environment.
        self.settings = settings
        #: The base, `http://127.0.0.1:PORT`, the same after stop() and start().
        self.url = f"http://127.0.0.1:{server.port}"
        self._http = httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    async def events(self) -> list[dict[str, Any]]:
        """The connection events it was told of, in the order they were stored, each once: it may be told again.

        Fields: id, event_id, event, data, traceparent, created_at, updated_at.
        """
        rows: list[dict[str, Any]] = (await self._ask("GET", "/api/test/events"))["events"]
        # What has no id was not told by Headgate.
        first = {row["event_id"] or row["id"]: row for row in reversed(rows)}
        return list(reversed(first.values()))

    async def told(self) -> int:
        """How often it was told of a connection event or handed a message, repeats included."""
        events = (await self._ask("GET", "/api/test/events"))["events"]
        return len(events) + sum(int(row["deliveries"]) for row in await self.messages())

    async def messages(self) -> list[dict[str, Any]]:
        """The channel messages it has stored, oldest first; one row per event id.

        Fields: id, event_id, deliveries (how often it was handed over), user_id, session, channel, content,
        traceparent, created_at, updated_at.
        """
        rows: list[dict[str, Any]] = (await self._ask("GET", "/api/test/messages"))["messages"]
        return rows

    async def token(self, name: str, *, ttl: int | None = None) -> Login:
        """Log `name` in, making the user if need be; the token ends after `ttl` seconds, by default never."""
        answer = await self._ask("POST", "/api/demo/token", {"name": name, "ttl": ttl})
        return Login(answer["token"], answer["user"]["id"], answer["user"]["name"])

    def log(self) -> str:
        """The end of the server's output since its last start."""
        return self._server.log()

    async def start(self) -> None:
        """Start it again after stop(), on the same port and database, and wait until it answers."""
        await self._server.start()
        await self.events()

    async def stop(self) -> None:
        """End it; connections are refused from now on. What it stored stays."""
        await self._server.stop()

    async def close(self) -> None:
        """End it for good."""
        await self._http.aclose()
        await self._server.stop()

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise PhpError(f"{method} {path}: {error!r}\n{self.log()}") from error
        answer: dict[str, Any] = response.json()
        return answer


@asynccontextmanager
async def laravel_app(
    secret: str,
    *,
    workers: int = 4,
    key_id: str = "default",
    folder: Path = APP,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[LaravelApp]:
    """The application in `folder`, served with an empty database until the block ends.

    `secret` is shared with the gateway; `settings` are more variables of its environment. Raises PhpError when
    a Debian package is missing or the start fails, ValueError when the secret is shorter than 32 bytes.
    """
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret needs at least {MIN_SECRET_BYTES} bytes")
    await require_laravel()
    with tempfile.TemporaryDirectory(prefix="headgate-laravel-") as name:
        own = Path(name)
        database = own / "database.sqlite"
        database.touch()
        env = {
            "APP_ENV": "testing",
            "APP_DEBUG": "true",
            "DB_DATABASE": str(database),
            "HEADGATE_SECRET": secret,
            "HEADGATE_KEY_ID": key_id,
            # Laravel writes these caches; they must not land in the checkout.
            "APP_PACKAGES_CACHE": str(own / "packages.php"),
            "APP_SERVICES_CACHE": str(own / "services.php"),
            **(settings or {}),
        }
        await run_php("artisan", "migrate", "--force", env=env, cwd=folder)
        server = PhpServer(
            ["-t", "public", "public/index.php"], log=own / "server.log", cwd=folder, env=env, workers=workers
        )
        await server.start()
        app = LaravelApp(server, env)
        try:
            await app.events()
            yield app
        finally:
            await app.close()
