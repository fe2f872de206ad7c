"""Tokens, password hashing, encryption at rest, origin checks and response headers."""

import base64
import hashlib
import hmac
import os
import secrets
import string
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.fernet import Fernet, InvalidToken
from flask import Flask, Response, current_app, request
from flask.sessions import SecureCookieSessionInterface

from webapp import tls
from webapp.errors import Forbidden, GarageError

ALPHABET = string.ascii_letters + string.digits
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

# ---- tokens: <prefix>_<8-character id>_<43 characters of secret><6 of checksum>


@dataclass(frozen=True)
class NewToken:
    """A token just made. `text` is shown once; `key_id` and `digest` are stored."""

    text: str
    key_id: str
    digest: str


def new_token(prefix: str) -> NewToken:
    """`prefix` is gsw (worker key), gst (API token), gsj (join token) or gsh (webhook secret)."""
    key_id = "".join(secrets.choice(ALPHABET) for _ in range(8))
    secret = secrets.token_urlsafe(32)
    body = f"{prefix}_{key_id}_{secret}"
    return NewToken(body + _checksum(body), key_id, digest(secret))


@dataclass(frozen=True)
class TokenParts:
    key_id: str
    digest: str


def read_token(text: str, prefix: str) -> TokenParts | None:
    """The parts of a token that could be one of ours, else None: a typing error costs no database query."""
    if len(text) != len(prefix) + 59 or not text.isascii() or not text.startswith(prefix + "_"):
        return None
    body, checksum = text[:-6], text[-6:]
    if checksum != _checksum(body):
        return None
    key_id, secret = body[len(prefix) + 1 : len(prefix) + 9], body[len(prefix) + 10 :]
    return TokenParts(key_id, digest(secret))


def digest(secret: str) -> str:
    """SHA-256 is enough: the secret has 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(left: str, right: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


def _checksum(body: str) -> str:
    value, out = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, rest = divmod(value, len(ALPHABET))
        out += ALPHABET[rest]
    return out


def short_code() -> str:
    """What a person compares on two screens: no letters that look alike."""
    letters = "".join(secrets.choice("ABCDEFGHJKMNPQRSTUVWXYZ23456789") for _ in range(6))
    return f"{letters[:3]}-{letters[3:]}"


# ---- passwords

_hasher = PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_hex(16))


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def password_matches(stored: str | None, password: str) -> bool:
    """False for an unknown person too, after the same work."""
    try:
        _hasher.verify(stored or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


# ---- encryption at rest


class KeyMissing(GarageError):
    """Something here is encrypted with a key that is not in the instance folder. Put the key file back."""

    slug = "key-missing"


class Keyring:
    """Fernet keys by id. The newest encrypts; any of them decrypts.

    Stored form: `<key id>:<fernet token>`. Key files are `instance/keys/<key id>.key`, mode 0600.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {path.stem: Fernet(path.read_bytes()) for path in sorted(folder.glob("*.key"))}
        self.current = max(
            self.keys, key=lambda key_id: (len(key_id), key_id), default=None
        )  # k10 is newer than k9

    def encrypt(self, text: str) -> str:
        if self.current is None:
            raise KeyMissing
        return f"{self.current}:{self.keys[self.current].encrypt(text.encode()).decode()}"

    def decrypt(self, stored: str) -> str:
        key_id, _, token = stored.partition(":")
        try:
            return self.keys[key_id].decrypt(token.encode()).decode()
        except (KeyError, InvalidToken) as error:
            raise KeyMissing(
                f"Key {key_id} is missing from {self.folder}, or is not the one that encrypted this."
            ) from error


def keyring() -> Keyring:
    ring: Keyring = current_app.extensions["keyring"]
    return ring


def ensure_keys(instance: Path) -> None:
    """Make what the first start needs: the cookie key and one encryption key."""
    folder = instance / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not any(folder.glob("*.key")):
        _write_secret(folder / "k1.key", Fernet.generate_key())
    if not (instance / "secret_key").exists():
        _write_secret(instance / "secret_key", base64.urlsafe_b64encode(os.urandom(48)))


def add_key(folder: Path) -> str:
    """One more encryption key, newer than all that are there. Returns its id."""
    numbers = [int(path.stem[1:]) for path in folder.glob("k*.key") if path.stem[1:].isdecimal()]
    key_id = f"k{max(numbers, default=0) + 1}"
    _write_secret(folder / f"{key_id}.key", Fernet.generate_key())
    return key_id


def _write_secret(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# ---- where a request comes from


def own_origin() -> str:
    """scheme://host[:port] of this server, as the browser writes it in `Origin`."""
    public: str | None = current_app.config.get("PUBLIC_URL")
    parts = urlsplit(public or request.host_url)
    return f"{parts.scheme}://{parts.netloc}"


def refuse_foreign_origin() -> None:
    """Before every request: a change, or a browser's socket, must come from our own pages.

    The API takes keys only and ignores cookies, so an origin means nothing there.
    """
    is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.path.startswith(("/api/", "/ws/worker/")) or (
        request.method in SAFE_METHODS and not is_socket
    ):
        return
    origin = request.headers.get("Origin")
    if origin is None and not is_socket:
        return  # a program without a browser: the CSRF token still holds
    if origin != own_origin():
        raise Forbidden("This request comes from another site. Open the page on this server and try again.")


CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def add_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CSP)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    if not request.path.startswith("/static/"):
        headers.setdefault("Cache-Control", "no-store")
    # Not where people have to accept the certificate themselves: browsers would no longer let them.
    if request.is_secure and not current_app.config["PIN"]:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


class CookieByScheme(SecureCookieSessionInterface):
    """The session's cookie is `Secure` wherever it travels by https, without a setting that could be forgotten."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure or super().get_cookie_secure(app)


def init_app(app: Flask) -> None:
    app.session_interface = CookieByScheme()
    # Read once: a process shows the certificate that it started with, whatever the file says later.
    app.config["PIN"] = tls.shown_pin(app.config["SETTINGS"])
    app.extensions["keyring"] = Keyring(Path(app.instance_path) / "keys")
    app.before_request(refuse_foreign_origin)
    app.after_request(add_headers)
