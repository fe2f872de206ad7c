"""`doctor` on what it finds on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agent.doctor_world import Doctor, join, said
from tests.agent.fake_server import FakeServer

pytestmark = pytest.mark.usefixtures("plain_environment")


def test_a_full_disk(server: FakeServer, doctor: Doctor) -> None:
    found = doctor.look(server.url, AGENT_DISK_FLOOR_BYTES=str(2**60))
    assert doctor.code == 1
    assert said(found, "disk").startswith("problem: disk low")
    assert "AGENT_DISK_FLOOR_BYTES" in said(found, "disk")


def test_a_storage_that_others_may_read(server: FakeServer, doctor: Doctor) -> None:
    join(server, doctor.storage)
    (doctor.storage / "identity.json").chmod(0o644)
    doctor.storage.chmod(0o755)
    found = doctor.look(server.url)
    assert doctor.code == 1
    assert [one["fix"] for one in found["storage"]] == [
        f"chmod 700 {doctor.storage}",
        f"chmod 600 {doctor.storage / 'identity.json'}",
    ]


def test_a_storage_that_cannot_be_written(
    server: FakeServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(server, doctor.storage)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agent.doctor.here.os.fsync", full)
    found = doctor.look(server.url)
    assert doctor.code == 1
    assert "can't be written: No space left on device" in found["storage"][0]["text"]


def test_too_few_files_for_the_slots(
    server: FakeServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.doctor.here.resource.getrlimit", lambda _: (70, 70))
    found = doctor.look(server.url, "--slots", "8")
    assert said(found, "files").startswith("warning: 70 files may be open at once, enough for 2 tasks of 8")


def test_without_git(server: FakeServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = doctor.look(server.url)
    assert said(found, "git").startswith("warning: not there")
    assert doctor.code == 0


def test_an_owners_policy_that_cannot_be_read(server: FakeServer, doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "policy.ini").write_text("[policy]\ntuuls = shell\n")
    found = doctor.look(server.url, AGENT_POLICY=str(tmp_path / "policy.ini"))
    assert doctor.code == 1
    assert said(found, "policy").startswith("problem")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")
def test_before_joining_there_is_no_folder_of_tasks_that_another_user_could_miss(
    server: FakeServer, doctor: Doctor
) -> None:
    jobs = "/var/tmp/garageswarm-of-nobody/jobs"
    found = doctor.look(server.url, AGENT_RUN_AS="nobody", AGENT_JOBS_WORKSPACE=jobs)
    assert said(found, "policy").startswith("ok")
