"""Tasks that work in a project: where they run, what they see, and what happens where there is none."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import process, project
from agent.account import Account
from agent.errors import NoCheckout
from agent.journal import Place
from agent.offer import BadOffer
from tests.agent.conftest import OpenSession, StartAgent, directory, finished, wait_for
from tests.agent.fake_server import FakeServer
from tests.agent.projects_world import PROJECT, checkout

USER = "nobody"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")


def test_a_task_runs_in_the_checkout_and_knows_where_it_is(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    place = checkout(storage)
    (place / "build.sh").write_text(
        "#!/bin/sh\npwd; echo $PWD; env | grep ^GARAGESWARM_ | sort; touch made\n"
    )
    (place / "build.sh").chmod(0o755)
    open_session()
    attempt = finished(server.submit("shell", {"argv": ["./build.sh"]}, project=PROJECT))
    lines = attempt.log.decode().splitlines()
    assert attempt.report["status"] == "completed", lines
    assert lines[:2] == [str(place)] * 2
    assert {
        "GARAGESWARM_PROJECT=ada_garden",
        f"GARAGESWARM_PROJECT_PATH={place}",
        f"GARAGESWARM_DATASETS={storage / 'datasets'}",
        f"GARAGESWARM_OUTPUTS={storage / 'outputs'}",
    } < set(lines)
    assert (place / "made").exists(), "what it leaves there stays"
    wait_for(lambda: not directory(storage, attempt).path.exists())
    assert (place / "build.sh").exists()


def test_a_script_runs_there_too_and_its_own_variables_do_not_hide_the_project(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    place = checkout(storage)
    open_session()
    script = {"script": 'pwd; echo "$GARAGESWARM_PROJECT_PATH $X"', "env": {"X": "y", "CDPATH": "/"}}
    attempt = finished(server.submit("shell", script, project=PROJECT, fetch=True))
    assert attempt.log.decode().splitlines() == [str(place), f"{place} y"]


def test_a_task_without_a_project_sees_none(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    checkout(storage)
    open_session()
    attempt = finished(server.submit("shell", {"script": "pwd; env"}))
    assert attempt.log.decode().splitlines()[0].endswith("/work")
    assert b"GARAGESWARM_PROJECT" not in attempt.log


def nothing(place: Path) -> None:
    pass


def a_file(place: Path) -> None:
    place.write_text("x")


def a_link(place: Path) -> None:
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)


@pytest.mark.parametrize("there", [nothing, a_file, a_link])
def test_where_there_is_no_checkout_the_task_fails_with_what_to_do_and_the_machine_is_not_to_blame(
    server: FakeServer, storage: Path, open_session: OpenSession, there: Callable[[Path], None]
) -> None:
    place = checkout(storage)
    place.rmdir()
    there(place)
    open_session()
    attempt = finished(server.submit("shell", {"script": "touch ran"}, project=PROJECT))
    assert (
        attempt.report["error"]
        == f"project garden isn’t on this machine ({place}): refresh the project, then clone it here again"
    )
    # The class of what would fail everywhere: three of these don't set a worker aside.
    assert (attempt.report["status"], attempt.report["failure_class"]) == ("failed", "exit_code")
    assert not list(place.parent.rglob("ran"))


def test_a_link_that_is_laid_after_the_look_leads_nowhere(tmp_path: Path) -> None:
    place, target, link = Place(tmp_path / "a-1"), tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    place.create()
    child = process.start(["/bin/sh", "-c", "touch ran"], {"PATH": "/bin"}, place, link)
    wait_for(lambda: place.exit_code() is not None)
    child.collect()
    assert place.exit_code() == 126
    assert place.output.read_text() == f"{link} is not there any more\n"
    assert not (target / "ran").exists()


def hostile(**changed: Any) -> dict[str, Any]:
    return {"project": {**PROJECT, **changed}}


@pytest.mark.parametrize(
    "data",
    [
        *(
            hostile(path=path)
            for path in ("", "garden", "..", "a_../x", "ada_x/y", "/etc", "a_.x", ".a_x", "a_x\n", "A_x")
        ),
        *(
            hostile(path=path)
            for path in (f"a_{'x' * 101}", "a_x\0", 7, ["a_x"], "a_ü", "a__", "../a_x", "a_-x")
        ),
        hostile(id="../p"),
        hostile(name="a\nb"),
        hostile(branch="x" * 300),
        {"project": "ada_garden"},
        {"project": {}},
        {"project": []},
    ],
)
def test_a_project_that_makes_no_sense_is_none(data: dict[str, Any]) -> None:
    with pytest.raises(BadOffer):
        project.of(data)


def test_what_its_journal_holds_is_the_same_project(tmp_path: Path) -> None:
    found = project.of({"project": PROJECT})
    assert found is not None
    assert project.of({"project": found.to_dict()}) == found
    assert project.of({}) is None
    with pytest.raises(NoCheckout):
        found.checkout(tmp_path / "nowhere")


# ---- as another user


def test_a_folder_is_given_away_after_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new owner could put a link to something of root’s there, which would be given away with the rest."""
    place = Place(tmp_path / "a-1")
    place.create()
    place.notes.mkdir()
    (place.notes / "git.json").touch()
    place.script.touch()
    given: list[str] = []
    monkeypatch.setattr("agent.journal.os.chown", lambda path, *_, **__: given.append(path.name))
    place.hand_over(Account(USER, 65534, 65534, (), "/"))
    assert sorted(given) == ["git.json", "notes", "script"]
    assert given.index("git.json") < given.index("notes")


@pytest.fixture
def open_storage() -> Iterator[Path]:
    """Where another user can get to: pytest's own folders are closed to all but this one."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "storage"
    shutil.rmtree(folder)


@as_root
class TestAsAnotherUser:
    @pytest.fixture
    def storage(self, open_storage: Path) -> Path:
        return open_storage

    def test_projects_are_that_users_and_its_tasks_work_in_them(
        self, server: FakeServer, storage: Path, start_agent: StartAgent
    ) -> None:
        uid = pwd.getpwnam(USER).pw_uid
        start_agent(AGENT_RUN_AS=USER)
        wait_for(lambda: server.syncs)
        for name in ("projects", "datasets", "outputs", "mirrors"):
            found = (storage / name).stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (uid, 0o700), name
        place = checkout(storage)
        shutil.chown(place, USER)
        script = {"script": "pwd; id -un; touch made; ls ../../spool", "env": {"X": "y"}}
        attempt = finished(server.submit("shell", script, project=PROJECT))
        assert attempt.log.decode().splitlines()[:2] == [str(place), USER]
        assert b"Permission denied" in attempt.log
        assert (place / "made").stat().st_uid == uid

    def test_a_link_in_its_place_does_not_lead_out(
        self, server: FakeServer, storage: Path, start_agent: StartAgent
    ) -> None:
        start_agent(AGENT_RUN_AS=USER)
        wait_for(lambda: server.syncs)
        (storage / "projects" / PROJECT["path"]).symlink_to(storage.parent)
        attempt = finished(server.submit("shell", {"script": "pwd"}, project=PROJECT))
        assert "clone it here again" in attempt.report["error"]

    def test_places_that_it_can_not_have_cost_projects_and_nothing_else(
        self, server: FakeServer, storage: Path, start_agent: StartAgent
    ) -> None:
        """As with a storage in /root, and the jobs elsewhere."""
        closed = storage.parent / "closed"
        closed.mkdir(mode=0o700)
        start_agent(AGENT_RUN_AS=USER, AGENT_PROJECTS_PATH=str(closed / "projects"))
        assert finished(server.submit("shell", {"script": "id -un"})).log == f"{USER}\n".encode()
        found = {tool["name"]: tool["found"] for tool in server.syncs[0]["tools"]}
        assert found["shell"]["works"]
        assert not found["git"]["works"]
        assert f"can't get through {closed}" in found["git"]["problem"]
        assert "AGENT_PROJECTS_PATH" in found["git"]["problem"]

    def test_a_folder_full_of_somebody_elses_is_not_given_away(
        self, server: FakeServer, storage: Path, start_agent: StartAgent
    ) -> None:
        place = checkout(storage)
        start_agent(AGENT_RUN_AS=USER)
        wait_for(lambda: server.syncs)
        found = {tool["name"]: tool["found"] for tool in server.syncs[0]["tools"]}
        assert f"chown -R {USER} {storage / 'projects'}" in found["git"]["problem"]
        assert place.stat().st_uid == 0
