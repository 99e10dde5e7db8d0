"""Where `headgate tail` writes: lines for people or JSON lines, on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console

from console.lines import line_of
from console.records import record
from schemas.entry import Entry
from schemas.readable import to_json

Write = Callable[[str, str, Entry], None]
"""Takes a stream, a stream id and the entry that is there."""


class _Terminal(Console):
    """A console that lets its caller see that the reader of the pipe has gone."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class Lines:
    """Writes entries for people. Cut at the width of a terminal; whole when piped."""

    def __init__(self) -> None:
        self._console = _Terminal(highlight=False, markup=False, emoji=False)

    def __call__(self, stream: str, stream_id: str, entry: Entry) -> None:
        self._console.print(line_of(stream, stream_id, entry), soft_wrap=not self._console.is_terminal)
        self._console.file.flush()


class JsonLines:
    """Writes entries as JSON, one object a line."""

    def __call__(self, stream: str, stream_id: str, entry: Entry) -> None:
        sys.stdout.buffer.write(to_json(record(stream, stream_id, entry)) + b"\n")
        sys.stdout.buffer.flush()


def forget_stdout() -> None:
    """Nobody reads standard output any more: what is still buffered must not fail at the end of the process.

    Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
