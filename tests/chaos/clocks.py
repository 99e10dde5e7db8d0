"""Wall clocks that step, one for each process; monotonic clocks are left alone.

By libfaketime (https://github.com/wolfcw/libfaketime), which is loaded into the process and reads a file at each look
at the clock. Its time.sleep() does not work beside a monotonic clock that goes right: no service sleeps so.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

#: Where Debian's package libfaketime puts it, whatever the machine.
_LIBRARIES: Final = "*/faketime/libfaketime.so.1"


class Clock:
    """The wall clock of the processes that are started with `env`."""

    def __init__(self, path: Path) -> None:
        """`path`: the file that says how far it is off. Raises RuntimeError without libfaketime."""
        self._path = path
        library = next(Path("/usr/lib").glob(_LIBRARIES), None)
        if library is None:
            raise RuntimeError("libfaketime is not installed (Debian: libfaketime)")
        self.env: Final = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # The times of files are true ones.
            "NO_FAKE_STAT": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let it be so far ahead (negative: behind) from now on."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._path)


def forget(pid: int) -> None:
    """Remove what libfaketime leaves of a process that was killed: it would end the next one with this pid."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with contextlib.suppress(OSError):
            Path("/dev/shm", name).unlink()
