"""Files of what clients sent: only their owner may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from schemas.errors import ConfigurationError


def open_private(path: Path, *, append: bool = False, buffering: int = -1) -> IO[bytes]:
    """Open a file to write into it, for its owner alone, also one that was there with another mode.

    A symbolic link is not followed: who can write to the directory would choose what is overwritten. Raises
    ConfigurationError.
    """
    return open(path, "ab" if append else "wb", buffering=buffering, opener=_opener)


def _opener(path: str, flags: int) -> int:
    try:
        file = os.open(path, flags | os.O_NOFOLLOW, 0o600)
        if stat.S_ISREG(os.fstat(file).st_mode):
            os.fchmod(file, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    return file
