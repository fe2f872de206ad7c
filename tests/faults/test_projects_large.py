"""50,000 files and 500 MB, cloned by a real agent from a real server: seen while it goes on, whole, and light."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.contract.projects import Garage as Desk
from tests.contract.projects import Project
from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage
from tests.faults.projects import OVER_HTTP, mirrored, started
from tests.git.http_remote import HttpRemote
from tests.git.repositories import git
from tests.large_repository import MB, Shape, build
from tests.stack import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LARGE = Shape()
LONGEST_S = 300
# What a program of ours may take more than before, whatever the repository's size.
GROWTH = 60 * MB


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[HttpRemote]:
    """Listed by a test before its garage, so that both are removed at the very end: pytest would keep such gigabytes."""
    with HttpRemote(tmp_path / "forge") as served:
        yield served
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """The most that the programs of one family took, those of git left out."""

    def __init__(self, process: Process) -> None:
        self._root = psutil.Process(process.pid)
        self.before = self.most = self._now()

    def look(self) -> None:
        self.most = max(self.most, self._now())

    def _now(self) -> int:
        return sum(map(_proportional, [self._root, *self._root.children(recursive=True)]))

    @property
    def growth(self) -> int:
        return self.most - self.before


def _proportional(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return 0 if process.name().startswith("git") else int(process.memory_full_info().pss)
    return 0


@contextmanager
def watched(*watches: Watch) -> Iterator[None]:
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            for watch in watches:
                watch.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_fifty_thousand_files_are_cloned_with_their_progress_and_little_memory(
    remote: HttpRemote, new_garage: NewGarage
) -> None:
    head = git("rev-parse", "main", cwd=build(remote.folder / "large.git", LARGE))
    garage = new_garage(**OVER_HTTP)
    desk, agent = started(garage)
    server, own = Watch(garage.process), Watch(agent)
    url = remote.url("large.git")
    with watched(server, own):
        begun = desk.begin(url, name="large")
        task = garage.ended(begun["task_id"], LONGEST_S)
    assert task["status"] == "completed", garage.log(task["id"]).decode()
    project = Project(desk, begun["project_id"])
    assert_progress_was_seen(garage, task["id"])
    assert project.checkout["commit"] == head
    assert project.checkout["size_bytes"] > LARGE.size
    assert len(project.git("ls-files").splitlines()) == LARGE.files
    assert project.git("status", "--porcelain") == ""
    assert (server.growth < GROWTH, own.growth < GROWTH) == (True, True), (server.growth, own.growth)
    assert_second_clone_shares_the_mirror(desk, url, remote)


def assert_progress_was_seen(garage: Garage, task_id: str) -> None:
    events = garage.api("GET", f"/tasks/{task_id}/events").json()["items"]
    steps: dict[str, list[float]] = {}
    for event in events:
        if event["type"] == "step_progress" and event["progress"] is not None:
            steps.setdefault(event["step_id"], []).append(event["progress"])
    assert {"receiving", "checking_out"} <= set(steps), steps
    for said in steps.values():
        assert all(0 <= percent <= 100 for percent in said)
        assert said == sorted(said), "it only grows"
    assert len(events) < LONGEST_S, "about one a second"


def assert_second_clone_shares_the_mirror(desk: Desk, url: str, remote: HttpRemote) -> None:
    (mirror,) = mirrored(desk)
    packs = len(remote.packs())
    second = desk.cloned(url)
    assert len(remote.packs()) <= packs + 1, "nothing of it was fetched again"
    pack = max(mirror.glob("objects/pack/*.pack"), key=lambda path: path.stat().st_size)
    shared = second.folder / ".git" / "objects" / "pack" / pack.name
    assert shared.stat().st_ino == pack.stat().st_ino, "hard links"
