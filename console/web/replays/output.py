"""What a replay writes: how far it is, differences, figures."""

from __future__ import annotations

import asyncio
import os
import tempfile
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from console.web.shown import is_hidden

#: Kinds of differences, as console.replay.differences has them.
KINDS: Final = ("changed", "missing", "new")
#: Differences of one page.
PAGE: Final = 50
#: Bytes of differences that are kept of one replay; those after them are counted alone.
MOST_BYTES: Final = 32 * 1024 * 1024
_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a replay is."""

    read: int = 0
    """Entries of logs and trails."""
    total: int | None = None
    """All that there are; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How a replay went. Outputs are counted by how they compare."""

    read: int
    identical: int
    changed: int
    missing: int
    new: int
    not_judged: Mapping[str, int]
    """Entries and outputs that were not compared, by why."""
    seconds: float
    per_second: int
    """Entries."""

    @property
    def compared(self) -> int:
        """Outputs."""
        return self.identical + self.changed + self.missing + self.new

    @property
    def percent(self) -> float:
        """Outputs that are identical, of 100; rounded down, so that 100 means all."""
        return self.identical * 1000 // self.compared / 10 if self.compared else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """An output that is not what it was."""

    kind: str
    """One of KINDS."""
    processor: str
    """Who makes it; empty where nobody does now."""
    id: str
    type: str
    session: str
    cause: str
    changes: Sequence[tuple[str, Any, Any]]
    """(path, recorded, now) of each value that differs; None for one that is not there."""


def reading_of(line: bytes) -> Reading | None:
    """How far it is, if this line of standard error says so."""
    value = _object(line)
    if value is None or value.keys() != {"read", "total"}:
        return None
    return Reading(**value)


def figures_of(line: bytes) -> Figures | None:
    """How it went, if this line of standard output says so."""
    value = _object(line)
    return Figures(**value) if value is not None and value.keys() == set(Figures.__dataclass_fields__) else None


def difference_of(line: bytes) -> Difference:
    """The difference that this line of standard output is, without what must not be shown."""
    value: dict[str, Any] = orjson.loads(line)
    changes = []
    for path, both in value["changes"].items():
        hidden = is_hidden(value["type"], path)
        changes.append((path, *("(hidden)" if hidden else both[name] for name in ("recorded", "now"))))
    names = ("processor", "id", "type", "session", "cause")
    return Difference(kind=value["result"], changes=changes, **{name: value[name] for name in names})


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of `stream`, however long, without their ends."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


class Differences:
    """The first differences of a replay, in a file without a name, and where each of them is in it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Makes the file; raises OSError."""
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # Open as long as this is.
        self._most = most_bytes
        self._ends = array("Q", [0])
        """The end of each line in the file, and so the beginning of the next."""
        self._of: dict[str, array[int]] = defaultdict(lambda: array("Q"))
        """The numbers of lines, by kind."""
        self.found = 0
        """How many there were."""

    @property
    def kept(self) -> int:
        """How many are in the file; fewer than were found where these were too many."""
        return len(self._ends) - 1

    def take(self, line: bytes) -> None:
        """The next one, as the command writes it."""
        whole, self.found = self.kept == self.found, self.found + 1
        if not whole or self._ends[-1] + len(line) > self._most or not self._written(line):
            return
        self._of[orjson.loads(line)["result"]].append(self.kept)
        self._ends.append(self._ends[-1] + len(line))

    def count(self, kind: str) -> int:
        """How many of `kind` are in the file; of all kinds if it is empty."""
        return len(self._of[kind]) if kind else self.kept

    def page(self, kind: str, start: int) -> list[Difference]:
        """At most PAGE of `kind` from the `start`-th on; of all kinds if it is empty."""
        numbers: Sequence[int] = self._of[kind] if kind else range(self.kept)
        return [difference_of(self._read(number)) for number in numbers[start : start + PAGE]]

    def close(self) -> None:
        """Forget all of them."""
        self._file.close()

    def _written(self, line: bytes) -> bool:
        try:
            return os.pwrite(self._file.fileno(), line, self._ends[-1]) == len(line)
        except OSError:  # The disk is full, say: those before it can be read nevertheless.
            return False

    def _read(self, number: int) -> bytes:
        begin, end = self._ends[number], self._ends[number + 1]
        return os.pread(self._file.fileno(), end - begin, begin)
