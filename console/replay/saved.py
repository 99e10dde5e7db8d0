"""How far a replay into a sandbox came, kept in the sandbox's own server: one snapshot has both, so that they fit."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import redis.asyncio as aioredis

from console.replay.decided import Decided
from console.replay.sandbox import PREFIX
from schemas.errors import ConfigurationError

#: Seconds between two snapshots: what was replayed since the last one is replayed again after an end nobody foresaw.
EVERY_S: Final = 30.0
#: As a Redis server calls it unless it is told otherwise.
_SNAPSHOT: Final = "dump.rdb"
_KEY: Final = f"{PREFIX}saved"
_ROOT: Final = Path(__file__).parents[2]
#: Whose code decides, or judges what was decided.
_DECIDES: Final = ("schemas", "runtime", "processors", "egress", "console/replay")
#: Modules of which a snapshot has objects; nothing else is made of what is read.
_OWN: Final = ("console.replay.", "runtime.recording", "schemas.")
_PLAIN: Final = {
    "builtins": frozenset({"dict", "list", "set", "frozenset"}),
    "collections": frozenset({"Counter", "OrderedDict", "defaultdict", "deque"}),
}


class Saved:
    """The snapshots of one replay. Every method raises RedisError."""

    def __init__(self, client: aioredis.Redis, folder: Path, outside: Mapping[str, Any], what: str) -> None:
        """`client`: of the sandbox's server, which has its data in `folder`. `what`: says which replay this is.

        `outside`: what is not kept but there anew each time, by name.
        """
        self._client = client
        self._folder = folder
        self._outside = outside
        self._is = hashlib.sha256(f"{what}/{_code()}".encode()).hexdigest()
        self._last = time.monotonic()

    async def load(self) -> Decided | None:
        """What was kept; raises ConfigurationError if that is of another replay, or was made by other code."""
        kept: Any = await self._client.hmget(_KEY, ["is", "decided"])
        if kept[0] is None and not await self._client.dbsize():
            return None
        if kept[0] != self._is.encode():
            raise ConfigurationError(
                "the checkpoint is of a replay of something else, or the code has changed since: "
                "remove it to begin anew, or name another"
            )
        try:
            found = Reader(io.BytesIO(kept[1]), self._outside).load()
        except pickle.UnpicklingError as error:
            raise ConfigurationError(f"the checkpoint cannot be read: {error}") from error
        assert isinstance(found, Decided)
        return found

    async def save(self, decided: Decided) -> None:
        """Keep it, and all of the sandbox, on disk."""
        out = io.BytesIO()
        _Pickler(out, self._outside).dump(decided)
        values: Any = {"is": self._is, "decided": out.getvalue()}
        await self._client.hset(_KEY, mapping=values)
        await self._client.save()
        self._last = time.monotonic()

    def complete(self) -> None:
        """All was replayed: there is nothing to go on with."""
        (self._folder / _SNAPSHOT).unlink(missing_ok=True)

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last >= EVERY_S


def _code() -> str:
    """Digest of the code that decides."""
    found = hashlib.sha256()
    for package in _DECIDES:
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in (".py", ".lua"):
                found.update(f"{path.relative_to(_ROOT)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def tidied(folder: Path) -> None:
    """Leave nothing of a checkpoint whose replay is complete."""
    if not (folder / _SNAPSHOT).exists():
        (folder / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Somebody else's files are in it.
            folder.rmdir()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, outside: Mapping[str, Any]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._names = {id(one): name for name, one in outside.items()}

    def persistent_id(self, obj: Any) -> str | None:
        return self._names.get(id(obj))


class Reader(pickle.Unpickler):
    """Makes of a checkpoint the objects that a replay has, and no others; raises UnpicklingError."""

    def __init__(self, file: io.BytesIO, outside: Mapping[str, Any]) -> None:
        super().__init__(file)
        self._outside = outside

    def persistent_load(self, pid: str) -> Any:
        return self._outside[pid]

    def find_class(self, module: str, name: str) -> Any:
        if "." not in name and (module.startswith(_OWN) or (module in _PLAIN and name in _PLAIN[module])):
            found = super().find_class(module, name)
            # Not what its module has from others: a checkpoint is of whoever could write to it.
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"a checkpoint has no {module}.{name}")
