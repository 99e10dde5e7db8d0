"""A real PostgreSQL server with a data directory of its own, for tests."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

START_TIMEOUT_S: Final = 60.0
#: Who owns the server where the tests are root, which PostgreSQL refuses to be.
_OWNERS: Final = ("postgres", "nobody")
#: The name of the socket's file, which is all that is left of the port.
_PORT: Final = 5432


class PostgresServer:
    """A running postgres; reached over a socket in its own folder."""

    def __init__(self, binaries: Path, folder: Path, as_owner: dict[str, Any]) -> None:
        self._binaries = binaries
        self._folder = folder
        self._as_owner = as_owner
        self._process: asyncio.subprocess.Process | None = None

    def url(self, database: str = "postgres") -> str:
        """Of `database`, for SQLAlchemy."""
        return f"postgresql+asyncpg://headgate@/{database}?host={self._folder}&port={_PORT}"

    async def start(self) -> None:
        """Start it and wait until it lets clients in; raises RuntimeError with its log when it does not."""
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                str(self._binaries / "postgres"),
                *("-D", str(self._folder / "data"), "-k", str(self._folder), "-p", str(_PORT), "-h", ""),
                *("-c", "fsync=off"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **self._as_owner,
            )
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while "ready to accept connections" not in log.read_text(errors="replace"):
            if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                await self.stop()
                raise RuntimeError(f"postgres did not start:\n{log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.05)
        log.write_text("")

    async def stop(self) -> None:
        """End it, with all that its clients are doing."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGQUIT)
        await process.wait()

    async def create(self, database: str) -> str:
        """Make an empty database and give its URL."""
        await asyncio.to_thread(_run, [str(self._binaries / "createdb"), "-h", str(self._folder), "-U", "headgate",
                                       database], {})  # fmt: skip
        return self.url(database)


def _binaries() -> Path:
    """Where initdb and postgres are; raises RuntimeError."""
    # Debian puts them outside of PATH: /usr/lib/postgresql/VERSION/bin.
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if (found := shutil.which("postgres")) is not None:
        places.append(Path(found).resolve().parent)
    for place in places:
        if (place / "initdb").exists():
            return place
    raise RuntimeError("there is no PostgreSQL server: install it (Debian: postgresql)")


def _owner() -> dict[str, Any]:
    """As whom the server runs: whoever runs the tests, or somebody else than root."""
    if os.getuid() != 0:
        return {}
    for name in _OWNERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError(f"PostgreSQL does not run as root, and there is nobody else: {', '.join(_OWNERS)}")


def _run(command: list[str], as_owner: dict[str, Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **as_owner)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


@asynccontextmanager
async def postgres_server() -> AsyncIterator[PostgresServer]:
    """An empty server without a port, until the block ends."""
    binaries, as_owner = _binaries(), _owner()
    # The path of a socket is short (unix(7): 108 bytes), those of pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="headgate-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if as_owner:
            os.chown(folder, as_owner["user"], as_owner["group"])
        os.chmod(folder, 0o755)
        initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "headgate", "--auth=trust", "--no-sync"]
        await asyncio.to_thread(_run, [*initdb, "-E", "UTF8", "--no-locale"], as_owner)
        server = PostgresServer(binaries, folder, as_owner)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
