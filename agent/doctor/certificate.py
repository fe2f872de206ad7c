"""What is wrong with a server's certificate, in words, and what to do about it."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time

from agent import tls
from agent.doctor.verdict import Verdict, ok, problem, warning

SOON_S = 14 * 86_400
DIAL_S = 5.0
# OpenSSL's numbers.
NOT_YET, EXPIRED = 9, 10
OWN = frozenset({18, 19})
NO_AUTHORITY = frozenset({2, 20, 21})
OTHER_NAME = frozenset({62, 64})


def lifetime(safe: ssl.SSLSocket, *, is_pinned: bool) -> Verdict:
    version = safe.version()
    if is_pinned:
        return ok(f"{version}, and its certificate is the pinned one")
    ends = (safe.getpeercert() or {}).get("notAfter")
    left_s = ssl.cert_time_to_seconds(str(ends)) - time.time() if ends else SOON_S
    if left_s < SOON_S:
        return warning(
            f"{version}, and its certificate ends in {left_s / 86_400:.0f} days",
            "have the server's certificate renewed",
        )
    return ok(f"{version}, its certificate is trusted")


def explained(error: OSError, host: str, port: int) -> Verdict:
    if isinstance(error, tls.WrongCertificate):
        return problem(
            f"its certificate is {_fingerprint(host, port)}, and another one is pinned",
            "if the server says that this one is its own, say so once: --pin and that. Else somebody is in between",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, host, port)
    if isinstance(error, ssl.SSLError):
        return problem(
            f"port {port} doesn't speak TLS ({error.reason or error})",
            "is the address right? It may be http:// there",
        )
    return problem(
        f"the connection broke off: {error.strerror or error}",
        "a firewall or a proxy in between may not let TLS through",
    )


def _untrusted(error: ssl.SSLCertVerificationError, host: str, port: int) -> Verdict:
    code = error.verify_code
    if code == EXPIRED:
        return problem(
            "its certificate has expired",
            "have the server's certificate renewed; or is this machine's clock wrong?",
        )
    if code == NOT_YET:
        return problem(
            "its certificate isn't valid yet",
            "this machine's clock is behind, or the server's was: timedatectl",
        )
    if code in OTHER_NAME:
        return problem(
            f"its certificate is for another name than {host}",
            f"use the name that it is for; or, if it is the server's own, pin it: --pin {_fingerprint(host, port)}",
        )
    if code in OWN | NO_AUTHORITY:
        return problem(
            "its certificate was signed by nobody whom this machine trusts",
            "if the server made it itself, compare this with what the server says, and pin it: "
            f"--pin {_fingerprint(host, port)}; if an authority of yours signed it: REQUESTS_CA_BUNDLE=its file",
        )
    return problem(f"its certificate can't be trusted: {error.verify_message}", tls.WAYS_TO_TRUST)


def _fingerprint(host: str, port: int) -> str:
    """As it is shown now, by whoever shows it. Nothing else is said on this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), DIAL_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as safe,
        ):
            return f"sha256:{hashlib.sha256(safe.getpeercert(binary_form=True) or b'').hexdigest()}"
    except OSError:
        return "sha256:…"
