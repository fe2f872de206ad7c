"""A garage that clones, with everything in it that can be broken: the remote, git, the agent, the machine."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.contract.projects import Garage as Desk
from tests.contract.projects import Project
from tests.faults.garage import Garage
from tests.git.http_remote import HttpRemote
from tests.stack import Process, eventually

# Remotes of tests speak plain http, on loopback.
OVER_HTTP = {"git_schemes": "https,ssh,http"}


def started(garage: Garage, **agent: Any) -> tuple[Desk, Process]:
    """A server with one agent that may clone."""
    garage.start_server()
    process = garage.start_agent(**agent)
    return Desk(garage), process


def descendants(process: Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def gits(process: Process) -> list[psutil.Process]:
    """The git programs that work for this agent, the first one first."""
    return [one for one in descendants(process) if _name(one).startswith("git")]


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def kill(processes: list[psutil.Process]) -> None:
    """At once, and gone when this returns."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=20)


def power_cut(agent: Process) -> None:
    """The agent and all that works for it, at once: as when the machine dies."""
    doomed = descendants(agent)
    agent.process.kill()
    kill(doomed)
    agent.process.wait()


def stalled_clone(desk: Desk, remote: HttpRemote, url: str, **wish: Any) -> tuple[Project, str]:
    """One that has begun to receive and gets no further until `remote.let_go()`. The project, and its task."""
    remote.stall_packs(after=20_000)
    begun = desk.begin(url, **wish)
    assert remote.stalled.wait(60), "nothing was fetched"
    return Project(desk, begun["project_id"]), begun["task_id"]


def mirrored(desk: Desk) -> list[Path]:
    return [path for path in (desk.storage / "mirrors").glob("*.git") if path.is_dir()]


def becomes(project: Project, status: str, seconds: float = 60) -> dict[str, Any]:
    """The checkout, as soon as it is that."""
    return eventually(
        lambda: (found := project.checkout)["status"] == status and found,
        seconds,
        f"a checkout to be {status}",
    )


def is_whole(project: Project, commit: str) -> bool:
    """Every file is there as it was committed, and git finds nothing wrong."""
    project.git("fsck", "--no-dangling")
    return project.git("rev-parse", "HEAD") == commit and project.git("status", "--porcelain") == ""
