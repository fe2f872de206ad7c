"""Which URLs, refs and folder names are taken. The server has looked at them already; nothing here relies on it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

MAX_URL = 2000
MAX_REF = 255
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# git-check-ref-format(1), for what follows refs/heads/ or refs/tags/.
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)|\A[-./]|[./]\Z|\A@\Z")
_SCP = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:].*)"
)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


class BadName(ValueError):
    """The message says which, and why."""


def check_url(url: str, schemes: list[str]) -> str:
    """→ its scheme. Raises BadName."""
    if not url or len(url) > MAX_URL:
        raise BadName(f"a repository’s address has 1 to {MAX_URL} characters")
    if url[0] == "-" or any(not one.isprintable() or one.isspace() for one in url) or "\\" in url:
        raise BadName(
            "a repository’s address has no spaces, control characters or backslashes, and begins with no dash"
        )
    scheme, host, path = _parts(url)
    if scheme not in schemes:
        raise BadName(f"addresses with {scheme}:// are not allowed here, only {', '.join(schemes)}")
    if scheme != "file" and not _HOST.fullmatch(host):
        raise BadName("a repository’s address needs a host, like https://git.example/team/code.git")
    if not path.strip("/") or any(piece.startswith("-") or piece == ".." for piece in path.split("/")):
        raise BadName("a repository’s address needs a path, no part of which begins with a dash or is ..")
    return scheme


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host, path. Raises BadName."""
    if "://" not in url:
        match = _SCP.fullmatch(url)
        if match is None or "::" in url:
            raise BadName(
                "a repository’s address looks like https://host/path, ssh://host/path or user@host:path"
            )
        return "ssh", match["host"], match["path"]
    try:
        parts = urlsplit(url)
        is_sound = parts.port != 0
    except ValueError:
        raise BadName("this repository’s address can’t be read") from None
    if not is_sound or parts.query or parts.fragment or parts.password is not None:
        raise BadName("a repository’s address has no password, query or fragment")
    if parts.username is not None and (parts.scheme != "ssh" or not _USER.fullmatch(parts.username)):
        raise BadName("only an ssh address names a user, and a plain one")
    host = parts.netloc.rpartition("@")[2]
    return parts.scheme, re.sub(r":\d+\Z", "", host), parts.path


def scheme_of(url: str) -> str:
    return _parts(url)[0]


def host_of(url: str) -> str:
    """Lower case, with the port where it isn’t the scheme’s own; for a file the word `this machine`."""
    scheme, host, _ = _parts(url)
    if scheme == "file":
        return "this machine"
    port = urlsplit(url).port if "://" in url else None
    is_own = port is None or port == _DEFAULT_PORTS.get(scheme)
    return host.lower() if is_own else f"{host.lower()}:{port}"


def check_ref(ref: str) -> None:
    """Of a branch or a tag, without refs/heads/. Raises BadName."""
    is_text = 0 < len(ref.encode("utf-8", "replace")) <= MAX_REF
    if not is_text or ref == "HEAD" or _BAD_REF.search(ref) or not ref.isprintable():
        raise BadName("this is no name for a branch or a tag")


def is_ref(name: str) -> bool:
    try:
        check_ref(name)
    except BadName:
        return False
    return True


def check_commit(ref: str) -> None:
    """Raises BadName."""
    if not COMMIT.fullmatch(ref):
        raise BadName("a commit is named by all of its 40 (or 64) hexadecimal digits")


def resolved(url: str, base: str) -> str:
    """A submodule’s URL: `./x` and `../x` count from the URL of the repository that names it. Raises BadName."""
    if not url.startswith(("./", "../")):
        return url
    base = base.rstrip("/")
    while True:
        if url.startswith("./"):
            url = url[2:]
        elif url.startswith("../"):
            url, base = url[3:], _parent(base)
        else:
            return f"{base}{url}" if base.endswith(":") else f"{base}/{url}"


def _parent(base: str) -> str:
    before, slash, _ = base.rpartition("/")
    if slash and not before.endswith(("/", ":")):
        return before
    host, colon, path = base.partition(":")
    if colon and "://" not in base and "/" not in path:
        return f"{host}:"
    raise BadName("a submodule’s address leads out of its server")


def is_inside(path: str) -> bool:
    """Whether a submodule’s path stays where it is, and names no git folder."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith(("/", "-"))
        and not ({"..", ".git"} & {one.lower() for one in parts})
    )
