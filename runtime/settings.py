"""Settings of every service, from `HEADGATE_*` environment variables (and from a `.env` file in the working directory).

All services read the same settings, so one environment file configures them all. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.codec import FrameLimits
from schemas.errors import ConfigurationError
from schemas.keys import Keys
from schemas.signing import Signer, Verifier, check_secret

#: What stands in the place of a secret.
MASK = "**********"


def _gateway_id() -> str:
    """A name for this incarnation of a gateway: a restarted one is another gateway."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Settings(BaseSettings):
    """Everything that can be configured; `headgate config` prints the values in force."""

    model_config = SettingsConfigDict(
        env_prefix="HEADGATE_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # The log
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="The Redis or Valkey server that holds the log.")
    prefix: str = Field("hg:", description="What every key starts with.")
    partitions: int = Field(16, ge=1, le=1024, description="Partitions of the log; fixed at the first start.")
    history_size: int = Field(100, ge=0, description="Publications kept per topic for those who reconnect.")
    history_seconds: int = Field(300, ge=1, description="How long each of them is kept.")
    channel_history: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="The same for channels by name: `presence-*=50/60`, comma separated; the first counts."
    )
    dedup_seconds: int = Field(600, ge=1, description="How long a topic recognises a repeated publication.")
    ack: str = Field(
        "appended",
        pattern=r"^(appended|fsynced|replicated:[1-9]\d?)$",
        description="What an entry must be before a client is told that it is safe.",
    )
    datagram_log_size: int = Field(10_000, ge=100, description="Datagrams kept per partition, about.")
    delivery_log_size: int = Field(100_000, ge=1000, description="Entries kept per gateway's delivery stream, about.")
    log_seconds: int = Field(600, ge=0, description="How long entries that every group has handled stay on the log.")
    log_max_entries: int = Field(
        0, ge=0, description="Entries per stream of the log, beyond which the oldest are dropped unhandled; 0: never."
    )
    trail: int = Field(
        100_000, ge=0, description="Entries kept of each trail, what became of entries, until archived; 0: no trails."
    )
    dead_seconds: int = Field(2_592_000, ge=0, description="How long dead letters are kept; 0: until they are dropped.")
    stall_seconds: float = Field(300.0, gt=0, description="Age of an unhandled entry that raises an alarm.")
    lease_seconds: float = Field(3.0, gt=0.2, description="How long a partition stays with a process that fell silent.")
    max_attempts: int = Field(8, ge=1, description="Attempts before an entry becomes a dead letter.")

    # Trust
    secret: SecretStr = Field(SecretStr(""), description="Shared with the application; at least 32 bytes.")
    key_id: str = Field("default", description="Name of the secret in signed requests.")
    previous_secrets: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default={}, description="Older keys that still verify: `id:secret`, comma separated."
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins whose pages may connect, comma separated; exact, `*` for any."
    )

    # The gateway
    ingress_host: str = Field("::", description="Address of the WebTransport listener; `::` is IPv4 and IPv6.")
    ingress_port: int = Field(4433, ge=0, le=65535, description="UDP port of the WebTransport listener.")
    ingress_path: str = Field("/", description="Path of the WebTransport endpoint and of the WebSocket one.")
    websocket: bool = Field(True, description="Whether clients may use WebSocket in place of WebTransport.")
    websocket_port: int | None = Field(
        None, ge=0, le=65535, description="TCP port of the WebSocket listener; the number of the UDP port without it."
    )
    ingress_http_host: str = Field("127.0.0.1", description="Operator listener of a gateway: health and metrics.")
    ingress_http_port: int = Field(9101, ge=0, le=65535, description="TCP port of that operator listener.")
    ingress_workers: int = Field(1, ge=1, le=64, description="Gateway processes that share the UDP port (Linux).")
    gateway_lease_seconds: float = Field(
        10.0, ge=1, description="Silence after which a gateway is lost, and so are its connections."
    )
    resume_seconds: float = Field(
        30.0, ge=0, description="How long a session without a connection waits to be resumed; 0: not at all."
    )
    outage_seconds: float = Field(
        60.0, ge=0, description="How long sessions are kept while the log is away; they are read no further."
    )
    gateway_id: str = Field(default_factory=_gateway_id, description="Unique among running gateways.")
    tls_cert: Path | None = Field(None, description="PEM certificate chain; without it a development certificate.")
    tls_key: Path | None = Field(None, description="PEM private key of HEADGATE_TLS_CERT.")
    data_dir: Path = Field(Path(".headgate"), description="Where development certificates and embedded data live.")
    auth_timeout: float = Field(
        5.0, gt=0, description="Until the auth frame; HEADGATE_LARAVEL_TIMEOUT more for the verdict."
    )
    auth_pending_bytes: int = Field(65_536, ge=0, description="Held per session while its auth is pending.")
    frame_bytes: int = Field(65_536, ge=64, description="Longest frame from a client.")
    frame_depth: int = Field(32, ge=1, le=150, description="Deepest nesting of a frame.")
    frame_keys: int = Field(1024, ge=1, description="Most keys and elements in a frame, all levels together.")
    frames_per_second: float = Field(200.0, gt=0, description="Frames per session; twice that at once. More: 3013.")
    bytes_per_second: float = Field(1_048_576.0, gt=0, description="Bytes on streams per session; as frames.")
    datagrams_per_second: float = Field(120.0, gt=0, description="Datagrams per session; more are dropped.")
    unconfirmed_bytes: int = Field(
        131_072, ge=1024, description="Sent by a session and not yet in the log, until it is read no further."
    )
    max_channels: int = Field(100, ge=1, description="Channels per session.")
    max_streams: int = Field(32, ge=1, description="Streams a client may have open.")
    max_unsent_bytes: int = Field(1_048_576, ge=65_536, description="Unsent per session, then close 3008.")
    max_sessions: int = Field(10_000, ge=1, description="Sessions per gateway process.")
    max_sessions_per_user: int = Field(
        10, ge=0, description="Sessions per user, on all gateways together; 0 for no limit."
    )
    max_handshakes: int = Field(
        200, ge=0, description="New connections a second per gateway process and transport; 0 for any number."
    )
    max_connections_per_address: int = Field(
        256, ge=0, description="Connections of one address per gateway process; 0 for any number."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Proxies whose headers count: addresses and networks, comma separated."
    )
    ping_interval: float = Field(25.0, gt=0, description="Between pings to a client of protocol 1.")
    pong_timeout: float = Field(8.0, gt=0, description="Silence after a ping that closes the session.")

    # The application
    laravel_url: str = Field("http://127.0.0.1:8000", description="Base URL of the Laravel application.")
    laravel_verify_path: str = Field("/api/auth/verify", description="Whose token is this?")
    laravel_handle_path: str = Field("/api/webtransport/handle", description="Takes messages, answers them.")
    laravel_event_path: str = Field("/api/webtransport/event", description="Takes connection events.")
    laravel_authorize_path: str = Field("/api/webtransport/authorize", description="May this user join?")
    laravel_timeout: float = Field(5.0, gt=0, description="For a whole request to the application.")
    laravel_answer_bytes: int = Field(262_144, ge=1024, description="Longest answer that is read.")
    laravel_connections: int = Field(64, ge=1, description="Requests in flight per processor and process.")

    laravel_via: Literal["http", "log"] = Field(
        "http", description="How messages and connection events reach the application: `log`: it reads them itself."
    )
    laravel_idempotent: bool = Field(
        True, description="Whether the application may be asked again to handle what it may have handled."
    )
    channel_events: bool = Field(
        True, description="Whether log and application hear of each channel that a session joins and leaves."
    )

    # Processors and egress
    processors_http_host: str = Field("127.0.0.1", description="Operator listener of the processors.")
    processors_http_port: int = Field(9201, ge=0, le=65535, description="TCP port of that operator listener.")
    api_host: str = Field("127.0.0.1", description="Address of the HTTP API that the application calls.")
    api_port: int = Field(3001, ge=0, le=65535, description="TCP port of the HTTP API, health and metrics.")
    api_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins whose pages may read the API's answers (CORS), comma separated."
    )
    api_requests_per_minute: int = Field(1000, ge=0, description="Requests per signing key; 0 for any number.")
    pubsub_bridge: bool = Field(
        False, description="Whether PUBLISH channel:NAME and session:ID in Redis reach clients: unsigned, and lossy."
    )
    app_id: str = Field(
        "headgate", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Id of the application in the paths of Pusher's API."
    )
    archive_url: str = Field("sqlite+aiosqlite:///.headgate/archive.db", description="SQLAlchemy URL of the archive.")
    archive_retention: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="How long what is archived is kept, by type: `*=30d,whisper.*=1d`; without it for ever."
    )
    archive_redact: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Fields that are not archived: `message.received:frame.data.card=drop`, or `=hash`."
    )

    # The web console
    console_host: str = Field("127.0.0.1", description="Address of the web console.")
    console_port: int = Field(9301, ge=0, le=65535, description="TCP port of the web console.")
    console_tokens: SecretStr = Field(
        SecretStr(""),
        description="Who may sign in: `name:role:secret`, comma separated; roles are viewer and operator.",
    )
    console_proxy_header: str = Field("", description="Header in which trusted proxies say who is signed in.")
    console_proxy_roles: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Their roles: `*@example.com:viewer`, comma separated; the first counts."
    )
    console_services: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Base URLs of operator listeners whose health and metrics it shows, comma separated."
    )

    # What operators see
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged at least.")
    log_format: Literal["console", "json"] = Field("console", description="For people, or one JSON object a line.")
    traces: str = Field("none", description="`none`, `otlp` (OTEL_EXPORTER_OTLP_* apply) or `file:PATH` (JSON lines).")
    trace_sample: float = Field(1.0, ge=0, le=1, description="Share of frames that are traced.")
    drain_seconds: float = Field(10.0, ge=0, description="Time a stopping service has to finish what it holds.")

    @field_validator(
        "allowed_origins",
        "api_origins",
        "trusted_proxies",
        "channel_history",
        "archive_retention",
        "archive_redact",
        "console_proxy_roles",
        "console_services",
        mode="before",
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("previous_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition(":") for part in value.split(",") if part.strip()]
        if not all(name and colon for name, colon, _ in pairs):
            # Not a ValueError, whose words might quote a value and so are not shown.
            raise PydanticCustomError("pairs", "every part has to be id:secret")
        return {name: secret for name, _, secret in pairs}

    @property
    def keys(self) -> Keys:
        """The Redis keys under this prefix."""
        return Keys(self.prefix, self.partitions)

    @property
    def frame_limits(self) -> FrameLimits:
        """Bounds of one frame from a client."""
        return FrameLimits(max_bytes=self.frame_bytes, max_depth=self.frame_depth, max_keys=self.frame_keys)

    def allows_origin(self, origin: str | None) -> bool:
        """Whether pages of `origin` may connect: exact match. Without one it is no browser, and its token decides."""
        return origin is None or "*" in self.allowed_origins or origin in self.allowed_origins

    def secret_bytes(self) -> bytes:
        """The shared secret; raises ConfigurationError when it is missing or short."""
        return check_secret(self.secret.get_secret_value())

    def signer(self) -> Signer:
        """Signs requests to the application."""
        return Signer(self.key_id, self.secret_bytes())

    def verifier(self) -> Verifier:
        """Verifies requests from the application, also those with a previous key."""
        previous = {key: check_secret(value.get_secret_value()) for key, value in self.previous_secrets.items()}
        return Verifier(previous | {self.key_id: self.secret_bytes()})

    def tls_files(self) -> tuple[Path, Path] | None:
        """The configured certificate and key, or None for a development certificate."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("set both HEADGATE_TLS_CERT and HEADGATE_TLS_KEY, or neither")
        return (self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None

    def masked(self) -> dict[str, str]:
        """Every setting as text, passwords and secrets hidden."""
        shown = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name.endswith("_url"):
                value = mask_url(value)
            elif isinstance(value, tuple):
                value = ",".join(mask_url(one) if "://" in one else one for one in value)
            elif isinstance(value, dict):
                value = ",".join(f"{key}:{MASK}" for key in value)
            shown[name] = "" if value is None else str(value)
        return shown


def mask_url(url: str) -> str:
    """`url` without what could be a secret: its password, and the values of its query. Of what is no URL, nothing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    netloc = parts.netloc
    if parts.password:
        netloc = netloc.replace(f":{parts.password}@", f":{MASK}@")
    query = "&".join(f"{pair.partition('=')[0]}={MASK}" for pair in parts.query.split("&")) if parts.query else ""
    return url if netloc == parts.netloc and not query else urlunsplit(parts._replace(netloc=netloc, query=query))
