"""A remote that goes away, rewrites its history, renames its branch, has nothing in it, or names that nobody types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.projects import Garage as Desk
from tests.contract.projects import words_of
from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage
from tests.faults.projects import OVER_HTTP, is_whole, started
from tests.git.http_remote import HttpRemote
from tests.git.repositories import with_long_names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def garage(module_garages: NewGarage) -> Garage:
    return module_garages(**OVER_HTTP)


@pytest.fixture(scope="module")
def module_desk(garage: Garage) -> Desk:
    return started(garage)[0]


@pytest.fixture
def desk(garage: Garage, module_desk: Desk) -> Iterator[Desk]:
    yield module_desk
    module_desk.leaves_nothing_half_done()
    garage.check()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[HttpRemote]:
    with HttpRemote(tmp_path / "forge") as served:
        yield served


def test_while_the_remote_is_away_a_clone_comes_from_the_mirror_and_a_pull_harms_nothing(
    desk: Desk, remote: HttpRemote
) -> None:
    served = remote.filled()
    url = remote.url(served)
    first = desk.cloned(url)
    with remote.away():
        second = desk.cloned(url)
        task = second.pull()
        assert task["status"] == "failed"
        assert words_of(task)
        found = second.checkout
        assert (found["status"], bool(found["error"])) == ("active", True)
    assert is_whole(second, served.head())
    assert is_whole(first, served.head())
    newest = served.commit({"back": "again\n"})
    assert second.pull()["status"] == "completed"
    assert (second.git("rev-parse", "HEAD"), second.checkout["error"]) == (newest, None)


def test_the_clone_of_a_remote_that_nobody_reaches_fails_in_words(desk: Desk, remote: HttpRemote) -> None:
    url = remote.url(remote.filled())
    with remote.away():
        project, task = desk.refused(url)
    assert remote.host.partition(":")[0] in words_of(task)
    assert words_of(task) == project.checkout["error"]
    assert project.again()["status"] == "completed"


def test_a_branch_that_was_force_pushed_is_taken_where_nothing_is_lost_by_it(
    desk: Desk, remote: HttpRemote
) -> None:
    served = remote.filled()
    clean, changed, ahead = (desk.cloned(remote.url(served)) for _ in range(3))
    (changed.folder / "README").write_text("mine\n")
    ahead.git(
        "-c", "user.name=A", "-c", "user.email=a@garage.example", "commit", "--allow-empty", "-m", "mine"
    )
    own, before = ahead.git("rev-parse", "HEAD"), changed.git("rev-parse", "HEAD")
    newest = served.force_push({"README": "rewritten\n"})

    task = clean.pull()
    assert task["status"] == "completed", words_of(task)
    assert is_whole(clean, newest)
    assert "force" in desk.stack.log(task["id"]).decode().lower(), "it says that history was rewritten"
    for project, commit in ((changed, before), (ahead, own)):
        task = project.pull()
        assert task["status"] == "failed"
        assert words_of(task) == project.checkout["error"]
        assert project.checkout["status"] == "active"
        assert project.git("rev-parse", "HEAD") == commit
    assert (changed.folder / "README").read_text() == "mine\n"


def test_a_default_branch_that_gets_another_name_is_followed(desk: Desk, remote: HttpRemote) -> None:
    served = remote.filled()
    project = desk.cloned(remote.url(served))
    assert project.checkout["branch"] == "main"
    served.rename_default("trunk")
    newest = served.commit({"new": "name\n"}, branch="trunk")
    task = project.pull()
    assert task["status"] == "completed", words_of(task)
    assert (project.checkout["branch"], project.checkout["commit"]) == ("trunk", newest)
    assert is_whole(project, newest)


def test_a_branch_that_was_named_and_is_gone_fails_the_pull_and_nothing_else(
    desk: Desk, remote: HttpRemote
) -> None:
    served = remote.filled()
    project = desk.cloned(remote.url(served), branch="topic/two")
    before = project.git("rev-parse", "HEAD")
    served.delete_branch("topic/two")
    task = project.pull()
    assert task["status"] == "failed"
    assert "topic/two" in words_of(task)
    assert project.checkout["status"] == "active"
    assert project.git("rev-parse", "HEAD") == before


def test_an_empty_repository_is_cloned_and_pulled_when_it_has_something(
    desk: Desk, remote: HttpRemote
) -> None:
    served = remote.make("empty")
    project = desk.cloned(remote.url(served))
    found = project.refresh()
    assert (found["status"], found["commit"], found["dirty_count"]) == ("active", None, 0)
    first = served.commit({"README": "hello\n"})
    task = project.pull()
    assert task["status"] == "completed", words_of(task)
    assert project.checkout["commit"] == first
    assert is_whole(project, first)
    assert project.delete()["status"] == "completed"


def test_names_of_255_bytes_and_of_every_script_come_as_they_are(desk: Desk, remote: HttpRemote) -> None:
    served = with_long_names(remote.folder / "names.git")
    branch = "ветка/枝-\u00e9-" + "y" * 120
    served.branch(branch)
    project = desk.cloned(remote.url(served), branch=branch)
    assert is_whole(project, served.head())
    assert project.checkout["branch"] == branch
    wanted = served.git("ls-tree", "-rz", "--name-only", "HEAD").split("\0")[:-1]
    for name in wanted:
        (project.folder / name).write_text("changed\n")
    found = project.refresh()
    assert found["dirty_count"] == len(wanted)
    assert "日本語/ファイル.txt" in found["dirty"]
    assert not any("\n" in name or "\u202e" in name for name in found["dirty"])
    asked = project.delete()
    assert asked["status"] == "failed"
    assert project.delete(force=True)["status"] == "completed"
