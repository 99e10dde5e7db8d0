"""How far a replay is, on standard error: a bar for people, JSON lines for programs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from schemas.readable import to_json

#: Seconds between two lines, at least.
EVERY_S: Final = 0.5


class Progress:
    """Told what was read, until the block ends. Shows a bar on a terminal; elsewhere lines, or nothing."""

    def __init__(self, total: int | None, *, read: int = 0, lines: bool) -> None:
        """`total`: entries that there are, if that is known. `read`: those of an earlier run that it goes on from.
        `lines`: whether programs are told."""
        terminal = sys.stderr.isatty()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=not terminal)
        self._task = self._bar.add_task("replayed", total=total, completed=read)
        self._lines = lines and not terminal
        self._total = total
        self._read = read
        self._written = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def advance(self, entries: int) -> None:
        """So many more were read."""
        self._read += entries
        self._bar.update(self._task, advance=entries)
        if time.monotonic() - self._written >= EVERY_S:
            self._write()

    def stop(self) -> None:
        """That was all."""
        self._bar.stop()

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._lines:
            sys.stderr.write(to_json({"read": self._read, "total": self._total}).decode() + "\n")
            sys.stderr.flush()
