"""What `headgate dev` decides before it starts anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from console.plan import make_plan
from runtime.settings import Settings
from schemas.errors import ConfigurationError

ANY_PORTS = ("INGRESS_PORT", "INGRESS_HTTP_PORT", "PROCESSORS_HTTP_PORT", "API_PORT", "CONSOLE_PORT")


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ANY_PORTS:
        monkeypatch.setenv(f"HEADGATE_{name}", "0")


def test_defaults_are_completed(tmp_path: Path) -> None:
    """Without settings: own server, stand-in, a made secret, the page's two origins, all data in one directory."""
    plan = make_plan(Settings(), port=0, data_dir=tmp_path / "data")
    settings = plan.settings
    assert plan.embedded_redis
    assert plan.stand_in
    assert settings.data_dir == tmp_path / "data"
    assert settings.archive_url == f"sqlite+aiosqlite:///{tmp_path}/data/archive.db"
    assert settings.allowed_origins == (f"http://localhost:{plan.port}", f"http://127.0.0.1:{plan.port}")
    assert len(settings.secret_bytes()) >= 32
    assert plan.environment()["HEADGATE_PUBSUB_BRIDGE"] == "True"
    assert 0 not in (plan.port, settings.ingress_port, settings.api_port)


def test_the_secret_is_kept_and_private(tmp_path: Path) -> None:
    """The made secret is the same at the next start, and only its owner can read it."""
    first = make_plan(Settings(), port=0, data_dir=tmp_path)
    second = make_plan(Settings(), port=0, data_dir=tmp_path)
    assert first.settings.secret == second.settings.secret
    assert first.made_secret == tmp_path / "secret"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_what_is_configured_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured log, application, secret or origin is used and not replaced."""
    given = {
        "REDIS_URL": "redis://example.test/0",
        "LARAVEL_URL": "http://127.0.0.1:8000",
        "SECRET": "s" * 32,
        "ALLOWED_ORIGINS": "https://example.test",
        "ARCHIVE_URL": "sqlite+aiosqlite:///x.db",
        "PUBSUB_BRIDGE": "False",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"HEADGATE_{name}", value)
    plan = make_plan(Settings(), port=0, data_dir=tmp_path)
    assert not plan.embedded_redis
    assert not plan.stand_in
    assert plan.made_secret is None
    environment = plan.environment()
    assert {name: environment[f"HEADGATE_{name}"] for name in given} == given
    assert not (tmp_path / "secret").exists()


def test_the_children_get_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings read from the children's environment are those of the plan."""
    plan = make_plan(Settings(), port=0, data_dir=tmp_path).with_(redis_url="redis://127.0.0.1:1/0")
    for name, value in plan.environment().items():
        monkeypatch.setenv(name, value)
    own = {"gateway_id"}
    assert Settings().model_dump(exclude=own) == plan.settings.model_dump(exclude=own)


def test_a_short_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured secret that the services would refuse is refused before anything starts."""
    monkeypatch.setenv("HEADGATE_SECRET", "short")
    with pytest.raises(ConfigurationError, match="HEADGATE_SECRET"):
        make_plan(Settings(), port=0, data_dir=tmp_path)


@pytest.mark.parametrize(("kind", "setting"), [(socket.SOCK_STREAM, "API_PORT"), (socket.SOCK_DGRAM, "INGRESS_PORT")])
def test_a_taken_port_is_named(
    kind: socket.SocketKind, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is taken is named, with the variable that chooses another."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv(f"HEADGATE_{setting}", str(port))
        with pytest.raises(ConfigurationError, match=f"port {port} .* HEADGATE_{setting}"):
            make_plan(Settings(), port=0, data_dir=tmp_path)


def test_a_taken_demo_port_is_named(tmp_path: Path) -> None:
    """The demo's port, when taken, is named with the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} .*--port"):
            make_plan(Settings(), port=port, data_dir=tmp_path)
