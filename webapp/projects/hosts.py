"""Which host a URL leads to: what credentials and host keys hold on to. Pure text, no network."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

# Without a port in the URL. Plain http isn't here: what opens https must not be sent in the clear to the same name.
_USUAL_PORTS = {"https": 443, "ssh": 22}
_PLAIN_HTTP_PORT = 80
_SCP_LIKE = re.compile(r"(?:[^@/:\s]+@)?(\[[0-9A-Fa-f:.]+\]|[^/:\s]+):(?!//)")
_HOST = re.compile(r"([a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_PORT_MOST = 65535


class Remote(NamedTuple):
    """`host` in small letters, IPv6 in brackets; `port` None where it is the scheme's usual one."""

    scheme: str
    host: str
    port: int | None


def remote_of(url: str) -> Remote | None:
    """None for what leads to no host: a local path, or nonsense."""
    scp_like = _SCP_LIKE.match(url) if "://" not in url else None
    if scp_like:
        return _checked("ssh", scp_like[1], None)
    try:
        parts = urlsplit(url)
        port, name = parts.port, parts.hostname or ""
    except ValueError:
        return None
    host = f"[{name}]" if ":" in name else name
    return _checked(parts.scheme.lower(), host, port)


def _checked(scheme: str, host: str, port: int | None) -> Remote | None:
    if not _HOST.fullmatch(host.lower()):
        return None
    port = _PLAIN_HTTP_PORT if scheme == "http" and port is None else port
    return Remote(scheme, host.lower(), None if port == _USUAL_PORTS.get(scheme) else port)


def host_of(url: str) -> str:
    """`name` or `name:port`, as a credential says where it may go. Empty where the URL leads to no host."""
    remote = remote_of(url)
    if remote is None:
        return ""
    return remote.host if remote.port is None else f"{remote.host}:{remote.port}"


def known_hosts_name(url: str) -> str:
    """What known_hosts calls the host of an ssh URL: `name`, or `[name]:port` off the usual port; else empty."""
    remote = remote_of(url)
    if remote is None or remote.scheme != "ssh":
        return ""
    bare = remote.host.strip("[]")
    return bare if remote.port is None else f"[{bare}]:{remote.port}"


def typed_host(text: str, usual_port: int) -> str | None:
    """A host as a person types it, in the form of `host_of`; None where it is something else."""
    found = _HOST.fullmatch(text.strip().lower())
    if found is None:
        return None
    host, port = found[1], int(found[2] or usual_port)
    if not 0 < port <= _PORT_MOST:
        return None
    return host if port == usual_port else f"{host}:{port}"
