"""What the bench runs on, in words, and which core is whose."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

_CORES: Final = sorted(os.sched_getaffinity(0))
#: The server under load has a core for itself, the generator another one.
SERVER_CORE: Final = {_CORES[0]}
GENERATOR_CORE: Final = {_CORES[-1]}
ALL_CORES: Final = set(_CORES)


def pin_self(cores: Collection[int]) -> None:
    """Let this process run on `cores` only."""
    os.sched_setaffinity(0, cores)


def machine() -> str:
    """Cores, processor, load before the start, and the versions that matter."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    redis = subprocess.run(
        [shutil.which("redis-server") or "redis-server", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[2]
    return (
        f"{len(_CORES)} cores ({model}), load average {os.getloadavg()[0]:.2f} before the start; "
        f"Python {platform.python_version()}, aioquic {importlib.metadata.version('aioquic')}, Redis {redis.removeprefix('v=')}"
    )
