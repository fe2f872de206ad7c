"""How the agent knows its server: by the certificate that was pinned, else by authorities that this machine trusts.

Both ways to the server, requests and the control socket, use one and the same context.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from agent.errors import BadConfig

DIGEST = re.compile(r"[0-9a-f]{64}")
NO_PIN = "none"
# What requests reads too. SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's own.
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
WAYS_TO_TRUST = (
    "If the server made it itself, give --pin with the fingerprint that the server says; "
    "if an authority of your own signed it, name that authority's file in REQUESTS_CA_BUNDLE"
)


class WrongCertificate(ssl.SSLError):
    """Raised within the handshake: nothing of a request, and so no key, has left this machine yet."""

    def __init__(self, found: str, pin: str) -> None:
        super().__init__(
            ssl.SSLErrorNumber.SSL_ERROR_SSL,
            f"its certificate is {found}, and {pin} is pinned: somebody is in between, or the server has a new "
            "certificate. If the server says that the first one is its own, start the agent once with --pin and that",
        )


def parse_pin(text: str) -> str:
    """The form that is stored: `sha256:` and 64 digits; empty for `none`. Also read: with colons, and in capitals.

    Raises BadConfig.
    """
    plain = text.strip().lower()
    if plain == NO_PIN:
        return ""
    digest = plain.removeprefix("sha256:").replace(":", "")
    if not DIGEST.fullmatch(digest):
        raise BadConfig(
            f"the pin must look like sha256: and 64 hexadecimal digits (or {NO_PIN}), not {text!r}"
        )
    return f"sha256:{digest}"


@cache
def context(pin: str) -> ssl.SSLContext:
    """With a pin any certificate but that one ends the handshake. Raises BadConfig where authorities can't be read."""
    if not pin:
        return _trusting(os.environ)
    pinned = _Pinned(ssl.PROTOCOL_TLS_CLIENT)
    pinned.pin = pin
    # The pin says more than a name or an authority could.
    pinned.check_hostname = False
    pinned.verify_mode = ssl.CERT_NONE
    pinned.sslsocket_class, pinned.sslobject_class = _Socket, _Object
    return pinned


def mount(session: requests.Session, pin: str) -> None:
    """Let this session speak https in no other way."""
    session.mount("https://", _Adapter(pin))


class _Pinned(ssl.SSLContext):
    pin: str

    def check(self, certificate: bytes | None) -> None:
        found = f"sha256:{hashlib.sha256(certificate or b'').hexdigest()}"
        if found != self.pin:
            raise WrongCertificate(found, self.pin)


class _Socket(ssl.SSLSocket):
    context: _Pinned

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        self.context.check(self.getpeercert(binary_form=True))


class _Object(ssl.SSLObject):
    """The same for TLS within a proxy's TLS."""

    context: _Pinned

    def do_handshake(self) -> None:
        super().do_handshake()
        self.context.check(self.getpeercert(binary_form=True))


class _Adapter(HTTPAdapter):
    def __init__(self, pin: str) -> None:
        self._is_pinned = bool(pin)
        self._ours: dict[str, Any] = {"ssl_context": context(pin)}
        if pin:
            self._ours["assert_fingerprint"] = pin.removeprefix("sha256:")
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options, **self._ours)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, **self._ours)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Whatever the environment says of authorities: the context has read that already."""
        return super().send(request, *arguments, **{**options, "verify": not self._is_pinned})

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Requests would add its own authorities to those of the context."""
        conn.cert_reqs = "CERT_NONE" if self._is_pinned else "CERT_REQUIRED"


def _trusting(environ: Mapping[str, str]) -> ssl.SSLContext:
    name = next((name for name in BUNDLES if environ.get(name)), "")
    bundle = environ[name] if name else _of_requests()
    if not bundle:
        return ssl.create_default_context()
    try:
        is_folder = Path(bundle).is_dir()
        return ssl.create_default_context(
            cafile=None if is_folder else bundle, capath=bundle if is_folder else None
        )
    except OSError as error:
        raise BadConfig(f"{name}={bundle} can't be read as certificates: {error}") from error


def _of_requests() -> str:
    """The bundle that comes with requests, where this machine has none of its own."""
    places = ssl.get_default_verify_paths()
    has_own = places.cafile or (places.capath and any(Path(places.capath).iterdir()))
    return "" if has_own else requests.utils.DEFAULT_CA_BUNDLE_PATH
