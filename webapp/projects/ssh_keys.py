"""ssh keys as text: private ones that people paste or have made, public ones that hosts show."""

import base64
import hashlib
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

KEY_LONGEST = 16_000
RSA_LEAST_BITS = 2048
HOST_KEY_TYPES = {
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
}
_BLOB_LONGEST = 4000
_Private = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


class KeyRefused(ValueError):
    """Says why to people. No word of it is from the key."""


class KeyPair(NamedTuple):
    """`private` in OpenSSH's form, with its last line end; `public` as a line of authorized_keys."""

    private: str
    public: str


def made(comment: str) -> KeyPair:
    """A new ed25519 key. `comment` tells the remote's admins what it is for."""
    return _pair(Ed25519PrivateKey.generate(), comment)


def read_private(text: str, comment: str) -> KeyPair:
    """A key that somebody pasted. Raises KeyRefused."""
    data = "\n".join(line.strip() for line in text.strip().splitlines()).encode() + b"\n"
    _refuse_at_sight(data)
    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        key = load(data, password=None)
    except TypeError:
        raise KeyRefused(_LOCKED) from None
    except UnsupportedAlgorithm:
        raise KeyRefused(_WRONG_KIND) from None
    except ValueError as error:
        # OpenSSH's form says a passphrase with the same kind of error as nonsense.
        raise KeyRefused(_LOCKED if "password" in str(error).lower() else _NO_KEY) from None
    if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey):
        raise KeyRefused(_WRONG_KIND)
    if isinstance(key, RSAPrivateKey) and key.key_size < RSA_LEAST_BITS:
        raise KeyRefused(
            f"An RSA key of {key.key_size} bits is too short: take ed25519, or RSA from 3072 on."
        )
    return _pair(key, comment)


_LOCKED = (
    "This key has a passphrase, and nobody is there to type it. Paste one without: make a new key for this purpose, "
    "or have one made here."
)
_WRONG_KIND = "This kind of key isn’t taken. Use ed25519, ECDSA or RSA."
_NO_KEY = (
    "This is no private ssh key. Paste the whole file, from -----BEGIN to -----END, as ssh-keygen made it."
)


def _refuse_at_sight(data: bytes) -> None:
    if len(data) > KEY_LONGEST:
        raise KeyRefused(_NO_KEY)
    if data.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        raise KeyRefused("This is the public part. Paste the private key: the file without .pub.")
    if data.startswith(b"PuTTY-User-Key-File"):
        raise KeyRefused("This is a key in PuTTY’s form. Export it as an OpenSSH key, and paste that.")


def _pair(key: _Private, comment: str) -> KeyPair:
    try:
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, UnsupportedAlgorithm):  # a curve that ssh doesn't know
        raise KeyRefused(_WRONG_KIND) from None
    return KeyPair(private, f"{public} {comment}".strip())


# ---- what hosts show


class HostLine(NamedTuple):
    """A line of known_hosts: `key` in base64, `fingerprint` as ssh-keygen -l shows it."""

    host: str
    key_type: str
    key: str
    fingerprint: str


def read_host_line(line: str) -> HostLine:
    """Strictly: `host type key` and nothing else, no hashed name, pattern or marker. Raises ValueError."""
    parts = line.strip("\r\n").split(" ")
    if len(parts) != 3 or parts[1] not in HOST_KEY_TYPES or len(parts[2]) > _BLOB_LONGEST:
        raise ValueError("not a plain line of known_hosts")
    host, key_type, text = parts
    blob = base64.b64decode(text, validate=True)
    if base64.b64encode(blob).decode() != text:
        raise ValueError("not canonical base64")
    try:  # raises ValueError too, also where the key is of another type
        load_ssh_public_key(f"{key_type} {text}".encode())
    except UnsupportedAlgorithm as error:
        raise ValueError("no such kind of key") from error
    return HostLine(host, key_type, text, fingerprint(blob))


def fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
