"""How far a replay came, so that one that was interrupted goes on from there."""

from __future__ import annotations

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

    def __init__(self, path: Path | None) -> None:
        """Raises ConfigurationError for a file that is none."""
        self._path = path
        self._complete = False
        self.positions: dict[str, str] = {}
        if path is not None and path.exists():
            try:
                self.positions = dict(orjson.loads(path.read_bytes())["after"])
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(f"{path} is no checkpoint of a replay") from error
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
        new.write_bytes(orjson.dumps({"after": self.positions}))
        new.replace(self._path)

    def complete(self) -> None:
        """All was replayed."""
        self._complete = True
        if self._path is not None:
            self._path.unlink(missing_ok=True)
