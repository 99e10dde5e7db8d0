"""An application that has the Composer package, as a server and as a worker on the log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from tests.support.command import outcome
from tests.support.laravel import PACKAGED_APP, REQUEST_TIMEOUT_S, LaravelApp, laravel_app
from tests.support.php import php_binary
from tests.support.system import SECRET, System, environment

#: Where the package's routes are: settings of the services.
ROUTES: Final[dict[str, Any]] = {
    "laravel_verify_path": "/headgate/auth/verify",
    "laravel_handle_path": "/headgate/handle",
    "laravel_event_path": "/headgate/event",
    "laravel_authorize_path": "/headgate/authorize",
}


def packaged(redis_url: str, api_url: str, **more: str) -> AbstractAsyncContextManager[LaravelApp]:
    """The package's application, which broadcasts through its driver; `more` of its environment."""
    settings = {
        "REDIS_PORT": str(urlsplit(redis_url).port),
        "HEADGATE_API_URL": api_url,
        "BROADCAST_DRIVER": "headgate",
        **more,
    }
    return laravel_app(SECRET, folder=PACKAGED_APP, settings=settings)


@asynccontextmanager
async def worker(running: System) -> AsyncIterator[asyncio.subprocess.Process]:
    """`headgate:consume` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        php_binary(),
        "artisan",
        "headgate:consume",
        "--from-start",
        "--lease=1",
        cwd=PACKAGED_APP,
        env={"PATH": os.environ.get("PATH", os.defpath), **running.laravel.settings},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def ask(
    running: System, method: str, path: str, form: dict[str, str] | None = None, **headers: str
) -> httpx.Response:
    """What a page of the application's would ask of it; header names with _ for -."""
    async with httpx.AsyncClient(base_url=running.laravel.url, trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await http.request(method, path, data=form, headers=named)
    assert response.is_success, (response.text, running.laravel.log())
    return response


async def heard(running: System, session: str) -> list[tuple[str, str]]:
    """The events that the application's listeners heard of a session and its channels: name and reason."""
    rows = [row for row in await running.laravel.events() if row["data"]["session"] == session]
    return [(row["event"].rpartition("\\")[2], row["data"]["reason"]) for row in rows]


async def replayed(running: System, **settings: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Of a replay of all in a sandbox: exit status, differences, figures."""
    await running.settled()
    routes = {f"HEADGATE_{name.upper()}": value for name, value in (ROUTES | settings).items()}
    env = environment(running.folder, running.redis.url, running.laravel.url) | routes
    arguments = ("replay", "--target", "sandbox", "--json")
    status, output, errors = await outcome(*arguments, env=env, cwd=running.folder)
    assert status in (0, 1), errors
    *differences, figures = [json.loads(line) for line in output.splitlines()]
    return status, differences, figures
