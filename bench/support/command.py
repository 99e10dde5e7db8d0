"""What the command lines of all benches have in common."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from bench.support.figures import Figure, heading
from bench.support.machine import CORES, machine


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked for."""

    quick: bool
    json: bool
    size: int | None
    """How much, where the bench asks."""

    def show(self, figures: Iterable[Figure]) -> None:
        """Print figures as they come."""
        for figure in figures:
            print(figure.as_json() if self.json else figure.as_row(), flush=True)


def command(
    description: str, *, quick: str, about: str = "", cores: str = "", size: tuple[str, str] = ("", "")
) -> Command:
    """Read the command line, and say on which machine this is.

    `quick`: what `--quick` does; `about`: what is said of the load; `cores`: what two cores are needed for, without
    which it ends; `size`: an option for how much, and what that does.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    if size[0]:
        parser.add_argument(size[0], type=int, dest="size", help=size[1])
    options = parser.parse_args()
    if cores and len(CORES) < 2:
        sys.exit(f"{parser.prog} needs two cores: {cores}")
    print("; ".join(filter(None, (machine(), about))), file=sys.stderr)
    if not options.json:
        print(heading())
    return Command(options.quick, options.json, getattr(options, "size", None))


def end_on_sigterm() -> None:
    """Let SIGTERM end the running task, so that what it started ends with it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
