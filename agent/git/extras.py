"""Submodules and large files: only where they were asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from agent.git import facts, names
from agent.git.checkout import LFS_FILTERS, Checkout
from agent.git.failures import Failed, GitFailed, cleaned
from agent.git.goal import Goal
from agent.git.mirror import Mirror
from agent.git.progress import log
from agent.git.remote import protocols
from agent.git.runs import Git, decoded
from agent.git.wish import Wish, check_url

MOST_MODULES = 200
DEEPEST = 5
SHOWN = 5
Get = Callable[[str, str], AbstractContextManager[Mirror]]


@dataclass(frozen=True)
class Module:
    name: str
    path: str
    url: str
    commit: str


def place_submodules(checkout: Checkout, wish: Wish, get: Get, url: str, depth: int = 0) -> None:
    """All that the checked out commit names. `get(url, commit)` holds a mirror that has the commit. Each URL is held to
    what holds for a project’s own."""
    for module in _modules(checkout, wish, url):
        if depth >= DEEPEST:
            raise Failed(f"submodules lie more than {DEEPEST} deep in each other")
        log(f"Submodule {cleaned(module.path)}: {module.url}")
        inner = Checkout(checkout.git, checkout.path / module.path)
        inner.git_dir = checkout.git_dir / "modules" / module.name
        with get(module.url, module.commit) as mirror:
            _place(checkout, inner, mirror, module)
        place_submodules(inner, wish, get, module.url, depth + 1)


def _modules(checkout: Checkout, wish: Wish, base: str) -> list[Module]:
    """Of `.gitmodules` as it was committed: what lies in the folder may be another file, or a link."""
    found: dict[str, dict[str, str]] = {}
    try:
        said = checkout.run("config", "--blob", "HEAD:.gitmodules", "-z", "--list", is_logged=False)
    except GitFailed:
        return []
    for entry in said.split(b"\0"):
        key, _, value = decoded(entry).partition("\n")
        section, _, rest = key.partition(".")
        name, _, setting = rest.rpartition(".")
        if section == "submodule" and setting in {"path", "url"}:
            found.setdefault(name, {})[setting] = value
    modules = [_checked(checkout, wish, base, name, entry) for name, entry in found.items()]
    if len(modules) > MOST_MODULES:
        raise Failed(f"the repository names more than {MOST_MODULES} submodules")
    return [module for module in modules if module is not None]


def _checked(checkout: Checkout, wish: Wish, base: str, name: str, entry: dict[str, str]) -> Module | None:
    path, url = entry.get("path", ""), entry.get("url", "")
    commit = _commit_at(checkout, path) if path else None
    if commit is None:
        return None  # left over in the file: nothing is there
    try:
        url = names.resolved(url, base)
        check_url(wish, url)
    except names.BadName as error:
        raise Failed(f"the submodule {cleaned(name)} isn’t taken: {error}") from None
    if not names.is_inside(name):
        raise Failed(f"the submodule {cleaned(name)} isn’t taken: it leads out of the checkout")
    return Module(name, path, url, commit)


def _commit_at(checkout: Checkout, path: str) -> str | None:
    """The commit that stands at that path."""
    if not names.is_inside(path):
        raise Failed(f"a submodule isn’t taken: its path {cleaned(path)} leads out of the checkout")
    said = checkout.ask("ls-tree", "HEAD", "--", f":(literal){path}") or ""
    mode, _, rest = said.partition(" ")
    return rest.split()[1] if mode == "160000" else None


def _place(checkout: Checkout, inner: Checkout, mirror: Mirror, module: Module) -> None:
    folder = checkout.path
    for part in Path(module.path).parts:
        folder /= part
        if folder.is_symlink():
            raise Failed(f"the submodule {cleaned(module.name)} isn’t taken: there is a link in its path")
    if inner.git_dir.is_dir() and _is_brought(inner, mirror, module):
        return
    key = f"submodule.{module.name}"
    checkout.run("config", "--replace-all", f"{key}.url", str(mirror.path))
    checkout.run("config", "--replace-all", f"{key}.update", "checkout")
    checkout.run("config", "--replace-all", f"{key}.active", "true")
    try:
        # Not by force: git itself leaves what was changed there, or says that it can’t.
        checkout.run("submodule", "update", "--init", "--checkout", "--", module.path)
    finally:
        checkout.run("config", "--replace-all", f"{key}.url", module.url)
    checkout.git.run("config", "--replace-all", "remote.origin.url", module.url, at=inner.git_dir)
    # Known as the remote’s from here on, also where none of its branches leads to it.
    inner.fetch_commit(mirror, module.commit)


def _is_brought(inner: Checkout, mirror: Mirror, module: Module) -> bool:
    """Of one that was here before: its commit comes out of the mirror, or git would ask the remote for it. → whether it is
    checked out already. Raises Failed."""
    inner.path.mkdir(parents=True, exist_ok=True)
    old, is_there = inner.head, (inner.path / ".git").exists()
    if is_there and old == module.commit:
        return True
    if is_there and old and inner.branch is None and not mirror.has(old):
        _refuse_own(inner, module)
    inner.fetch_commit(mirror, module.commit)
    return False


def _refuse_own(inner: Checkout, module: Module) -> None:
    if own := facts.unpushed(inner, "HEAD")[0]:
        raise Failed(
            f"the submodule {cleaned(module.name)} has commits that are only here ({', '.join(own[:SHOWN])}), and would be "
            "out of sight. Push them, or make a branch of them there, then pull again"
        )


def need_lfs(git: Git) -> None:
    """Raises Failed."""
    if git.find("git-lfs") is None:
        raise Failed(
            "large files need git-lfs, which isn’t installed on this worker: install it, or do without them"
        )


def fetch_large_files(git: Git, mirror: Mirror, wish: Wish, goal: Goal, variables: dict[str, str]) -> None:
    """Into the mirror, of the commit that is checked out: while git may talk to the remote."""
    if goal.commit is None:
        return
    git.reporter.say("fetching", "lfs", "Downloading large files")
    git.run(
        *("lfs", "fetch", "origin", goal.commit),
        at=mirror.path,
        settings=[f"remote.origin.url={wish.url}", f"lfs.url={_lfs_url(wish)}", *_LFS_SETTINGS],
        variables={**variables, "GIT_LFS_SKIP_SMUDGE": "1"},
        protocols=protocols(wish.url, wish.schemes),
    )


# A repository’s own .lfsconfig comes after these.
_LFS_SETTINGS = [
    "lfs.locksverify=false",
    "lfs.basictransfersonly=true",
    "lfs.allowincompletepush=false",
]


def _lfs_url(wish: Wish) -> str:
    if not wish.url.startswith(("https://", "http://")):
        return wish.url
    return f"{wish.url.rstrip('/').removesuffix('.git')}.git/info/lfs"


def place_large_files(checkout: Checkout, mirror: Mirror) -> None:
    """Out of the mirror: the files of one store, by hard links where that can be."""
    _link_all(mirror.path / "lfs" / "objects", checkout.git_dir / "lfs" / "objects")
    for name, value in LFS_FILTERS.items():
        checkout.run("config", "--replace-all", name, value)
    checkout.git.reporter.say("checking out", "checking_out", "Checking out large files")
    checkout.run("lfs", "checkout")


def _link_all(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not (there / name).exists():
                link_or_copy(Path(folder) / name, there / name)


def link_or_copy(source: Path, target: Path) -> None:
    """On another disk it is a copy, which is there when it is whole."""
    try:
        target.hardlink_to(source)
    except OSError:
        half = target.with_name(f"{target.name}.half")
        shutil.copyfile(source, half)
        half.replace(target)
