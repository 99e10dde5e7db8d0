"""How far a replay came, so that one that was interrupted goes on from there."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from runtime.recording import Record
from schemas.errors import ConfigurationError

#: Seconds between two writes: what was replayed since the last one is replayed again after an end that nobody foresaw.
_EVERY_S: Final = 1.0


class Checkpoint:
    """The last stream id of each stream, in a file; kept nowhere without one."""

    def __init__(self, path: Path | None, what: str) -> None:
        """`what`: says which replay this is. Raises ConfigurationError for a file that is of none, or of another."""
        self._path = path
        self._of = hashlib.sha256(what.encode()).hexdigest()
        self._complete = False
        self.positions: dict[str, str] = {}
        self.run = secrets.token_hex(4)
        """Name of the replay: the same when it is gone on with."""
        if path is not None and path.exists():
            try:
                kept = orjson.loads(path.read_bytes())
                self.positions, self.run, of = dict(kept["after"]), str(kept["run"]), kept["of"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(f"{path} is no checkpoint of a replay") from error
            if of != self._of:
                raise ConfigurationError(
                    f"{path} is the checkpoint of a replay of something else: remove it to begin anew, or name another"
                )
        self._written = time.monotonic()

    def reached(self, batch: Sequence[Record]) -> None:
        """`batch` was replayed."""
        if self._path is None:
            return
        for record in batch:
            self.positions[record.stream] = record.stream_id
        if time.monotonic() - self._written >= _EVERY_S:
            self.write()

    def write(self) -> None:
        """Keep what was reached, unless that is everything."""
        if self._path is None or self._complete:
            return
        self._written = time.monotonic()
        new = self._path.with_suffix(".new")
        new.write_bytes(orjson.dumps({"of": self._of, "run": self.run, "after": self.positions}))
        new.replace(self._path)

    def complete(self) -> None:
        """All was replayed."""
        self._complete = True
        if self._path is not None:
            self._path.unlink(missing_ok=True)
