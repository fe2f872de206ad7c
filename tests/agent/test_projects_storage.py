"""Where projects lie: settings, what the commands say of it, and what is cleared away at a start."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from agent import exits, identity, lock, program
from agent.commands.run import prepare
from agent.config import Config
from agent.errors import BadConfig, Stop
from agent.identity import Identity
from tests.agent.conftest import OpenSession, StartAgent, finished, loaded, wait_for
from tests.agent.doctor_world import Doctor, said
from tests.agent.fake_server import FakeServer
from tests.agent.one_command import agent
from tests.agent.projects_world import PROJECT, checkout

URL = {"AGENT_SERVER_URL": "https://garage.example"}
NAMES = ("projects", "datasets", "outputs", "mirrors")


def test_all_lie_in_the_storage_unless_others_are_said(tmp_path: Path) -> None:
    storage = {**URL, "AGENT_STORAGE_PATH": str(tmp_path)}
    assert loaded([], storage).roots.folders == tuple(tmp_path / name for name in NAMES)
    given = {**storage, "AGENT_PROJECTS_PATH": "~/code", "AGENT_DATASETS_PATH": "/srv/data"}
    roots = loaded([], {**given, "AGENT_MIRRORS_BYTES": "5"}).roots
    assert roots.folders == (
        Path.home() / "code",
        Path("/srv/data"),
        tmp_path / "outputs",
        tmp_path / "mirrors",
    )
    assert roots.mirrors_bytes == 5


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("AGENT_PROJECTS_PATH", "mirrors", "AGENT_PROJECTS_PATH .* lies in AGENT_MIRRORS_PATH"),
        ("AGENT_PROJECTS_PATH", "jobs/mine", "AGENT_PROJECTS_PATH .* lies in AGENT_JOBS_WORKSPACE"),
        ("AGENT_DATASETS_PATH", "projects/../outputs", "give each a folder of its own"),
        ("AGENT_OUTPUTS_PATH", ".", "lies in AGENT_OUTPUTS_PATH"),
        ("AGENT_PROJECTS_PATH", "link", "AGENT_PROJECTS_PATH .* lies in AGENT_MIRRORS_PATH"),
        ("AGENT_MIRRORS_BYTES", "many", "AGENT_MIRRORS_BYTES must be a whole number"),
        ("AGENT_MIRRORS_BYTES", "-1", "AGENT_MIRRORS_BYTES must be a whole number"),
    ],
)
def test_one_in_another_is_refused(tmp_path: Path, name: str, place: str, words: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "mirrors")
    value = place if name.endswith("BYTES") else str(tmp_path / place)
    with pytest.raises(BadConfig, match=words):
        loaded([], {**URL, "AGENT_STORAGE_PATH": str(tmp_path), name: value})


def test_they_are_made_for_this_account_alone_and_one_agent_at_a_time_has_them(
    config: Config, tmp_path: Path
) -> None:
    prepare(config)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in config.roots.folders} == {0o700}
    other = replace(config, storage=tmp_path / "b", jobs=tmp_path / "b" / "jobs", given_roots=config.roots)
    with pytest.raises(Stop, match=f"another agent is using {config.roots.projects}") as refused:
        prepare(other)
    assert refused.value.code == exits.IN_USE


def test_a_service_gets_them_whole(tmp_path: Path) -> None:
    """It starts in another folder than this shell."""
    said = agent(tmp_path / "s", "install", "--user", "--print", AGENT_PROJECTS_PATH="code").stdout
    assert f"Environment=AGENT_PROJECTS_PATH={program.directory() / 'code'}" in said


# ---- what an agent finds when it starts


def test_what_was_half_done_is_cleared_away_and_nothing_else(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    kept = [checkout(storage), checkout(storage, ".hidden"), checkout(storage, "a.partial")]
    for name in (".ada_garden.0190-x.partial", ".ada_garden.0190-x.gone"):
        (checkout(storage, name) / "sub").mkdir()
    (storage / "projects" / ".ada_link.0190-x.gone").symlink_to(storage / "projects" / "ada_garden")
    open_session()
    finished(server.submit("noop", {}))
    assert sorted((storage / "projects").iterdir()) == sorted(kept)


def test_what_still_runs_keeps_its_half(server: FakeServer, storage: Path, start_agent: StartAgent) -> None:
    first = start_agent()
    go = storage.parent / "go"
    attempt = server.submit("shell", {"script": f"echo up; while [ ! -e '{go}' ]; do sleep 0.02; done"})
    wait_for(lambda: b"up" in attempt.log)
    mine = checkout(storage, f".ada_garden.{attempt.offer['attempt_id']}.partial")
    foreign = checkout(storage, ".ada_garden.0190-x.partial")
    first.kill()
    start_agent()
    wait_for(lambda: not foreign.exists())
    assert mine.exists()
    go.touch()
    finished(attempt)


# ---- commands


def joined(server: FakeServer, storage: Path) -> None:
    storage.mkdir(mode=0o700, exist_ok=True)
    identity.save(storage, Identity(server.url, "nonce", "seed", "w-1", "gsw_key", "ABC-DEF", "attic"))


def mirror(storage: Path) -> Path:
    made = storage / "mirrors" / f"{'0a' * 16}.git"
    made.mkdir(parents=True)
    (made / "packed").write_bytes(b"x" * 100_000)
    return made


def test_status_counts_them(server: FakeServer, storage: Path) -> None:
    joined(server, storage)
    assert "  projects  none\n" in agent(storage, "status").stdout
    checkout(storage)
    checkout(storage, ".ada_other.0190-x.partial")
    mirror(storage)
    assert f"  projects  1 in {storage}/projects; mirrors take 0.0 GiB" in agent(storage, "status").stdout
    found = json.loads(agent(storage, "status", "--json").stdout)["projects"]
    assert (found["path"], found["checkouts"]) == (f"{storage}/projects", [PROJECT["path"]])
    assert found["mirrors_bytes"] >= 100_000


def test_status_looks_where_the_agent_has_them(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    elsewhere = storage.parent / "code"
    start_agent(AGENT_PROJECTS_PATH=str(elsewhere))
    wait_for((storage / "status.json").exists)
    (elsewhere / PROJECT["path"]).mkdir()
    assert f"  projects  1 in {elsewhere}" in agent(storage, "status").stdout


def test_a_reset_takes_the_mirrors_and_leaves_what_people_may_need(server: FakeServer, storage: Path) -> None:
    joined(server, storage)
    place, copy = checkout(storage), mirror(storage)
    beside = copy.with_name(f"{copy.name}.lock")
    beside.touch()
    foreign = storage / "mirrors" / "notes.txt"
    foreign.touch()
    said = agent(storage, "reset", "--yes").stdout
    assert f"Its projects stay in {storage}/projects: {PROJECT['path']}." in said
    assert place.exists()
    assert foreign.exists()
    assert not copy.exists()
    assert not beside.exists()


def test_a_reset_leaves_mirrors_that_another_agent_is_using(server: FakeServer, storage: Path) -> None:
    joined(server, storage)
    copy = mirror(storage)
    (storage / "projects").mkdir()
    assert lock.take_folder(storage / "projects")
    assert agent(storage, "reset", "--yes").returncode == 0
    assert copy.exists()


@pytest.mark.usefixtures("plain_environment")
class TestDoctor:
    def test_all_is_well(self, server: FakeServer, doctor: Doctor) -> None:
        checkout(doctor.storage)
        assert said(doctor.look(server.url), "projects") == f"ok: 1 at {doctor.storage}/projects → "

    def test_another_disk(self, server: FakeServer, doctor: Doctor) -> None:
        checkout(doctor.storage)
        found = doctor.look(server.url, AGENT_MIRRORS_PATH="/dev/shm")
        assert said(found, "projects").startswith("warning: ")
        assert "different disks: every clone is a whole copy" in said(found, "projects")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")
    def test_a_place_that_the_tasks_account_can_not_have(self, server: FakeServer, doctor: Doctor) -> None:
        checkout(doctor.storage)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as jobs:
            found = doctor.look(server.url, AGENT_RUN_AS="nobody", AGENT_JOBS_WORKSPACE=jobs)
        assert said(found, "projects").startswith("warning: run_as: nobody can't get through")

    def test_a_place_that_cannot_be_written(
        self, server: FakeServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkout(doctor.storage)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("agent.doctor.here.os.fsync", full)
        assert "can't be written" in said(doctor.look(server.url), "projects")
