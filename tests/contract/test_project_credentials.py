"""Remotes that want to know who asks: passwords, ssh keys, and hosts that must be who they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.projects import Garage, words_of
from tests.git.http_remote import HttpRemote
from tests.git.ssh_remote import SshRemote, make_key

PASSWORD = "correct-horse-battery"


@pytest.fixture
def closed_remote(http_remote: HttpRemote) -> HttpRemote:
    http_remote.ways.accounts = {"mira": PASSWORD}
    return http_remote


def test_a_token_opens_a_remote_over_http(garage: Garage, closed_remote: HttpRemote) -> None:
    repository = closed_remote.filled()
    token = garage.token(closed_remote.host, PASSWORD)
    project = garage.cloned(closed_remote.url(repository), credential_id=token)
    assert closed_remote.seen[-1].credential == f"mira:{PASSWORD}"
    repository.commit({"README": "new\n"})
    assert project.pull()["status"] == "completed"
    assert project.checkout["commit"] == repository.head()


@pytest.mark.slow
def test_a_credential_that_is_typed_in_with_the_project_is_its_own(
    garage: Garage, closed_remote: HttpRemote
) -> None:
    typed = {"kind": "token", "username": "mira", "token": PASSWORD}
    project = garage.cloned(closed_remote.url(closed_remote.filled()), credential=typed)
    other = garage.ask(
        "POST",
        "/projects/clone",
        name="other",
        git_url=project.shown["git_url"],
        worker_id=garage.worker_id,
        credential_id=project.shown["credential_id"],
    )
    assert other.status_code == 422, other.text


@pytest.mark.slow
def test_without_a_credential_it_says_that_one_is_needed(garage: Garage, closed_remote: HttpRemote) -> None:
    _, task = garage.refused(closed_remote.url(closed_remote.filled()))
    assert "credential" in words_of(task)
    assert all(not one.credential for one in closed_remote.seen)


def test_a_wrong_password_says_so_and_the_right_one_goes_on(
    garage: Garage, closed_remote: HttpRemote
) -> None:
    url = closed_remote.url(closed_remote.filled())
    project, task = garage.refused(url, credential_id=garage.token(closed_remote.host, "wrong-password"))
    assert "credential" in words_of(task)
    assert "wrong-password" not in str(task) + garage.stack.log(task["id"]).decode()
    right = garage.token(closed_remote.host, PASSWORD)
    garage.asked("PATCH", project.path, credential_id=right)
    assert project.again()["status"] == "completed"


@pytest.mark.slow
def test_branches_of_a_closed_remote_are_asked_with_what_was_typed(
    garage: Garage, closed_remote: HttpRemote
) -> None:
    typed = {"kind": "token", "username": "mira", "token": PASSWORD}
    wish = {"git_url": closed_remote.url(closed_remote.filled()), "worker_id": garage.worker_id}
    begun = garage.asked("POST", "/projects/branches", credential=typed, **wish)
    task = garage.stack.ended(begun["task_id"])
    assert task["attempts"][0]["result"]["data"]["default"] == "main"
    assert PASSWORD not in str(task)


def test_a_credential_goes_to_its_own_host_alone(
    garage: Garage, closed_remote: HttpRemote, tmp_path: Path
) -> None:
    token = garage.token(closed_remote.host, PASSWORD)
    with HttpRemote(tmp_path / "evil") as evil:
        url = evil.url(evil.filled())
        wish = {"name": "evil", "git_url": url, "worker_id": garage.worker_id, "credential_id": token}
        answer = garage.ask("POST", "/projects/clone", **wish)
        assert answer.status_code == 422, answer.text
        assert evil.seen == []


# ---- ssh


def test_an_ssh_key_opens_a_remote_and_its_host_is_pinned_and_shown(
    garage: Garage, ssh_remote: SshRemote
) -> None:
    repository = ssh_remote.filled()
    key = garage.ssh_key(f"127.0.0.1:{ssh_remote.port}", ssh_remote.private_key)
    project = garage.cloned(ssh_remote.url(repository), credential_id=key)
    assert project.git("rev-parse", "HEAD") == repository.head()
    pinned = {one["host"]: one["fingerprint"] for one in garage.asked("GET", "/host-keys")["items"]}
    assert pinned[ssh_remote.host] == ssh_remote.fingerprint
    repository.commit({"README": "new\n"})
    assert project.pull()["status"] == "completed"
    assert {command.split()[0] for command in ssh_remote.commands} == {"git-upload-pack"}


@pytest.mark.slow
def test_a_key_that_was_made_here_opens_what_knows_its_public_part(
    garage: Garage, ssh_remote: SshRemote
) -> None:
    wish = {"name": "deploy key", "kind": "ssh", "host": f"127.0.0.1:{ssh_remote.port}"}
    made = garage.asked("POST", "/credentials", **wish)
    ssh_remote.let_in(made["public_key"])
    garage.cloned(ssh_remote.url(ssh_remote.filled()), credential_id=made["id"])


@pytest.mark.slow
def test_a_key_that_the_remote_does_not_know_says_so(
    garage: Garage, ssh_remote: SshRemote, tmp_path: Path
) -> None:
    make_key(tmp_path / "stranger")
    key = garage.ssh_key(f"127.0.0.1:{ssh_remote.port}", (tmp_path / "stranger").read_text())
    _, task = garage.refused(ssh_remote.url(ssh_remote.filled()), credential_id=key)
    assert "refused the login" in words_of(task)
    assert ssh_remote.commands == []


@pytest.mark.slow
def test_without_a_key_nobody_elses_is_tried(garage: Garage, ssh_remote: SshRemote) -> None:
    """What lies in the home of whom the agent runs as isn't for everybody who may submit a task."""
    _, task = garage.refused(ssh_remote.url(ssh_remote.filled()))
    assert "credential" in words_of(task)
    assert ssh_remote.commands == []


def test_a_host_with_another_key_is_refused_until_somebody_forgets_the_old_one(
    garage: Garage, ssh_remote: SshRemote
) -> None:
    repository = ssh_remote.filled()
    key = garage.ssh_key(f"127.0.0.1:{ssh_remote.port}", ssh_remote.private_key)
    project = garage.cloned(ssh_remote.url(repository), credential_id=key)
    before, asked = ssh_remote.fingerprint, len(ssh_remote.commands)
    repository.commit({"README": "new\n"})
    ssh_remote.becomes_another_machine()
    task = project.pull()
    assert task["status"] == "failed"
    assert "another host key" in words_of(task)
    assert len(ssh_remote.commands) == asked, "nothing was asked of a machine that is another one"
    assert project.checkout["status"] == "active"
    assert project.checkout["commit"] != repository.head()
    (shown,) = [one for one in garage.asked("GET", "/host-keys")["items"] if one["host"] == ssh_remote.host]
    assert shown["fingerprint"] == before != ssh_remote.fingerprint
    assert garage.ask("DELETE", "/host-keys", host=ssh_remote.host).status_code == 204
    assert project.pull()["status"] == "completed"
    assert project.checkout["commit"] == repository.head()


@pytest.mark.slow
def test_the_same_host_is_held_to_its_key_for_every_project(garage: Garage, ssh_remote: SshRemote) -> None:
    key = garage.ssh_key(f"127.0.0.1:{ssh_remote.port}", ssh_remote.private_key)
    garage.cloned(ssh_remote.url(ssh_remote.filled("one")), credential_id=key)
    ssh_remote.becomes_another_machine()
    _, task = garage.refused(ssh_remote.url(ssh_remote.filled("two")), credential_id=key)
    assert "another host key" in words_of(task)
