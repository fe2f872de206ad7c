"""What is asked of the program: `git.json`, read once and removed, because it holds the secret."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.git import names
from agent.within import is_within

OPERATIONS = ("clone", "pull", "status", "delete", "branches")
REF_KINDS = ("default", "branch", "tag", "commit")
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}")


class BadWish(ValueError):
    """The message says what is wrong."""


@dataclass(frozen=True)
class Credential:
    kind: str  # token, ssh
    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Wish:
    """Checked. `root` and `mirrors` are absolute, `path` is the name of a folder directly in `root`."""

    operation: str
    url: str
    schemes: list[str]
    attempt_id: str
    root: Path
    mirrors: Path
    path: str = ""
    ref_kind: str = "default"
    ref: str = ""
    depth: int | None = None
    single_branch: bool = False
    submodules: bool = False
    lfs: bool = False
    force: bool = False
    credential: Credential | None = None
    host_keys: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    repositories: list[str] | None = None  # the owner’s rule, None: any
    search: str = "/usr/local/bin:/usr/bin:/bin"
    disk_floor_bytes: int = 0
    mirrors_bytes: int = 0

    @property
    def host(self) -> str:
        return names.host_of(self.url)


def read(directory: Path) -> Wish:
    """Raises BadWish, or OSError."""
    path = directory / "git.json"
    try:
        said = json.loads(path.read_bytes())
    except ValueError:
        raise BadWish("git.json is not JSON") from None
    finally:
        path.unlink(missing_ok=True)
    if not isinstance(said, dict):
        raise BadWish("git.json is not an object")
    return parsed(said)


def parsed(said: dict[str, Any]) -> Wish:
    """Raises BadWish."""
    try:
        wish = _wish(said)
        _check(wish)
    except KeyError as error:
        raise BadWish(f"{error.args[0]} is missing") from None
    except (names.BadName, TypeError) as error:
        raise BadWish(str(error)) from None
    return wish


def _wish(said: dict[str, Any]) -> Wish:
    given = said.get("credential")
    return Wish(
        operation=_text(said["operation"], "operation"),
        url=_text(said["url"], "url"),
        schemes=_texts(said["schemes"], "schemes"),
        attempt_id=_text(said["attempt_id"], "attempt_id"),
        root=Path(_text(said["projects"], "projects")),
        mirrors=Path(_text(said["mirrors"], "mirrors")),
        path=_text(said.get("path") or "", "path"),
        ref_kind=_text(said.get("ref_kind") or "default", "ref_kind"),
        ref=_text(said.get("ref") or "", "ref"),
        depth=_number(said["depth"], "depth", 1) if said.get("depth") is not None else None,
        single_branch=_flag(said, "single_branch"),
        submodules=_flag(said, "submodules"),
        lfs=_flag(said, "lfs"),
        force=_flag(said, "force"),
        credential=None if given is None else _credential(given),
        host_keys=_texts(said.get("host_keys") or [], "host_keys"),
        running=_texts(said.get("running") or [], "running"),
        repositories=None
        if said.get("repositories") is None
        else _texts(said["repositories"], "repositories"),
        search=_text(said.get("search") or Wish.search, "search"),
        disk_floor_bytes=_number(said.get("disk_floor_bytes") or 0, "disk_floor_bytes", 0),
        mirrors_bytes=_number(said.get("mirrors_bytes") or 0, "mirrors_bytes", 0),
    )


def _check(wish: Wish) -> None:
    if wish.operation not in OPERATIONS:
        raise BadWish(f"operation must be one of {', '.join(OPERATIONS)}")
    if wish.ref_kind not in REF_KINDS:
        raise BadWish(f"ref_kind must be one of {', '.join(REF_KINDS)}")
    if not _SAFE_ID.fullmatch(wish.attempt_id):
        raise BadWish("attempt_id is no id")
    if not all(_SCHEME.fullmatch(scheme) and scheme != "ext" for scheme in wish.schemes):
        raise BadWish("schemes must be names like https, and never ext")
    check_url(wish, wish.url)
    if wish.ref_kind == "commit":
        names.check_commit(wish.ref)
    elif wish.ref_kind != "default":
        names.check_ref(wish.ref)
    if wish.operation != "branches" and not names.FOLDER.fullmatch(wish.path):
        raise BadWish("path must be the name of a folder")
    if not wish.root.is_absolute() or not wish.mirrors.is_absolute():
        raise BadWish("projects and mirrors must be absolute")


def check_url(wish: Wish, url: str) -> None:
    """The project’s own, or a submodule’s. Raises names.BadName."""
    names.check_url(url, wish.schemes)
    if wish.repositories is not None and not any(is_within(url, each) for each in wish.repositories):
        raise names.BadName(f"the owner of this machine doesn’t allow the repository {url}")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise BadWish(f"{name} must be a text without NUL")
    return value


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list):
        raise BadWish(f"{name} must be a list")
    return [_text(one, name) for one in value]


def _number(value: object, name: str, low: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**62:
        raise BadWish(f"{name} must be a whole number, at least {low}")
    return value


def _flag(said: dict[str, Any], name: str) -> bool:
    value = said.get(name) or False
    if not isinstance(value, bool):
        raise BadWish(f"{name} must be true or false")
    return value


def _credential(given: object) -> Credential:
    if not isinstance(given, dict) or given.get("kind") not in {"token", "ssh"}:
        raise BadWish("credential must have the kind token or ssh")
    name, secret = (_text(given.get(key) or "", f"credential.{key}") for key in ("username", "secret"))
    if not secret or (given["kind"] == "token" and ("\n" in secret or "\n" in name)):
        raise BadWish("credential.secret must not be empty, and a token is one line")
    return Credential(given["kind"], name, secret)
