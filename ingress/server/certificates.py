"""TLS certificates: from files, or made here for development."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from schemas.errors import ConfigurationError

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

#: Browsers take a certificate by its hash only if it is not RSA and valid for at most 14 days (W3C
#: WebTransport, custom certificate requirements).
VALIDITY: Final = timedelta(days=13)
RENEW_BEFORE_END: Final = timedelta(days=2)
_CLOCK_SKEW: Final = timedelta(hours=1)

DEVELOPMENT_FILE: Final = "development.pem"
DEVELOPMENT_NAMES: Final = ("localhost", "127.0.0.1", "::1")


class CertificateError(ConfigurationError):
    """The operator's: a certificate or key that cannot be read, or that do not belong together."""


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """What a server proves itself with."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """Intermediate certificates, the issuer of `certificate` first."""
    private_key: PrivateKey


class CertificateSource(Protocol):
    """Where a listener takes its certificate from, each time it starts or is told to reload."""

    def load(self) -> TlsIdentity:
        """The certificate as it is now. Raises CertificateError."""
        ...


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files; both may be the same one. The certificate's may hold intermediate ones after it."""

    certificate: Path
    private_key: Path

    def load(self) -> TlsIdentity:
        try:
            certificates = x509.load_pem_x509_certificates(self.certificate.read_bytes())
            key = serialization.load_pem_private_key(self.private_key.read_bytes(), password=None)
            public = certificates[0].public_key()
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CertificateError(
                f"cannot read the certificate {self.certificate} with the key {self.private_key}: {error}"
            ) from error
        if not isinstance(key, PrivateKey):
            raise CertificateError(f"{self.private_key} holds a {type(key).__name__}: use ECDSA, Ed25519 or RSA")
        if key.public_key() != public:
            raise CertificateError(f"the key {self.private_key} does not belong to {self.certificate}")
        return TlsIdentity(certificates[0], tuple(certificates[1:]), key)


def development_certificate(directory: Path, now: datetime) -> CertificateFiles:
    """A certificate for this machine that browsers accept by its hash, made anew when it is about to end.

    `now` must be aware of its time zone. Certificate and key are in one file, readable by its owner alone and
    replaced in one step, so that processes that share `directory` never mix two pairs up.
    """
    path = directory / DEVELOPMENT_FILE
    files = CertificateFiles(path, path)
    if not _is_good(files, now):
        directory.mkdir(parents=True, exist_ok=True)
        _replace(path, _make_development_pem(now))
    return files


def certificate_hash(path: Path) -> bytes:
    """SHA-256 of the first certificate of a PEM file: `value` of an entry of `serverCertificateHashes`.

    Raises CertificateError.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256())
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read the certificate {path}: {error}") from error


def _is_good(files: CertificateFiles, now: datetime) -> bool:
    try:
        certificate = files.load().certificate
    except CertificateError:
        return False
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE_END


def _make_development_pem(now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headgate development")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now - _CLOCK_SKEW + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in DEVELOPMENT_NAMES]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _replace(path: Path, content: bytes) -> None:
    # mkstemp makes the file with mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
