"""Certificates from files and made for development."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ingress.server.certificates import (
    CertificateError,
    CertificateFiles,
    certificate_hash,
    development_certificate,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_browsers_accept_it_by_hash(tmp_path: Path) -> None:
    """It is ECDSA P-256, valid now for at most 14 days, and names this machine in three ways."""
    certificate = development_certificate(tmp_path, NOW).load().certificate
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert certificate.not_valid_before_utc <= NOW
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=14)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file that holds the private key can be read by its owner alone, and no other file is left."""
    files = development_certificate(tmp_path / "new" / "directory", NOW)
    assert stat.S_IMODE(files.private_key.stat().st_mode) == 0o600
    assert list(files.private_key.parent.iterdir()) == [files.private_key]


@pytest.mark.parametrize(
    ("later", "kept"),
    [
        (timedelta(0), True),
        (timedelta(days=10), True),
        (timedelta(days=11, hours=1), False),
        (timedelta(days=30), False),
        (-timedelta(days=1), False),
    ],
)
def test_it_is_renewed_before_it_ends(later: timedelta, kept: bool, tmp_path: Path) -> None:
    """It is kept until two days before its end, and made anew after that or when the clock was set back."""
    first = certificate_hash(development_certificate(tmp_path, NOW).certificate)
    second = certificate_hash(development_certificate(tmp_path, NOW + later).certificate)
    assert (first == second) == kept


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    """A file that cannot be read is no reason to fail: a new certificate takes its place."""
    files = development_certificate(tmp_path, NOW)
    files.certificate.write_bytes(b"damaged")
    assert development_certificate(tmp_path, NOW).load().certificate.not_valid_before_utc <= NOW


def test_the_hash_is_of_the_certificate(tmp_path: Path) -> None:
    """The hash is SHA-256 over the certificate's DER form, which is what browsers compare."""
    files = development_certificate(tmp_path, NOW)
    der = files.load().certificate.public_bytes(serialization.Encoding.DER)
    assert certificate_hash(files.certificate) == hashlib.sha256(der).digest()


def of_unknown_curve(certificate: x509.Certificate) -> bytes:
    """A certificate whose key is of a curve that nobody knows, as PEM."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    curve = bytes.fromhex("06082a8648ce3d030107")
    assert der.count(curve) == 1
    spoilt = der.replace(curve, curve[:-1] + b"\x7f")
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(spoilt) + b"-----END CERTIFICATE-----\n"


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    """No file, no certificate, one of an unknown curve, and a key of another one are errors that name the file."""
    one = development_certificate(tmp_path / "one", NOW)
    two = development_certificate(tmp_path / "two", NOW)
    unknown = tmp_path / "unknown.pem"
    unknown.write_bytes(of_unknown_curve(one.load().certificate))
    text = tmp_path / "text.pem"
    text.write_text("hello")
    for files, word in (
        (CertificateFiles(tmp_path / "missing.pem", one.private_key), "missing.pem"),
        (CertificateFiles(one.certificate, text), "text.pem"),
        (CertificateFiles(unknown, one.private_key), "unknown.pem"),
        (CertificateFiles(one.certificate, two.private_key), "does not belong"),
    ):
        with pytest.raises(CertificateError, match=word):
            files.load()
    with pytest.raises(CertificateError, match=re.escape("text.pem")):
        certificate_hash(text)
