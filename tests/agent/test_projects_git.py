"""The tool git at work: what the server hears when it ended, also where the agent was killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import lock, orphans
from tests.agent.conftest import OpenSession, StartAgent, directory, finished, wait_for
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer
from tests.agent.projects_world import PROJECT, clone, git, repository
from tests.contract.machines import Machine
from webapp.workers.archive import pack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return repository(tmp_path / "remote")


def cloned(server: FakeServer, url: str, **more: Any) -> FakeAttempt:
    return finished(server.submit("git", clone(url, **more), project=PROJECT))


def test_a_clone_is_there_and_the_server_heard_so_before_the_report(
    server: FakeServer, storage: Path, url: str, open_session: OpenSession
) -> None:
    open_session()
    attempt = cloned(server, url)
    assert attempt.report["status"] == "completed", bytes(attempt.log)
    assert server.events == ["project", "report"]
    [said] = server.project_reports
    head = git("rev-parse", "HEAD", cwd=Path(url.removeprefix("file://")))
    place = storage / "projects" / PROJECT["path"]
    assert (said["project_id"], said["attempt_id"]) == ("p-1", attempt.offer["attempt_id"])
    assert (said["success"], said["operation"], said["usable"]) == (True, "clone", True)
    assert (said["local_path"], said["branch"], said["commit"]) == (str(place), "main", head)
    assert (said["subject"], said["author"], said["dirty"], said["ahead"]) == ("Begin", "Ada", [], 0)
    assert (place / "README").read_text() == "hello\n"
    assert attempt.report["result"]["data"]["commit"] == head
    assert attempt.report["result"]["output"] == said["message"] != ""
    # And a task in it finds it.
    seen = finished(server.submit("shell", {"script": "git log --format=%s"}, project=PROJECT))
    assert seen.log == b"Begin\n"


def test_a_tag_is_on_no_branch_and_that_is_said(
    server: FakeServer, url: str, open_session: OpenSession
) -> None:
    git("tag", "v1", cwd=Path(url.removeprefix("file://")))
    open_session()
    attempt = cloned(server, url, ref_kind="tag", ref="v1")
    assert attempt.report["status"] == "completed", bytes(attempt.log)
    assert server.project_reports[0]["branch"] is None


def test_a_clone_that_fails_is_told_too_with_why(
    server: FakeServer, storage: Path, tmp_path: Path, open_session: OpenSession
) -> None:
    open_session()
    attempt = cloned(server, (tmp_path / "nowhere").as_uri())
    [said] = server.project_reports
    assert (attempt.report["status"], attempt.report["failure_class"]) == ("failed", "exit_code")
    assert (said["success"], said.get("usable")) in {(False, False), (False, None)}
    assert attempt.report["error"] == said["message"] != ""
    assert "exit code" not in said["message"]
    assert not (storage / "projects" / PROJECT["path"]).exists()


def test_branches_are_a_result_and_nobodys_project(
    server: FakeServer, url: str, open_session: OpenSession
) -> None:
    open_session()
    wish = {name: value for name, value in clone(url, operation="branches").items() if name != "path"}
    attempt = finished(server.submit("git", wish))
    data = attempt.report["result"]["data"]
    assert [one["name"] for one in data["branches"]] == ["main"]
    assert data["default"] == "main"
    assert server.project_reports == []


def test_another_projects_folder_is_refused(
    server: FakeServer, storage: Path, url: str, open_session: OpenSession
) -> None:
    open_session()
    attempt = cloned(server, url, path="ada_other")
    assert attempt.report["error"] == "input: path is another project's folder"
    assert not (storage / "projects").exists()


def test_what_the_remote_echoes_is_masked_before_anybody_hears_it(
    server: FakeServer, url: str, open_session: OpenSession
) -> None:
    remote = Path(url.removeprefix("file://"))
    git("commit", "--quiet", "--allow-empty", "--message=With canary-1 in it", cwd=remote)
    open_session()
    attempt = cloned(server, url, credential={"kind": "token", "username": "octocat", "secret": "canary-1"})
    assert server.project_reports[0]["subject"] == "With *** in it"
    assert "canary-1" not in json.dumps([server.project_reports, attempt.report, attempt.told])
    assert b"canary-1" not in attempt.log


class Callbacks:
    """Answers to what is said of projects: the first ones as given, then the server's own."""

    def __init__(self, server: FakeServer, *answers: Answer) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        server.misbehave = self._misbehave

    def _misbehave(self, method: str, path: str) -> Answer | None:
        if not path.startswith("/api/v1/projects/"):
            return None
        self.asked.append(path)
        return self._answers.pop(0) if self._answers else None


def test_it_is_repeated_until_the_server_takes_it(
    server: FakeServer, url: str, open_session: OpenSession
) -> None:
    broken = [Answer(502, "<html>", "text/html"), Answer(503, {"status": 503}, "application/problem+json")]
    callbacks = Callbacks(server, *broken)
    open_session()
    cloned(server, url)
    assert len(callbacks.asked) == 3
    assert server.events == ["project", "report"]


@pytest.mark.parametrize("status", [404, 409, 413, 422])
def test_one_that_is_refused_costs_the_report_nothing(
    server: FakeServer, url: str, open_session: OpenSession, status: int
) -> None:
    callbacks = Callbacks(server, Answer(status, {"status": status}, "application/problem+json"))
    open_session()
    assert cloned(server, url).report["status"] == "completed"
    assert len(callbacks.asked) == 1
    assert server.events == ["report"]


def test_a_server_that_can_not_take_it_holds_the_report_up_only_for_so_long(
    server: FakeServer, url: str, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.callback.HELD_UP_S", 0.2)
    callbacks = Callbacks(server, *[Answer(500, {"status": 500}, "application/problem+json")] * 1000)
    open_session()
    assert cloned(server, url).report["status"] == "completed"
    assert len(callbacks.asked) > 1
    assert server.events == ["report"]


# ---- agents that are killed


def held_back(server: FakeServer) -> None:
    """Nothing said of a project gets through."""
    server.misbehave = lambda method, path: (
        Answer(502, "<html>", "text/html") if path.startswith("/api/v1/projects/") else None
    )


@pytest.mark.slow
def test_what_the_agent_could_not_say_any_more_the_next_one_says(
    server: FakeServer, storage: Path, url: str, start_agent: StartAgent
) -> None:
    held_back(server)
    first = start_agent()
    attempt = server.submit("git", clone(url), project=PROJECT)
    wait_for((storage / "spool" / f"{attempt.offer['attempt_id']}.json").exists)
    first.kill()
    server.misbehave = lambda *_: None
    start_agent()
    finished(attempt)
    assert server.events == ["project", "report"]
    assert server.project_reports[0]["commit"]


def slow_git(folder: Path) -> Path:
    """A `git` that waits for `go` before it does anything but say its version. → its folder."""
    folder.mkdir()
    real = shutil.which("git")
    script = f'#!/bin/sh\ncase "$*" in *--version*) ;; *) while [ ! -e "{folder}/go" ]; do sleep 0.02; done;; esac\n'
    (folder / "git").write_text(f'{script}exec {real} "$@"\n')
    (folder / "git").chmod(0o755)
    return folder


@pytest.mark.slow
def test_a_clone_that_goes_on_without_an_agent_is_told_by_the_next(
    server: FakeServer, storage: Path, url: str, tmp_path: Path, start_agent: StartAgent
) -> None:
    slow = slow_git(tmp_path / "slow")
    path = f"{slow}:{os.environ['PATH']}"
    first = start_agent(PATH=path)
    attempt = server.submit("git", clone(url), project=PROJECT)
    place = directory(storage, attempt)
    wait_for(place.began_pid)
    first.kill()
    (slow / "go").touch()
    wait_for(lambda: place.exit_code() is not None)
    start_agent(PATH=path)
    assert finished(attempt).report["status"] == "completed"
    assert server.events == ["project", "report"]


def test_a_cancel_ends_git_and_leaves_no_half(
    server: FakeServer, storage: Path, url: str, tmp_path: Path, start_agent: StartAgent
) -> None:
    start_agent(PATH=f"{slow_git(tmp_path / 'slow')}:{os.environ['PATH']}")
    attempt = server.submit("git", clone(url), project=PROJECT)
    place = directory(storage, attempt)
    wait_for(place.began_pid)
    server.cancel(attempt)
    assert finished(attempt).report["status"] == "cancelled"
    assert orphans.leftovers(attempt.offer["attempt_id"]) == []
    assert [path.name for path in (storage / "projects").iterdir()] == [lock.FILE]
    assert server.project_reports == [], "the server knows what a task that was cancelled left"


# ---- other ways to start it


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")
def test_as_another_user_all_of_it_is_that_users(
    server: FakeServer, open_storage: Path, start_agent: StartAgent
) -> None:
    start_agent(AGENT_RUN_AS="nobody", AGENT_STORAGE_PATH=str(open_storage))
    url = repository(open_storage.parent / "remote")
    subprocess.run(["chown", "-R", "nobody", open_storage.parent / "remote"], check=True)
    attempt = cloned(server, url, credential={"kind": "token", "username": "", "secret": "canary-1"})
    assert attempt.report["status"] == "completed", (attempt.report, bytes(attempt.log))
    place = open_storage / "projects" / PROJECT["path"]
    assert {path.owner() for path in (place, place / "README", *(open_storage / "mirrors").iterdir())} == {
        "nobody"
    }
    seen = finished(server.submit("shell", {"script": "git log --format=%s"}, project=PROJECT))
    assert seen.log == b"Begin\n"


@pytest.fixture
def open_storage() -> Iterator[Path]:
    """Where another user can get to."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "storage"
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_one_file_agent_has_all_of_it(server: FakeServer, storage: Path, url: str) -> None:
    """On a Python without packages, also after another file was put in its place."""
    with Machine() as machine:
        pyz = machine.folder / "agent.pyz"
        pyz.write_bytes(pack(ROOT))
        command = f"AGENT_DISK_FLOOR_BYTES=0 exec python3 {pyz} run --server {server.url} --storage {storage}"
        machine.paste(command)
        wait_for(lambda: server.syncs)
        beside = pyz.with_name("new")
        beside.write_bytes(b"another program")
        beside.replace(pyz)
        attempt = cloned(server, url)
        assert attempt.report["status"] == "completed", (machine.output, bytes(attempt.log))
        assert server.project_reports[0]["success"]


def test_what_is_here_may_be_deleted_whatever_the_owners_rule_has_become(
    server: FakeServer, storage: Path, url: str, open_session: OpenSession
) -> None:
    open_session()
    cloned(server, url)
    policy = storage / "policy.ini"
    policy.write_text("[policy]\nrepositories =\n    https://git.example/**\n")
    policy.chmod(0o600)
    again = server.submit("git", clone(url, operation="pull"), project=PROJECT)
    assert "isn’t allowed" in finished(again).report["error"]
    gone = finished(server.submit("git", clone(url, operation="delete"), project=PROJECT))
    assert gone.report["status"] == "completed", bytes(gone.log)
    assert not (storage / "projects" / PROJECT["path"]).exists()
    assert server.events == ["project", "report", "report", "project", "report"]
