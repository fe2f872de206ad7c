"""Certificates that a test needs: an authority's, and what it has signed."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in memory and as files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: Path
    key_file: Path

    @property
    def pin(self) -> str:
        return f"sha256:{self.certificate.fingerprint(SHA256()).hex()}"


def make(folder: Path, name: str, authority: Pair | None = None, days: float = 30) -> Pair:
    """For 127.0.0.1. Without an authority it signs itself, and may sign others; negative days: it is over since then."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (authority.certificate.subject, authority.key) if authority else (subject, key)
    now = datetime.datetime.now(datetime.timezone.utc)
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    built = built.serial_number(x509.random_serial_number())
    built = built.not_valid_before(now - 400 * DAY).not_valid_after(now + days * DAY)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    itself = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signed_with = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    built = built.add_extension(x509.SubjectAlternativeName([address]), False)
    built = built.add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
    built = built.add_extension(itself, False)
    built = built.add_extension(x509.AuthorityKeyIdentifier(signed_with.digest, None, None), False)
    return _stored(folder, name, built.sign(signer, SHA256()), key)


def _stored(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    made = Pair(certificate, key, folder / f"{name}.pem", folder / f"{name}.key")
    made.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made
