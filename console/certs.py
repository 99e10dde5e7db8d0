"""The certificate that the gateway's listener proves itself with."""

from __future__ import annotations

import base64
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from rich.console import Console
from rich.text import Text

from console.printable import printable
from ingress.server.certificates import (
    DEVELOPMENT_FILE,
    CertificateFiles,
    certificate_hash,
    development_certificate,
)
from runtime.settings import Settings
from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class CertificateInForce:
    """What is to be known of it."""

    path: Path
    development: bool
    """Made here and trusted by its hash alone; otherwise from the configured files."""
    subject: str
    names: tuple[str, ...]
    ends: datetime
    sha256: bytes

    def days_left(self, now: datetime) -> float:
        """Days until it ends, negative afterwards."""
        return (self.ends - now).total_seconds() / 86_400


def certificate_files(settings: Settings, now: datetime) -> CertificateFiles:
    """The configured files, or those of the development certificate, which is made when there is none.

    One that is about to end is left alone: the gateway that uses it renews it.
    """
    files = settings.tls_files()
    if files:
        return CertificateFiles(*files)
    path = settings.data_dir / DEVELOPMENT_FILE
    return CertificateFiles(path, path) if path.exists() else development_certificate(settings.data_dir, now)


def in_force(settings: Settings, now: datetime) -> CertificateInForce:
    """The certificate that gateways use; raises ConfigurationError."""
    files = certificate_files(settings, now)
    certificate = files.load().certificate
    return CertificateInForce(
        path=files.certificate,
        development=settings.tls_files() is None,
        subject=certificate.subject.rfc4514_string(),
        names=_names(certificate),
        ends=certificate.not_valid_after_utc,
        sha256=certificate_hash(files.certificate),
    )


def renew(settings: Settings, now: datetime) -> CertificateInForce:
    """Replace the development certificate; raises ConfigurationError when files are configured."""
    if settings.tls_files():
        raise ConfigurationError(
            "the certificate comes from HEADGATE_TLS_CERT: renew it where it was issued, then restart the gateways"
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    # Made beside the old one and put in its place in one step: gateways may be reading it.
    with tempfile.TemporaryDirectory(dir=settings.data_dir) as folder:
        made = development_certificate(Path(folder), now)
        os.replace(made.certificate, settings.data_dir / DEVELOPMENT_FILE)
    return in_force(settings, now)


def print_certificate(found: CertificateInForce, now: datetime, *, renewed: bool) -> None:
    """The certificate for people; `renewed` adds how running gateways get to know of it."""
    kind = "made for development, trusted by its hash" if found.development else "configured"
    lines = Text()
    for name, value in (
        ("file", f"{found.path} ({kind})"),
        ("subject", found.subject),
        ("names", ", ".join(found.names)),
        ("ends", f"{found.ends:%Y-%m-%d %H:%M} UTC, {found.days_left(now):.1f} days left"),
        ("SHA-256, hex", found.sha256.hex()),
        ("SHA-256, base64", base64.b64encode(found.sha256).decode()),
    ):
        lines.append(f"{name:15}  ", "dim").append(f"{printable(value)}\n")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(lines, end="")
    if renewed:
        console.print("Running gateways take it up within seconds.")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names)
