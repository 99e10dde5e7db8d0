"""PHP from Debian's packages: whether it is there, one-off scripts, and its built-in web server.

Nothing here skips: a test that needs PHP fails with the name of the package to install.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE

START_TIMEOUT_S: Final = 15.0 * PATIENCE
STOP_TIMEOUT_S: Final = 5.0 * PATIENCE
RUN_TIMEOUT_S: Final = 30.0 * PATIENCE

#: PHP extension -> the Debian package that brings it.
_EXTENSIONS: Final = {
    "dom": "php-xml",
    "mbstring": "php-mbstring",
    "pdo_sqlite": "php-sqlite3",
}
#: A file on the include path -> the Debian package that brings it.
_LIBRARIES: Final = {
    "GuzzleHttp/autoload.php": "php-guzzlehttp-guzzle",
    "Illuminate/autoload.php": "php-laravel-framework",
}

#: Prints what is missing of the extensions and the files that it is given.
_PROBE: Final = """
$missing = array_values(array_filter(json_decode($argv[1]), fn ($name) => ! extension_loaded($name)));
$absent = array_values(array_filter(json_decode($argv[2]), fn ($file) => ! stream_resolve_include_path($file)));
echo json_encode([...$missing, ...$absent]);
"""

_LISTENING: Final = re.compile(r"Development Server \(http://127\.0\.0\.1:\d+\) started")
_FRAME: Final = re.compile(r"#\d+ ")


class PhpError(RuntimeError):
    """PHP or one of its packages is absent, or what it ran failed; the text says which, with its output."""


def php_binary() -> str:
    """The path of `php`; raises PhpError when it is not on PATH."""
    path = shutil.which("php")
    if path is None:
        raise PhpError("php is not on PATH: install the package php-cli")
    return path


async def require_laravel() -> None:
    """Raise PhpError, naming the packages to install, unless PHP can run a Laravel application on SQLite."""
    missing = json.loads(await run_php("-r", _PROBE, "--", json.dumps(list(_EXTENSIONS)), json.dumps(list(_LIBRARIES))))
    if missing:
        packages = " ".join((_EXTENSIONS | _LIBRARIES)[name] for name in missing)
        raise PhpError(f"PHP cannot run Laravel here: install the packages {packages}")


async def run_php(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run `php` to its end and give what it wrote to stdout.

    `env` comes on top of PATH alone. Raises PhpError when it fails or takes more than 30 s.
    """
    process = await asyncio.create_subprocess_exec(
        php_binary(),
        *arguments,
        env=_environment(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), RUN_TIMEOUT_S)
    except TimeoutError:
        raise PhpError(f"php {' '.join(arguments)} took more than {RUN_TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = (out + err).decode(errors="replace")
        raise PhpError(f"php {' '.join(arguments)} ended with {process.returncode}:\n{text}")
    return out.decode()


class PhpServer:
    """`php -S` on 127.0.0.1 with several workers, in a session (process group) of its own.

    It can be stopped and started again on the same port, so that a test can take the application away.
    """

    def __init__(self, arguments: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str], workers: int) -> None:
        """`arguments` follow `php -S address`; `log` is the file that takes its output."""
        self._arguments = arguments
        self._log = log
        self._cwd = cwd
        self._env = _environment({**env, "PHP_CLI_SERVER_WORKERS": str(workers)})
        self._process: asyncio.subprocess.Process | None = None
        self._port = free_port()

    @property
    def port(self) -> int:
        """The TCP port, the same after each start."""
        return self._port

    def log(self, lines: int = 40) -> str:
        """The last lines of its output, without the stack frames that would crowd the errors out."""
        output = self._log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in output if not _FRAME.match(line)][-lines:])

    async def start(self) -> None:
        """Start it and wait until it listens; raises PhpError when it ends or 15 s pass first."""
        with self._log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                php_binary(),
                "-q",
                "-S",
                f"127.0.0.1:{self._port}",
                *self._arguments,
                env=self._env,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._listening(self._process)
        except TimeoutError:
            await self.stop()
            message = f"php -S did not listen within {START_TIMEOUT_S:.0f} s:\n{self.log()}"
            raise PhpError(message) from None
        except BaseException:
            await self.stop()
            raise

    async def _listening(self, process: asyncio.subprocess.Process) -> None:
        # PHP gives no other sign than the line that it logs once the socket listens.
        while not _LISTENING.search(self._log.read_text(errors="replace")):
            if process.returncode is not None:
                raise PhpError(f"php -S ended with {process.returncode}:\n{self.log()}")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End the server and its workers; a server that has been stopped stays so."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        # Also when the leader has ended: a worker in the middle of a request may have outlived it.
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    # The leader of a session has its own pid as the group's id; no group means that nobody is left in it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), **(extra or {})}
