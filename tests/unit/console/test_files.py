"""Files of what clients sent."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from console.files import open_private
from schemas.errors import ConfigurationError


@pytest.mark.parametrize("append", [False, True])
def test_a_file_is_its_owners_alone(tmp_path: Path, append: bool) -> None:
    """One that is made, and one that was there for others to read."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_bytes(b"before ")
    old.chmod(0o666)
    for path in (new, old):
        with open_private(path, append=append) as file:
            file.write(b"secret")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert old.read_bytes() == (b"before secret" if append else b"secret")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """It is refused with words, and nothing is written where it leads."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        open_private(tmp_path / "link")
    assert os.listdir(tmp_path) == ["link"]


def test_what_is_no_file_keeps_its_mode() -> None:
    """A device or a pipe is not the command's to change."""
    before = os.stat(os.devnull).st_mode
    with open_private(Path(os.devnull)) as file:
        file.write(b"nothing")
    assert os.stat(os.devnull).st_mode == before
