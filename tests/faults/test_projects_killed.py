"""git, the agent or the whole machine dies in the middle of a clone: nothing half done stays, and it goes on or says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.git.remote import LONG_S
from tests.contract.projects import words_of
from tests.faults.conftest import NewGarage
from tests.faults.projects import (
    OVER_HTTP,
    becomes,
    gits,
    is_whole,
    kill,
    mirrored,
    power_cut,
    stalled_clone,
    started,
)
from tests.git.http_remote import HttpRemote
from tests.git.repositories import git
from tests.large_repository import MB, Shape, build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SOME = Shape(files=400, size=4 * MB, commits=4)
# Of the last commit 4 MB go over the line, of the seven before it 5, of all the others 40.
STEPS = Shape(files=60, size=4 * MB, commits=60, churn=MB)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[HttpRemote]:
    with HttpRemote(tmp_path / "forge") as served:
        yield served


def test_git_that_is_killed_fails_the_clone_and_the_next_try_is_whole(
    new_garage: NewGarage, remote: HttpRemote
) -> None:
    head = git("rev-parse", "main", cwd=build(remote.folder / "app.git", SOME))
    desk, agent = started(new_garage(**OVER_HTTP))
    project, task_id = stalled_clone(desk, remote, remote.url("app.git"))
    kill(gits(agent))
    remote.let_go()
    task = desk.stack.ended(task_id)
    assert task["status"] == "failed", desk.stack.log(task_id).decode()
    assert "git" in words_of(task)
    assert project.checkout["status"] == "error"
    assert project.checkout["error"]
    desk.leaves_nothing_half_done()
    assert project.again()["status"] == "completed"
    assert is_whole(project, head)


def test_an_agent_that_is_killed_in_the_middle_of_a_clone_takes_it_up_again(
    new_garage: NewGarage, remote: HttpRemote
) -> None:
    head = git("rev-parse", "main", cwd=build(remote.folder / "app.git", SOME))
    garage = new_garage(**OVER_HTTP)
    desk, agent = started(garage)
    project, task_id = stalled_clone(desk, remote, remote.url("app.git"))
    agent.kill_alone()
    agent = garage.start_agent(join=False)
    remote.let_go()
    task = garage.ended(task_id, 90)
    assert (task["status"], len(task["attempts"])) == ("completed", 1), garage.log(task_id).decode()
    assert project.checkout["status"] == "active"
    assert is_whole(project, head)
    assert agent.process.poll() is None


def test_a_machine_that_dies_in_the_middle_of_a_clone_does_it_again_when_it_is_back(
    new_garage: NewGarage, remote: HttpRemote
) -> None:
    head = git("rev-parse", "main", cwd=build(remote.folder / "app.git", SOME))
    garage = new_garage(**OVER_HTTP)
    desk, agent = started(garage)
    project, task_id = stalled_clone(desk, remote, remote.url("app.git"))
    power_cut(agent)
    remote.let_go()
    garage.start_agent(join=False)
    task = garage.ended(task_id, 120)
    assert [attempt["failure_class"] for attempt in task["attempts"]] == ["agent_error", None]
    assert task["status"] == "completed", garage.log(task_id).decode()
    assert becomes(project, "active")["error"] is None
    assert is_whole(project, head)
    desk.leaves_nothing_half_done()


def test_a_fetch_that_breaks_off_keeps_the_steps_that_it_has_finished(
    new_garage: NewGarage, remote: HttpRemote
) -> None:
    served = build(remote.folder / "deep.git", STEPS)
    head = git("rev-parse", "main", cwd=served)
    desk, _agent = started(new_garage(**OVER_HTTP))
    project, task_id = stalled_clone(desk, remote, remote.url("deep.git"))
    threading.Event().wait(LONG_S)  # a line so slow that history is fetched in steps
    remote.ways.cut_after = 7 * MB
    remote.let_go()
    task = desk.stack.ended(task_id)
    assert task["status"] == "failed"
    assert words_of(task) == becomes(project, "error")["error"]
    (mirror,) = mirrored(desk)
    assert git("rev-list", "--count", "--all", cwd=mirror) == "8", "two steps were kept"
    remote.ways.cut_after = None
    assert project.again()["status"] == "completed"
    assert is_whole(project, head)
    assert project.git("rev-list", "--count", "HEAD") == str(STEPS.commits)


def test_a_pull_whose_agent_is_told_to_stop_leaves_the_checkout_as_it_was(
    new_garage: NewGarage, remote: HttpRemote
) -> None:
    served = remote.filled()
    garage = new_garage(**OVER_HTTP)
    desk, agent = started(garage)
    project = desk.cloned(remote.url(served))
    before = project.git("rev-parse", "HEAD")
    after = served.commit({"large.bin": os.urandom(MB)})
    remote.stall_packs(after=20_000)
    answer = desk.asked("POST", f"{project.path}/pull")
    assert remote.stalled.wait(60)
    agent.signal(signal.SIGTERM)
    agent.process.wait(60)
    assert project.git("rev-parse", "HEAD") == before
    assert project.git("status", "--porcelain") == ""
    garage.start_agent(join=False)
    remote.let_go()
    assert project.task_of(answer)["status"] == "completed"
    assert is_whole(project, after)
