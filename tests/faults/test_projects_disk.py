"""No room for a checkout on the worker: said clearly, cleaned up, and well again as soon as there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.projects import words_of
from tests.faults import disk
from tests.faults.conftest import NewGarage
from tests.faults.disk import Disk, NoMoreWrites, SmallDisk
from tests.faults.projects import OVER_HTTP, is_whole, started
from tests.git.http_remote import HttpRemote
from tests.git.repositories import git
from tests.large_repository import MB, Shape, build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TRIES = 60
KINDS = ["mounted", "limit"] if disk.may_mount() else ["limit"]
# In the mirror three quarters of that, and all of it again in the checkout.
SOME = Shape(files=200, size=40 * MB, commits=4)
ROOM = 128 * MB


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    """Listed by a test before its garage, so that it is taken down after the garage's programs."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[HttpRemote]:
    with HttpRemote(tmp_path / "forge") as served:
        yield served


def test_a_full_disk_fails_the_clone_with_the_reason_and_the_next_one_is_whole(
    mounts: ExitStack, new_garage: NewGarage, remote: HttpRemote, kind: str
) -> None:
    head = git("rev-parse", "main", cwd=build(remote.folder / "app.git", SOME))
    garage = new_garage(**OVER_HTTP)
    storage = garage.folder / "agent-1"
    full: Disk | None = small_disk(mounts, storage, ROOM) if kind == "mounted" else None
    desk, agent = started(garage, disk_floor_bytes=0)
    full = full or NoMoreWrites(storage, lambda: agent.pid)
    leave(full, 10 * MB)
    project, task = desk.refused(remote.url("app.git"))
    attempt = task["attempts"][-1]
    assert kind == "limit" or attempt["failure_class"] == "disk_low", attempt
    assert "disk" in words_of(task), words_of(task)
    assert garage.ended(garage.submit("echo other work goes on"))["status"] == "completed"
    full.free()
    task = project.again()
    assert task["status"] == "completed", words_of(task)
    assert is_whole(project, head)
    assert agent.process.poll() is None


def small_disk(mounts: ExitStack, path: Path, size: int) -> SmallDisk:
    mounts.enter_context(disk.mounted(path, size))
    return SmallDisk(path)


def leave(full: Disk, size: int) -> None:
    """So many bytes, and not one more."""
    if isinstance(full, NoMoreWrites):
        full.allow(size)
        return
    full.fill()
    with (full.path / "filler").open("r+b") as file:
        file.truncate(file.seek(0, 2) - size)


@pytest.mark.skipif("mounted" not in KINDS, reason="root alone may mount a small disk")
def test_a_clone_stops_at_the_disk_floor_and_leaves_the_rest_to_others(
    mounts: ExitStack, new_garage: NewGarage, remote: HttpRemote
) -> None:
    head = git("rev-parse", "main", cwd=build(remote.folder / "app.git", SOME))
    garage = new_garage(**OVER_HTTP)
    full = small_disk(mounts, garage.folder / "agent-1", ROOM)
    desk, _agent = started(garage, disk_floor_bytes=32 * MB)
    leave(full, 60 * MB)
    project, task = desk.refused(remote.url("app.git"))
    assert task["attempts"][-1]["failure_class"] == "disk_low", task["attempts"]
    assert words_of(task) == project.checkout["error"]
    full.free()
    for _ in range(TRIES):  # the agent looks at its disk now and then: it may not know yet that there is room
        task = project.again()
        if task["status"] == "completed":
            break
        assert words_of(task).startswith("not started: disk low"), words_of(task)
    assert task["status"] == "completed", words_of(task)
    assert is_whole(project, head)
