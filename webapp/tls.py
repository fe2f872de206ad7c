"""The certificate that the server shows: one of our own making (`TLS=self`), or the person's files."""

import datetime
import fcntl
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webapp.config import Settings, SettingsError

# Agents pin it: a new one would have to be told to each of them.
YEARS = 10
# A small machine may think that it is 1970 when it starts first: what it makes then mustn't be over when it knows better.
NOT_BEFORE_THIS = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SIOCGIFADDR = 0x8915
NAME_BYTES = 64  # of a certificate's common name


def prepare(settings: Settings) -> None:
    """Before a start: make a certificate where it is ours to make, and refuse what couldn't be served.

    Raises SettingsError. Call it only where no other server runs on the folder.
    """
    if settings.certificate_files is None:
        return
    certificate, key = settings.certificate_files
    if settings.tls == "self" and not _is_usable(certificate):
        make(settings, certificate, key)
    _refuse_what_cannot_be_served(certificate, key)


def fingerprint(certificate: Path) -> str:
    """`sha256:` and the hex digest of the certificate's DER, as agents pin it."""
    return f"sha256:{_first_in(certificate).fingerprint(SHA256()).hex()}"


def is_self_signed(certificate: Path) -> bool:
    found = _first_in(certificate)
    return found.issuer == found.subject


def shown_pin(settings: Settings) -> str:
    """What an agent has to pin, because no authority vouches for the certificate. Empty where one does, where the
    server speaks plain http, and behind a proxy: agents see the proxy's certificate then."""
    certificate = settings.certificate_files[0] if settings.certificate_files else None
    if certificate is None or settings.trusted_proxies or not certificate.exists():
        return ""
    return fingerprint(certificate) if is_self_signed(certificate) else ""


def make(settings: Settings, certificate: Path, key_file: Path) -> None:
    """A fresh key and certificate. Agents that pinned an older one trust this server no more.

    A crash in between leaves a folder without a certificate, and the next start makes both again.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        certificate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate.unlink(missing_ok=True)
        _write(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _write(certificate, _signed(key, names(settings)).public_bytes(Encoding.PEM))
    except OSError as error:
        raise SettingsError(f"{certificate} can't be written: {error.strerror}.") from error


def names(settings: Settings) -> list[str]:
    """Every name and address by which somebody may call this server, as a certificate writes them."""
    public = urlsplit(settings.public_url or "").hostname
    own = [socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1"]
    found = [_plain(name) for name in (public or "", settings.host, *own, *_addresses())]
    return list(dict.fromkeys(name for name in found if name and not _is_wildcard(name)))


def _plain(name: str) -> str:
    """In ASCII; empty where that can't be: a machine may be called anything."""
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return ""


def _signed(key: ec.EllipticCurvePrivateKey, known_as: list[str]) -> x509.Certificate:
    who = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, _short(f"GarageSwarm on {socket.gethostname()}"))]
    )
    now = datetime.datetime.now(datetime.UTC)
    # Clocks differ: who reads it may live a day earlier.
    begins = now - datetime.timedelta(days=1)
    ends = max(now, NOT_BEFORE_THIS) + datetime.timedelta(days=365 * YEARS)
    made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in known_as]), False)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    # What a strict reader asks of an authority: who likes can give the file to programs as one.
    itself = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    made = made.add_extension(itself, False)
    made = made.add_extension(x509.AuthorityKeyIdentifier(itself.digest, None, None), False)
    return made.sign(key, SHA256())


def _short(name: str) -> str:
    """As much of it as a certificate takes: bytes are counted, and a machine's name needs not be UTF-8."""
    return name.encode(errors="replace")[:NAME_BYTES].decode(errors="ignore")


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_wildcard(name: str) -> bool:
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return False


def _addresses() -> Iterator[str]:
    """Of this machine's interfaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                yield socket.inet_ntoa(answer[20:24])
    with suppress(OSError):  # no IPv6 here
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            address = ip_address(bytes.fromhex(line.split()[0]))
            if not address.is_link_local:  # it needs its interface's name, which no certificate can hold
                yield str(address)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and readable by nobody else."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _is_usable(certificate: Path) -> bool:
    return certificate.exists() and not _is_over(_first_in(certificate))


def _is_over(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc <= datetime.datetime.now(datetime.UTC)


def _first_in(path: Path) -> x509.Certificate:
    """The server's own comes first, those of the authorities after it."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise SettingsError(f"The certificate {path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(
            f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)."
        ) from error


def _refuse_what_cannot_be_served(certificate: Path, key: Path) -> None:
    found = _first_in(certificate)
    if _is_over(found):
        raise SettingsError(
            f"The certificate {certificate} expired on {found.not_valid_after_utc:%Y-%m-%d}. Renew it."
        )
    try:
        key.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"The key {key} doesn't belong to the certificate {certificate}.") from error
        raise SettingsError(f"{key} holds no key in PEM form without a password ({error.reason}).") from error
    except OSError as error:
        raise SettingsError(f"The key {key} can't be read: {error.strerror}.") from error


def _no_password() -> str:
    """Without this, OpenSSL would ask at the terminal."""
    return ""
