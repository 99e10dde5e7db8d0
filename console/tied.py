"""Runs a command that ends when its parent does, however that ends: `python tied.py PARENT COMMAND …`.

It asks the kernel for SIGKILL at the parent's death, then becomes the command, so the process id stays the
same (https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html). It is a program of its own, no code
between fork and exec, because the parent may have threads. Only Linux has this; elsewhere a child outlives a
parent that was killed. Imports nothing of the project: it is run by its path, without any packages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # It died before it could be watched.
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
