"""Projects on the machine of a test: checkouts made by hand, and a repository to clone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

PROJECT = {"id": "p-1", "name": "garden", "path": "ada_garden", "branch": "main"}


def checkout(storage: Path, path: str = PROJECT["path"]) -> Path:
    """A folder where the agent looks for one."""
    made = storage / "projects" / path
    made.mkdir(parents=True)
    return made


def git(*words: str, cwd: Path) -> str:
    told = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nowhere",
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Ada"), ("EMAIL", "ada@garage.example"))
        },
    }
    done = subprocess.run(
        ["git", *words], cwd=cwd, env=told, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def repository(folder: Path) -> str:
    """A new one with a commit on `main`. → its URL."""
    folder.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    (folder / "README").write_text("hello\n")
    git("add", "README", cwd=folder)
    git("commit", "--quiet", "--message=Begin", cwd=folder)
    return folder.as_uri()


def clone(url: str, **more: Any) -> dict[str, Any]:
    """A task's input as the server gives it."""
    return {
        "operation": "clone",
        "url": url,
        "path": PROJECT["path"],
        "ref_kind": "default",
        "ref": "",
        "single_branch": False,
        "submodules": False,
        "lfs": False,
        "schemes": ["file"],
        "host_keys": [],
        **more,
    }
