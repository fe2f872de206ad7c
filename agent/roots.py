"""The folders that outlive a task: checkouts, mirrors, datasets and outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from agent import lock
from agent.account import Account, let_through, refuse_changeable
from agent.errors import BadConfig

VARIABLES = {
    "projects": "AGENT_PROJECTS_PATH",
    "datasets": "AGENT_DATASETS_PATH",
    "outputs": "AGENT_OUTPUTS_PATH",
    "mirrors": "AGENT_MIRRORS_PATH",
}
MIRRORS_BYTES = 20 * 1024**3


@dataclass(frozen=True)
class Roots:
    """Absolute paths. What the agent itself puts there lies directly inside, under a name that it has checked."""

    projects: Path
    datasets: Path
    outputs: Path
    mirrors: Path
    mirrors_bytes: int = MIRRORS_BYTES  # what mirrors may take before the oldest are removed; 0: anything

    @property
    def folders(self) -> tuple[Path, ...]:
        return self.projects, self.datasets, self.outputs, self.mirrors

    def make(self) -> None:
        for folder in self.folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def give(self, account: Account, storage: Path) -> None:
        """What is there belongs to it from here on. Raises BadConfig where it can't get there, where it could lay a link in
        the way of root, and for a folder that is full of somebody else's."""
        for setting, folder in zip(VARIABLES.values(), self.folders, strict=True):
            above = folder.parent
            refuse_changeable(account, above, folder.resolve().parent, setting=setting)
            let_through(account, above, {storage}, setting)
            if folder.exists():
                _give(folder.resolve(), account)


def _give(folder: Path, account: Account) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid == account.uid:
            return
        # Of this very folder, whatever its path leads to by now. The lock in it stays the agent's.
        if set(os.listdir(handle)) - {lock.FILE}:  # noqa: PTH208
            raise BadConfig(
                f"run_as: {folder} belongs to somebody else, and tasks of {account.name} couldn't change what is in it: "
                f"chown -R {account.name} {folder}"
            )
        os.fchown(handle, account.uid, account.gid)
    finally:
        os.close(handle)


def inside(storage: Path) -> Roots:
    return said({}, storage)


def said(environ: Mapping[str, str], storage: Path, mirrors_bytes: int = MIRRORS_BYTES) -> Roots:
    """Whatever that is: to look there."""

    def path(name: str) -> Path:
        return Path(environ.get(VARIABLES[name]) or storage / name).expanduser().absolute()

    return Roots(path("projects"), path("datasets"), path("outputs"), path("mirrors"), mirrors_bytes)


def load(environ: Mapping[str, str], storage: Path, jobs: Path, mirrors_bytes: int = MIRRORS_BYTES) -> Roots:
    """Raises BadConfig where one of them lies in another: what is removed in the one would be the other's."""
    roots = said(environ, storage, mirrors_bytes)
    known = {**dict(zip(VARIABLES.values(), roots.folders, strict=True)), "AGENT_JOBS_WORKSPACE": jobs}
    for (inner, path), (outer, other) in permutations(known.items(), 2):
        if other.resolve() in (path.resolve(), *path.resolve().parents):
            raise BadConfig(
                f"{inner} ({path}) lies in {outer} ({other}): give each a folder of its own, beside the others"
            )
    return roots
