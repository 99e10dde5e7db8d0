"""What `headgate certs` shows and renews."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from console.certs import certificate_files, in_force, print_certificate, renew
from ingress.server.certificates import development_certificate
from runtime.settings import Settings
from schemas.errors import ConfigurationError

NOW = datetime.now(UTC)


def test_the_certificate_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, end and the hash of its DER form are those of the development certificate."""
    settings = Settings(data_dir=tmp_path)
    found = in_force(settings, NOW)
    der = certificate_files(settings, NOW).load().certificate.public_bytes(Encoding.DER)
    assert found.sha256 == hashlib.sha256(der).digest()
    assert found.development
    assert 12 < found.days_left(NOW) < 13
    print_certificate(found, NOW, renewed=False)
    shown = capsys.readouterr().out
    assert found.sha256.hex() in shown
    assert "localhost" in shown


def test_showing_changes_nothing(tmp_path: Path) -> None:
    """A certificate that is about to end is shown, not replaced: a gateway is using it."""
    settings = Settings(data_dir=tmp_path)
    first = in_force(settings, NOW - timedelta(days=12)).sha256
    assert in_force(settings, NOW).sha256 == first


def test_renewing_replaces_it(tmp_path: Path) -> None:
    """A renewed certificate is another one, and nothing else is left in the directory."""
    settings = Settings(data_dir=tmp_path)
    first = in_force(settings, NOW).sha256
    second = renew(settings, NOW).sha256
    assert second != first
    assert in_force(settings, NOW).sha256 == second
    assert [path.name for path in tmp_path.iterdir()] == ["development.pem"]


def test_configured_files_are_not_renewed_here(tmp_path: Path) -> None:
    """A certificate from files is shown as configured; renewing it is refused with words."""
    pem = development_certificate(tmp_path, NOW).certificate
    settings = Settings(tls_cert=pem, tls_key=pem, data_dir=tmp_path / "other")
    assert not in_force(settings, NOW).development
    with pytest.raises(ConfigurationError, match="HEADGATE_TLS_CERT"):
        renew(settings, NOW)
