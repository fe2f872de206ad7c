"""This machine: what tasks need of it, and what the agent does."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent import files, identity, machine, owner, project, tools
from agent.config import Config
from agent.doctor.verdict import Look, Verdict, ok, problem, warning
from agent.environment import base
from agent.errors import BadConfig
from agent.probes import Prober
from agent.roots import Roots
from agent.tools.git import TOOL as GIT

# For others than the account itself. That they may pass through to a task's folder is another thing (run_as).
READABLE = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


@dataclass
class Here:
    config: Config

    def looks(self) -> list[Look]:
        return [
            Look("git", look_for_git),
            Look("disk", self.look_at_disk),
            Look("storage", self.look_at_storage),
            Look("projects", self.look_at_projects),
            Look("policy", self.look_at_policy),
            Look("files", self.count_files),
            Look("tools", look_at_tools),
        ]

    def look_at_disk(self) -> Verdict:
        where = _existing(self.config.jobs)
        gauges = machine.Gauges(where, self.config.disk_floor_bytes)
        free = int(gauges.metrics()["disk_free_bytes"])
        if gauges.disk_low:
            return problem(
                f"{gauges.disk_low}, at {where}: no new work is taken",
                "make room there, or set another limit: AGENT_DISK_FLOOR_BYTES (0: none)",
            )
        return ok(f"{machine.gib(free)} free at {where}")

    def look_at_storage(self) -> list[Verdict]:
        storage = self.config.storage
        if not storage.exists():
            above = _existing(storage)
            if not os.access(above, os.W_OK | os.X_OK):
                return [
                    problem(
                        f"{storage} isn't there, and {above} can't be written",
                        f"another --storage, or: chown {_me()} {above}",
                    )
                ]
            return [ok(f"{storage} isn't there yet, and can be made")]
        found = [
            *self._foreign(),
            *_writable(storage),
            *(_writable(self.config.jobs) if self.config.jobs.exists() else []),
        ]
        return found or [ok(f"{storage} can be written, and only by {_me()}")]

    def look_at_projects(self) -> list[Verdict]:
        roots = self.config.roots
        if unusable := self._unusable():
            return [warning(unusable, "projects go to other workers until then")]
        there = [folder for folder in roots.folders if folder.exists()]
        found = [verdict for folder in there for verdict in _writable(folder)]
        if not found and roots.projects in there and roots.mirrors in there:
            found += _on_two_disks(roots)
        checkouts = len(project.placed(roots.projects))
        return found or [ok(f"{checkouts or 'none'} at {roots.projects}")]

    def _unusable(self) -> str:
        """Why projects can't be placed as the tasks' account. A policy that can't be read has a look of its own."""
        with suppress(BadConfig):
            return owner.Owner(self.config).policy().unusable.get(GIT.name, "")
        return ""

    def _foreign(self) -> Iterator[Verdict]:
        """What others could read or change. A group or the world never sees a worker's key."""
        for path in (self.config.storage, self.config.storage / identity.FILE):
            try:
                there = path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                yield problem(
                    f"{path} can't be looked at: {error.strerror}",
                    f"ask as the account that runs the agent, not as {_me()}",
                )
                return
            if there.st_uid != os.geteuid():
                yield problem(
                    f"{path} belongs to {machine.account_name(there.st_uid)}",
                    f"ask as that account, or: chown -R {_me()} {self.config.storage}",
                )
            elif there.st_mode & READABLE:
                mode = "700" if stat.S_ISDIR(there.st_mode) else "600"
                yield problem(f"others may look into {path}", f"chmod {mode} {path}")

    def look_at_policy(self) -> Verdict:
        try:
            policy = owner.Owner(self.config).policy()
        except BadConfig as error:
            return problem(str(error), "mend the file: until then no agent starts")
        if policy.problem:
            return problem(policy.problem, "mend the file: until then no task is started")
        said = ", ".join(name for name in policy.to_dict() if name != "digest")
        return ok(
            f"the owner's file limits {said}" if said else "no limits: whatever the server offers is run"
        )

    def count_files(self) -> Verdict:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = files.enough_for(hard)
        if self.config.slots > most:
            return warning(
                f"{hard} files may be open at once, enough for {most} tasks of {self.config.slots}",
                "raise the limit (ulimit -Hn, LimitNOFILE= in a unit), or take fewer slots",
            )
        return ok(f"enough for {self.config.slots} tasks at once")


def look_for_git() -> Verdict:
    if shutil.which("git", path=base()["PATH"]) is None:
        return warning("not there: projects need it", "install it, for instance: apt-get install git")
    found = GIT.probe(base()["PATH"])
    return (
        ok(found.version)
        if found.works
        else warning(found.problem, "projects need it: try git --version by hand")
    )


def _on_two_disks(roots: Roots) -> Iterator[Verdict]:
    if roots.projects.stat().st_dev != roots.mirrors.stat().st_dev:
        yield warning(
            f"{roots.projects} and {roots.mirrors} are on different disks: every clone is a whole copy",
            "give AGENT_MIRRORS_PATH a place beside the projects",
        )


def look_at_tools() -> list[Verdict]:
    found = Prober(tools.registry().values()).now()
    return [
        _of_tool(name, one.works, one.version, one.problem, one.signed_in)
        for name, one in sorted(found.items())
        if name != GIT.name  # looked at before
    ]


def _of_tool(name: str, works: bool, version: str, trouble: str, signed_in: bool | None) -> Verdict:
    if not works:
        return warning(
            f"{name} doesn't work: {trouble}",
            "tasks for it go to other workers. Where they should run here, mend that",
        )
    if signed_in is False:
        return warning(
            f"{name} {version}: nobody is signed in", f"sign in as {_me()}, the account that tasks run as"
        )
    return ok(f"{name} {version}".strip())


def _writable(folder: Path) -> Iterator[Verdict]:
    """With a real file: a disk may be full, or mounted to be read alone, whatever the permissions say."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"written\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield problem(
            f"{folder} can't be written: {error.strerror or error}",
            "make room, or give it back to this account; mount shows how it is mounted",
        )


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _me() -> str:
    return machine.account_name(os.geteuid())
