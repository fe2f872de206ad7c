"""Git’s own housekeeping is off, so that it never takes an object that somebody needs: here is what little is needed."""

from __future__ import annotations

from pathlib import Path

from agent.git.failures import GitFailed
from agent.git.runs import Git

MOST_PACKS = 50
MOST_LOOSE = 27  # in one folder of 256: git’s own limit, 6700 in all


def tidy(git: Git, folder: Path) -> None:
    """Of a git folder that nobody else works in. Nothing is dropped, also not what no branch leads to any more."""
    objects = folder / "objects"
    if _count(objects / "17", "*") > MOST_LOOSE:
        git.run("repack", "-d", "-l", "-q", at=folder)
    if _count(objects / "pack", "*.pack") > MOST_PACKS:
        try:
            git.run("repack", "-d", "-l", "-q", "--geometric=2", at=folder, is_logged=False)
        except GitFailed:  # before 2.33
            git.run("repack", "-a", "-k", "-d", "-l", "-q", at=folder)


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))
