"""The Composer package (clients/laravel): its own tests in a real Laravel application, its manifest, its style."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.laravel import PACKAGE
from tests.support.php import PhpError, require_laravel
from tests.support.redis_server import RedisServer, redis_server

RUN_TIMEOUT_S: Final = 500.0
#: What of the package's bench is PHP.
BENCH: Final = PACKAGE.parents[1] / "bench" / "support" / "php"
#: Command -> the Debian package that brings it.
TOOLS: Final = {"phpunit": "phpunit", "composer": "composer", "phpcs": "php-codesniffer"}


async def run(tool: str, *arguments: str, home: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a tool over the package and give its output; raises PhpError with that when it fails or is missing."""
    path = shutil.which(tool)
    if path is None:
        raise PhpError(f"{tool} is not on PATH: install the package {TOOLS[tool]}")
    process = await asyncio.create_subprocess_exec(
        path,
        *arguments,
        cwd=PACKAGE,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(home), **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), RUN_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise PhpError(f"{tool} ended with {process.returncode}:\n{text}")
    return text


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A server whose databases the package's tests may empty."""
    async with redis_server() as server:
        yield server


@pytest.mark.timeout(RUN_TIMEOUT_S + 20)
async def test_the_packages_own_tests_pass(redis: RedisServer, tmp_path: Path) -> None:
    """Every test of the package passes in a Laravel application with a real Redis, and none is skipped."""
    await require_laravel()
    output = await run("phpunit", home=tmp_path, env={"REDIS_PORT": str(redis.port)})
    assert "\nOK (" in output, output


async def test_the_manifest_is_valid(tmp_path: Path) -> None:
    """Composer finds nothing to say about composer.json."""
    await run(
        "composer", "validate", "--strict", "--no-interaction", home=tmp_path, env={"COMPOSER_ALLOW_SUPERUSER": "1"}
    )


async def test_the_sources_follow_psr_12(tmp_path: Path) -> None:
    """The package's sources, tests, test application and bench are in PSR-12, lines of at most 120 characters."""
    folders = ["src", "config", "routes", "database", "tests", str(BENCH)]
    await run("phpcs", "--standard=PSR12", "--extensions=php", *folders, home=tmp_path)
