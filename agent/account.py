"""The unprivileged account that tasks run as, where the agent itself is root."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agent.errors import BadConfig


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @property
    def variables(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def may_pass(self, folder: Path) -> bool:
        """Whether it can go through, by the folder's mode."""
        return self._has(folder.stat(), stat.S_IXUSR)

    def may_change(self, folder: Path) -> bool:
        """Whether it could put something else in the place of this folder, or of what somebody else has in it."""
        found = folder.stat()
        if self.uid in {found.st_uid, folder.lstat().st_uid}:
            return True
        return not found.st_mode & stat.S_ISVTX and self._has(found, stat.S_IWUSR)

    def _has(self, found: os.stat_result, owners: int) -> bool:
        """This bit, or the same of its own class: the first one that it belongs to decides."""
        if found.st_uid == self.uid:
            return bool(found.st_mode & owners)
        if found.st_gid in self.groups:
            return bool(found.st_mode & owners >> 3)
        return bool(found.st_mode & owners >> 6)


def find(name: str) -> Account:
    """Raises BadConfig where tasks can't run as such a user."""
    if os.geteuid() != 0:
        raise BadConfig(f"run_as {name} needs an agent that runs as root")
    try:
        known = pwd.getpwnam(name)
    except KeyError:
        raise BadConfig(f"run_as: there is no user {name!r} on this machine") from None
    groups = tuple(os.getgrouplist(name, known.pw_gid))
    if known.pw_uid == 0 or 0 in groups:
        raise BadConfig(f"run_as: {name} is root, or in root's group: give an unprivileged user")
    return Account(name, known.pw_uid, known.pw_gid, groups, known.pw_dir)


def open_way(account: Account, storage: Path, jobs: Path) -> None:
    """Let it through to the folders of its tasks, and read nothing on the way. Raises BadConfig where that isn't ours
    to allow."""
    refuse_changeable(account, storage, jobs)
    own = [storage, jobs] if storage in jobs.parents else [jobs]
    let_through(account, jobs, own, "AGENT_JOBS_WORKSPACE")


def let_through(account: Account, place: Path, own: Collection[Path], setting: str) -> None:
    """To `place`; of the folders on the way, those in `own` may be opened. Raises BadConfig."""
    # Who hasn't joined has none yet.
    there = [folder for folder in (*place.parents, place) if folder.exists()]
    for folder in there:
        if folder in own:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
    closed = [folder for folder in there if not account.may_pass(folder)]
    if closed:
        raise BadConfig(
            f"run_as: {account.name} can't get through {min(closed)} to the folders of its tasks: "
            f"give {setting} another place, like /var/lib/garageswarm/{_folder_for(setting)}"
        )


def _folder_for(setting: str) -> str:
    return setting.split("_")[1].lower()


def refuse_changeable(account: Account, *places: Path, setting: str = "AGENT_JOBS_WORKSPACE") -> None:
    """The agent writes there as root: whoever could lay a link in its way would have it write anywhere."""
    ways = [way for place in places for way in (place, place.resolve())]
    folders = {folder for way in ways for folder in (way, *way.parents) if folder.exists()}
    open_to_it = sorted(folder for folder in folders if account.may_change(folder))
    if open_to_it:
        raise BadConfig(
            f"run_as: {account.name} can change what is in {open_to_it[0]}, where the agent writes as root: give --storage "
            f"and {setting} places of root's own, like /var/lib/garageswarm/{_folder_for(setting)}"
        )
