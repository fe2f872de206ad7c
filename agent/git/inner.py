"""Repositories in a checkout: its submodules, also those that it hasn’t checked out any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.git.checkout import Checkout
from agent.git.failures import Failed, cleaned
from agent.git.marked import Entry

NAME_LENGTH = 100


def found(checkout: Checkout, known: Iterable[Entry]) -> Iterator[tuple[str, Checkout]]:
    """With what each is called. The path of one that isn’t checked out is that of `checkout`. Raises Failed."""
    modules = checkout.git_dir / "modules"
    for git_dir in _git_dirs(modules):
        parts = git_dir.relative_to(modules).parts
        yield _name("/".join(part for part in parts if part != "modules")), _module(checkout, git_dir)
    for entry in known:
        path = checkout.path / os.fsdecode(entry.name)
        git_dir = path / ".git"
        if git_dir.is_dir() and not git_dir.is_symlink() and path.resolve() == path:
            yield _name(os.fsdecode(entry.name)), Checkout(checkout.git, path)


def _name(text: str) -> str:
    return cleaned(text, NAME_LENGTH)


def _git_dirs(modules: Path) -> Iterator[Path]:
    """Names may have slashes, and submodules have some of their own."""
    folders = [modules] if modules.is_dir() and not modules.is_symlink() else []
    while folders:
        folder = folders.pop()
        inside = {path.name: path for path in _folders(folder)}
        if "objects" not in inside or not (folder / "HEAD").exists():
            folders += inside.values()
            continue
        yield folder
        folders += [inside["modules"]] if "modules" in inside else []


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise Failed(f"{folder} can’t be looked into: {error.strerror or error}") from error


def _module(checkout: Checkout, git_dir: Path) -> Checkout:
    inner = Checkout(checkout.git, checkout.path)
    inner.git_dir = git_dir
    tree = inner.ask("config", "--local", "--get", "core.worktree")
    if tree:
        place = (git_dir / tree).resolve()
        if checkout.path in place.parents and (place / ".git").exists():
            inner.path = place
    return inner
