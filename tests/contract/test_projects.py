"""Projects over http: a real agent, a real server and a real remote."""

from __future__ import annotations

import os

import pytest

from tests.contract.projects import Garage, Project, words_of
from tests.git.http_remote import HttpRemote
from tests.git.repositories import Program
from tests.stack import eventually

WAIT = "touch ../../../{name}-began; while [ ! -e ../../../{name}-go ]; do sleep 0.05; done; echo {name} done"


def test_a_repository_is_placed_on_a_worker(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.filled()
    repository.commit({"bin/run": Program("#!/bin/sh\necho run\n")}, "A program")
    project = garage.cloned(http_remote.url(repository), name="shop", description="The web shop")
    checkout = project.checkout
    assert (project.folder / "README").read_text() == "commit 3\n"
    assert (project.folder / "bin" / "run").stat().st_mode & 0o100
    assert project.folder.name == "admin_shop"
    found = {name: checkout[name] for name in ("branch", "commit", "subject", "author", "ahead", "behind")}
    assert found == {
        "branch": "main",
        "commit": repository.head(),
        "subject": "A program",
        "author": "Mira",
        "ahead": 0,
        "behind": 0,
    }
    assert (checkout["dirty_count"], checkout["unpushed_count"], checkout["error"]) == (0, 0, None)
    assert sorted(checkout["branches"]) == ["main", "topic/two"]
    assert [one["subject"] for one in checkout["commits"]][:2] == ["A program", "Commit 3"]
    assert checkout["size_bytes"] > 0
    assert checkout["mirror_bytes"] > 0
    assert project.git("remote", "get-url", "origin") == http_remote.url(repository)


@pytest.mark.slow
def test_its_task_says_how_far_git_is(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.make()
    repository.commit({f"{number}.bin": os.urandom(1000) for number in range(300)})
    http_remote.ways.bytes_per_second = 150_000
    begun = garage.begin(http_remote.url(repository))
    task = garage.stack.ended(begun["task_id"])
    assert (task["tool"], task["status"], task["project_id"]) == ("git", "completed", begun["project_id"])
    events = garage.asked("GET", f"/tasks/{task['id']}/events")["items"]
    steps = [event for event in events if event["type"] == "step_progress"]
    assert {"receiving", "checking_out"} <= {event["step_id"] for event in steps}, events
    assert all(event["progress"] is None or 0 <= event["progress"] <= 100 for event in steps)
    assert {event["project_id"] for event in events} == {begun["project_id"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["branch", "tag", "commit"])
def test_a_branch_a_tag_or_a_commit_is_checked_out(
    garage: Garage, http_remote: HttpRemote, kind: str
) -> None:
    repository = http_remote.filled()
    first = repository.git("rev-parse", "main~2")
    wanted = {"branch": "topic/two", "tag": "v1.0", "commit": first}
    commits = {"branch": repository.head("topic/two"), "tag": repository.head(), "commit": first}
    project = garage.cloned(http_remote.url(repository), **{kind: wanted[kind]})
    assert project.git("rev-parse", "HEAD") == commits[kind] == project.checkout["commit"]
    assert project.checkout["branch"] == ("topic/two" if kind == "branch" else None)


@pytest.mark.slow
def test_a_ref_that_the_remote_does_not_have_is_named(garage: Garage, http_remote: HttpRemote) -> None:
    url = http_remote.url(http_remote.filled())
    for wish in ({"branch": "nowhere"}, {"tag": "v9"}, {"commit": "f" * 40}):
        _, task = garage.refused(url, **wish)
        assert next(iter(wish.values()))[:7] in words_of(task)


@pytest.mark.slow
def test_only_as_much_history_as_is_wanted_is_in_the_checkout(
    garage: Garage, http_remote: HttpRemote
) -> None:
    repository = http_remote.filled(commits=5)
    project = garage.cloned(http_remote.url(repository), depth=2, single_branch=True)
    assert project.git("rev-list", "--count", "HEAD") == "2"
    assert "topic" not in project.git("branch", "--all")


def test_the_second_clone_needs_no_remote(garage: Garage, http_remote: HttpRemote) -> None:
    url = http_remote.url(http_remote.filled())
    garage.cloned(url)
    with http_remote.away():
        begun = garage.begin(url)
        task = garage.stack.ended(begun["task_id"])
        assert task["status"] == "completed", words_of(task)
    project = Project(garage, begun["project_id"])
    assert (project.folder / "README").read_text() == "commit 3\n"
    assert "can’t be reached" in garage.stack.log(task["id"]).decode()


@pytest.mark.slow
def test_a_remote_that_is_away_fails_the_first_clone_and_it_can_be_said_again(
    garage: Garage, http_remote: HttpRemote
) -> None:
    url = http_remote.url(http_remote.filled())
    with http_remote.away():
        project, task = garage.refused(url)
    assert "can’t be reached" in words_of(task)
    assert project.again()["status"] == "completed"
    assert project.checkout["status"] == "active"


@pytest.mark.slow
def test_a_transfer_that_breaks_off_leaves_nothing_half_done(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.make()
    repository.commit({f"{number}.bin": bytes([number]) * 9000 for number in range(200)})
    http_remote.ways.cut_after = 600
    project, _ = garage.refused(http_remote.url(repository))
    http_remote.ways.cut_after = None
    assert project.again()["status"] == "completed"
    assert len(list(project.folder.glob("*.bin"))) == 200


def test_a_pull_brings_what_is_new(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.filled()
    project = garage.cloned(http_remote.url(repository))
    repository.commit({"README": "new\n", "src/1.txt": None}, "News")
    task = project.pull()
    assert task["status"] == "completed"
    assert (project.folder / "README").read_text() == "new\n"
    assert not (project.folder / "src" / "1.txt").exists()
    assert (project.checkout["commit"], project.checkout["subject"]) == (repository.head(), "News")


@pytest.mark.slow
def test_a_status_says_what_differs(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.filled()
    project = garage.cloned(http_remote.url(repository))
    project.git("-c", "commit.gpgsign=false", "commit", "--quiet", "--allow-empty", "-m", "My own")
    (project.folder / "README").write_text("changed\n")
    (project.folder / "new file").write_text("new\n")
    found = project.refresh()
    assert (found["ahead"], found["behind"], found["dirty_count"]) == (1, 0, 2)
    assert sorted(found["dirty"]) == ["README", "new file"]
    assert found["unpushed_count"] == 1
    assert "My own" in found["unpushed"][0]
    assert found["status"] == "active"


@pytest.mark.slow
def test_a_pull_over_changes_says_what_to_do_and_changes_nothing(
    garage: Garage, http_remote: HttpRemote
) -> None:
    repository = http_remote.filled()
    project = garage.cloned(http_remote.url(repository))
    (project.folder / "README").write_text("mine\n")
    repository.commit({"README": "theirs\n"}, "Theirs")
    task = project.pull()
    assert task["status"] == "failed"
    assert (project.folder / "README").read_text() == "mine\n"
    assert project.checkout["status"] == "active"
    assert project.checkout["error"]


@pytest.mark.slow
def test_a_clean_checkout_follows_a_force_push(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.filled()
    project = garage.cloned(http_remote.url(repository))
    repository.force_push({"README": "rewritten\n"})
    assert project.pull()["status"] == "completed"
    assert project.git("rev-parse", "HEAD") == repository.head()


def test_a_delete_asks_first_where_something_would_be_lost(garage: Garage, http_remote: HttpRemote) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    (project.folder / "precious").write_text("mine\n")
    task = project.delete()
    assert task["status"] == "failed"
    assert (project.folder / "precious").read_text() == "mine\n"
    assert project.checkout["status"] == "active"
    assert project.checkout["dirty"] == ["precious"]
    place = project.lies_at()
    assert project.delete(force=True)["status"] == "completed"
    assert not place.exists()
    eventually(lambda: project.is_gone, what="the project to go")
    garage.leaves_nothing_half_done()


@pytest.mark.slow
def test_commits_that_nobody_else_has_stop_a_delete_too(garage: Garage, http_remote: HttpRemote) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    project.git("-c", "commit.gpgsign=false", "commit", "--quiet", "--allow-empty", "-m", "Only here")
    assert project.delete()["status"] == "failed"
    assert "Only here" in project.checkout["unpushed"][0]
    assert project.folder.exists()


@pytest.mark.slow
def test_a_clean_one_is_deleted_at_once(garage: Garage, http_remote: HttpRemote) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    place = project.lies_at()
    assert project.delete()["status"] == "completed"
    assert not place.exists()
    eventually(lambda: project.is_gone, what="the project to go")


def test_tasks_run_in_a_project(garage: Garage, http_remote: HttpRemote) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()), name="workplace")
    said = project.ran('pwd; cat README; echo "$GARAGESWARM_PROJECT"; echo "$GARAGESWARM_PROJECT_PATH"')
    place = str(project.folder)
    assert said.splitlines() == [place, "commit 3", project.shown["path"], place]


def test_two_tasks_that_write_wait_for_each_other(garage: Garage, http_remote: HttpRemote) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    storage = garage.storage
    first = project.run(WAIT.format(name="w1"))
    eventually((storage.parent / "w1-began").exists, what="the first to begin")
    second = project.run("echo second")
    reader = project.run("echo reader", project_reads_only=True)
    waits = eventually(lambda: garage.stack.task(second)["waiting"], what="a reason why it waits")
    assert "checkout" in waits[0]["reason"]
    pull = garage.asked("POST", f"{project.path}/pull")["task_ids"]
    assert garage.stack.task(second)["status"] == "queued"
    (storage.parent / "w1-go").touch()
    for task_id in (first, second, reader, *pull):
        assert garage.stack.ended(task_id)["status"] == "completed"


@pytest.mark.slow
def test_tasks_that_only_read_run_side_by_side(garage: Garage, http_remote: HttpRemote) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    place = garage.storage.parent
    names = ("r1", "r2")
    ids = [project.run(WAIT.format(name=name), project_reads_only=True) for name in names]
    for name in names:
        eventually((place / f"{name}-began").exists, what=f"{name} to begin beside the other")
    for name in names:
        (place / f"{name}-go").touch()
    assert {garage.stack.ended(task_id)["status"] for task_id in ids} == {"completed"}


def test_a_clone_is_cancelled_in_the_middle(garage: Garage, http_remote: HttpRemote) -> None:
    url = http_remote.url(http_remote.filled())
    http_remote.stall_packs()
    begun = garage.begin(url)
    assert http_remote.stalled.wait(60)
    garage.asked("POST", f"/tasks/{begun['task_id']}/cancel")
    assert garage.stack.ended(begun["task_id"])["status"] == "cancelled"
    project = Project(garage, begun["project_id"])
    assert project.checkout["status"] == "error"
    garage.leaves_nothing_half_done()
    http_remote.let_go()
    assert project.again()["status"] == "completed"


def test_the_remotes_branches_are_fetched_by_the_worker(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.filled()
    begun = garage.asked(
        "POST", "/projects/branches", git_url=http_remote.url(repository), worker_id=garage.worker_id
    )
    task = garage.stack.ended(begun["task_id"])
    data = task["attempts"][0]["result"]["data"]
    assert data["default"] == "main"
    assert {one["name"]: one["commit"] for one in data["branches"]} == {
        "main": repository.head(),
        "topic/two": repository.head("topic/two"),
    }
    assert [one["name"] for one in data["tags"]] == ["v1.0"]
