"""Decisions about projects: which URLs and refs are taken, what a checkout may become. No database, no clock."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Literal
from urllib.parse import unquote, urlsplit

CheckoutStatus = Literal["pending", "syncing", "active", "error", "deleting"]
# What a checkout becomes when its task ends and has said nothing else. gone: its files are, and so shall the row be.
CheckoutEnd = Literal["active", "error", "gone"]
RefKind = Literal["default", "branch", "tag", "commit"]
CredentialKind = Literal["token", "ssh"]
Operation = Literal["clone", "pull", "status", "delete", "branches"]

# The tool that does all of this on the worker.
TOOL = "git"
USE_INSTEAD = (
    "The tool git is used through projects: POST /projects/clone, or what else /projects offers. "
    "In a shell task of a project you can call git itself."
)

# ---- URLs

# What git can speak. `ext` isn't here and can't be allowed: it runs any program.
SCHEMES = ("https", "ssh", "http", "git", "file")
USUAL_SCHEMES = ("https", "ssh")
URL_LONGEST = 2000
# A name of 253 characters, as known_hosts writes it with a port: [name]:65535.
HOST_LONGEST = 261
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# user@host:path, as git and ssh know it. A path with a colon in front would be another transport (`ext::`).
_SCP = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):([^:/-].*|/.+)")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
_FORMS = "Write it like https://git.example/team/app.git or git@git.example:team/app.git."


def url_problem(url: str, schemes: Collection[str] = USUAL_SCHEMES) -> str | None:
    """Why this can't be a repository's URL, or None. `schemes`: those that the server's admin allows."""
    if len(url) > URL_LONGEST:
        return f"A URL has at most {URL_LONGEST} characters."
    if problem := _unprintable(unquote(url), "A URL"):
        return problem
    scheme = scheme_of(url)
    if not scheme or "\\" in url:
        return f"That isn’t a URL that git could clone from a worker. {_FORMS}"
    if scheme not in SCHEMES or scheme not in schemes:
        return f"The scheme {scheme[:20]} isn’t allowed here; these are: {', '.join(schemes)}."
    is_whole = _SCHEME.match(url)
    return _problem_of_parts(url, scheme) if is_whole else _problem_of_path(url.partition(":")[2])


def scheme_of(url: str) -> str:
    """In small letters; `ssh` for user@host:path; empty where it is none that we know the form of."""
    if found := _SCHEME.match(url):
        return found[1].lower()
    return "ssh" if _SCP.fullmatch(url) else ""


def _problem_of_parts(url: str, scheme: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"The host or the port of this URL can’t be right. {_FORMS}"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "A repository’s URL has no ? and no #: leave out what follows."
    user, at, host = parts.netloc.rpartition("@")
    if at and (scheme != "ssh" or not _USER.fullmatch(user)):
        return "A URL holds no password and no token: leave out what stands before the @, and choose a credential."
    if scheme == "file":
        return "A file URL has no host: file:///srv/git/app.git." if host else _problem_of_path(parts.path)
    bare = host if port is None else host.rpartition(":")[0]
    if not _HOST.fullmatch(bare) or port == 0 or host.endswith(":"):
        return f"The host of this URL can’t be right: letters, digits, dots and hyphens. {_FORMS}"
    return _problem_of_path(parts.path)


def _problem_of_path(path: str) -> str | None:
    pieces = path.strip("/").split("/")
    if pieces == [""]:
        return f"This URL names no repository. {_FORMS}"
    if ".." in pieces or any(piece.startswith("-") for piece in pieces):
        return "No part of a URL’s path may be .. or begin with a hyphen."
    return None


def name_from(url: str) -> str:
    """What a project of this URL might be called; empty where the URL suggests no good name."""
    last = re.split(r"[/:]", url.rstrip("/"))[-1].removesuffix(".git")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[:NAME_LONGEST]
    return "" if name_problem(name) else name


# ---- refs

_REF_LONGEST = 255  # bytes
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def ref_problem(kind: RefKind, ref: str) -> str | None:
    """Why this can't be the name of a branch or a tag, or a commit's id, or None. By git's own check-ref-format."""
    if kind == "default":
        return "The remote’s own branch has no name here." if ref else None
    if kind == "commit":
        whole = (
            "A commit is its whole id: 40 hexadecimal digits in small letters (64 in a SHA-256 repository)."
        )
        return None if COMMIT.fullmatch(ref) else whole
    if problem := _unprintable(ref, f"A {kind}’s name"):
        return problem
    pieces = ref.split("/")
    is_bad = (
        not ref
        or ref in ("@", "HEAD")
        or len(ref.encode()) > _REF_LONGEST
        or ref.startswith("-")
        or ref.endswith(".")
        or _NOT_IN_REFS.search(ref)
        or any(not piece or piece.startswith(".") or piece.endswith(".lock") for piece in pieces)
    )
    return (
        f"git takes no {kind} of this name. Copy it from the remote, like main or release/1.2."
        if is_bad
        else None
    )


def _unprintable(text: str, what: str) -> str | None:
    """Whether a terminal, a browser or a shell would see something else in it than a person does."""
    for character in text:
        if character.isspace() or unicodedata.category(character) in (
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Cn",
            "Zl",
            "Zp",
        ):
            return f"{what} has no spaces, line ends or invisible characters."
    return None


# ---- names and folders

NAME_LONGEST = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LONGEST - 1}}}")


def name_problem(name: str) -> str | None:
    """Why this can't be a project's name, which is a part of its folder's, or None."""
    if not _NAME.fullmatch(name):
        return f"A name is 1 to {NAME_LONGEST} letters, digits, dots, hyphens and underscores, a letter or digit first."
    if name.lower().endswith((".git", ".lock", ".")):
        return "A name can’t end in .git, in .lock or with a dot: git means something by that."
    return None


def path_of(owner: str, name: str) -> str:
    """The folder's name under AGENT_PROJECTS_PATH. The first underscore separates, because owners have none."""
    return f"{owner}_{name}"


# ---- checkouts

# How each operation uses the checkout, in the queue's words.
USES: dict[Operation, Literal["", "reads", "places"]] = {
    "clone": "places",
    "pull": "places",
    "delete": "places",
    "status": "reads",
    "branches": "",
}
# Those that speak with the remote: nobody else is given what opens it.
FETCHING: frozenset[Operation] = frozenset({"clone", "pull", "branches"})
# What a checkout is while the operation waits. A look changes nothing.
WAITS_AS: dict[Operation, CheckoutStatus] = {"clone": "pending", "pull": "pending", "delete": "deleting"}


def ends_as(operation: Operation, before: CheckoutStatus | None) -> CheckoutEnd:
    """What becomes of a checkout whose task ends without a word: what it was, but a clone that said nothing failed."""
    return "active" if before == "active" and operation != "clone" else "error"


def overall(statuses: Iterable[CheckoutStatus]) -> CheckoutStatus | None:
    """A project's status from its checkouts': what a person should look at first. None: it has none."""
    found = set(statuses)
    ranked: tuple[CheckoutStatus, ...] = ("error", "deleting", "syncing", "pending", "active")
    return next((status for status in ranked if status in found), None)
