"""What the bench runs on, in words, and which core is whose."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

#: What this process may use.
CORES: Final = sorted(os.sched_getaffinity(0))
#: Of one core for the server under load alone, and another one for the generator.
SERVER_CORE: Final = CORES[0]
GENERATOR_CORE: Final = CORES[-1]


def pin_self(cores: Collection[int]) -> None:
    """Let this process run on `cores` only."""
    os.sched_setaffinity(0, cores)


def busy_seconds() -> float:
    """CPU time that the whole machine has used so far, by anybody (proc_stat(5)); time waiting for disks is idle."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Cores, processor, load before the start, and the versions that matter."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return (
        f"{len(CORES)} cores ({model}), load average {os.getloadavg()[0]:.2f} before the start; "
        f"Python {platform.python_version()}, aioquic {importlib.metadata.version('aioquic')}, "
        f"Redis {redis.split()[2].removeprefix('v=')}"
    )
