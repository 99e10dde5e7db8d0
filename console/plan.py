"""What `headgate dev` runs with: settings completed by development defaults, the same for its children."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from console.config import variable_of
from console.supervisor import environment, headgate
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.signing import check_secret

SERVICES: Final = ("ingress", "processors", "egress")
#: Ports that a service listens on: (setting, setting of the host, socket type, what it is for).
_PORTS: Final = (
    ("ingress_port", "ingress_host", socket.SOCK_DGRAM, "WebTransport"),
    ("ingress_http_port", "ingress_http_host", socket.SOCK_STREAM, "health of the gateway"),
    ("processors_http_port", "processors_http_host", socket.SOCK_STREAM, "health of the processors"),
    ("api_port", "api_host", socket.SOCK_STREAM, "HTTP API"),
    ("console_port", "console_host", socket.SOCK_STREAM, "web console"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before the first process starts."""

    settings: Settings
    port: int
    """Of the demo page."""
    embedded_redis: bool
    """Whether a server is started here; otherwise the configured one is used."""
    stand_in: bool
    """Whether the stand-in application answers; otherwise the configured Laravel."""
    made_secret: Path | None
    """The file of the secret that was made here."""

    def with_(self, **changes: Any) -> Plan:
        """The plan with settings that are only known once something has started."""
        return Plan(
            self.settings.model_copy(update=changes),
            self.port,
            self.embedded_redis,
            self.stand_in,
            self.made_secret,
        )

    def environment(self) -> dict[str, str]:
        """The environment of the children: ours, with the settings of this plan."""
        settings = self.settings
        chosen = {
            "data_dir": str(settings.data_dir),
            "ingress_host": settings.ingress_host,
            # More would need further ports for operators.
            "ingress_workers": "1",
            "archive_url": settings.archive_url,
            "redis_url": settings.redis_url,
            "laravel_url": settings.laravel_url,
            "secret": settings.secret.get_secret_value(),
            "allowed_origins": ",".join(settings.allowed_origins),
            "pubsub_bridge": str(settings.pubsub_bridge),
            **{name: str(getattr(settings, name)) for name, *_ in _PORTS},
        }
        return environment(**{variable_of(name): value for name, value in chosen.items()}, PYTHONUNBUFFERED="1")

    def command(self, service: str) -> list[str]:
        """The command of a child: `headgate SERVICE` of this very code, wherever it is started."""
        return headgate(service)


def make_plan(settings: Settings, *, port: int, data_dir: Path | None) -> Plan:
    """Complete `settings` for development. Makes the data directory and, if need be, the secret in it.

    Raises ConfigurationError when a port is taken or a configured secret is too short.
    """
    given = settings.model_fields_set
    folder = (data_dir or settings.data_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = _port_to_use(port, "127.0.0.1", socket.SOCK_STREAM, _demo_port_taken)
    if "ingress_host" not in given and not socket.has_dualstack_ipv6():
        settings = settings.model_copy(update={"ingress_host": "127.0.0.1"})
    changes: dict[str, Any] = {"data_dir": folder} | _ports(settings)
    if "archive_url" not in given:
        changes["archive_url"] = f"sqlite+aiosqlite:///{folder}/archive.db"
    if "allowed_origins" not in given:
        changes["allowed_origins"] = (f"http://localhost:{port}", f"http://127.0.0.1:{port}")
    if "pubsub_bridge" not in given:
        changes["pubsub_bridge"] = True
    made_secret = None
    if settings.secret.get_secret_value():
        settings.secret_bytes()
    else:
        made_secret = folder / "secret"
        changes["secret"] = type(settings.secret)(_development_secret(made_secret))
    return Plan(
        settings=settings.model_copy(update=changes),
        port=port,
        embedded_redis="redis_url" not in given,
        stand_in="laravel_url" not in given,
        made_secret=made_secret,
    )


def _ports(settings: Settings) -> dict[str, int]:
    def taken(name: str, purpose: str) -> Callable[[int], str]:
        return lambda port: f"port {port} ({purpose}) is taken: set {variable_of(name)} to another one, or to 0 for any"

    return {
        name: _port_to_use(getattr(settings, name), getattr(settings, host), kind, taken(name, purpose))
        for name, host, kind, purpose in _PORTS
    }


def _demo_port_taken(port: int) -> str:
    return f"port {port} (demo page) is taken: choose another one with --port, or --port 0 for any"


def _port_to_use(port: int, host: str, kind: socket.SocketKind, taken: Callable[[int], str]) -> int:
    """`port` if it is free, any free one if it is 0; raises ConfigurationError with the words of `taken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # As the listeners do: a port whose last connections are fading away is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(f"{taken(port)} ({error.strerror})") from error
        return int(probe.getsockname()[1])


def _development_secret(path: Path) -> str:
    """The secret in `path`, made at the first start; readable by its owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_text().strip()
        check_secret(secret)
        return secret
    with os.fdopen(descriptor, "w") as file:
        secret = secrets.token_hex(32)
        file.write(f"{secret}\n")
    return secret
