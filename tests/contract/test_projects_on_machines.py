"""What a machine does to its projects: a checkout that is gone, and an owner who doesn't allow a repository."""

from __future__ import annotations

import shutil
import uuid

from agent import lock
from tests.contract.projects import Garage, words_of
from tests.git.http_remote import HttpRemote


def test_a_checkout_that_somebody_removed_fails_its_tasks_and_sets_nobody_aside(
    garage: Garage, http_remote: HttpRemote
) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    shutil.rmtree(project.folder)
    for _ in range(3):
        task = garage.stack.ended(project.run("true", max_retries=0))
        assert "clone it here again" in words_of(task)
        assert task["attempts"][-1]["failure_class"] == "exit_code"
    worker = garage.stack.worker(garage.worker)
    assert worker["shown_status"] in {"online", "busy"}, worker
    assert garage.stack.ended(garage.stack.submit("true"))["status"] == "completed"
    project.task_of(garage.asked("POST", f"{project.path}/refresh"))
    assert project.checkout["status"] == "error"
    assert project.again()["status"] == "completed"
    assert "README" in project.ran("ls")


def test_a_repository_that_the_owner_does_not_allow_is_not_cloned_until_it_is_allowed(
    garage: Garage, http_remote: HttpRemote
) -> None:
    stack = garage.stack
    name = f"strict-{uuid.uuid4().hex[:8]}"
    storage = stack.folder / name
    storage.mkdir(mode=0o700)
    policy = storage / "policy.ini"
    policy.write_text("[policy]\nrepositories =\n    https://git.example/**\n", encoding="utf-8")
    policy.chmod(0o600)
    stack.start_agent(name, disk_floor_bytes=0)
    worker_id = stack.worker(name)["id"]
    begun = garage.begin(http_remote.url(http_remote.filled()), worker_id=worker_id)
    task = stack.ended(begun["task_id"])
    assert task["status"] == "failed"
    assert "isn’t allowed" in str(task)
    assert [path.name for path in (storage / "projects").iterdir()] == [lock.FILE]
    policy.write_text("[policy]\n", encoding="utf-8")
    again = garage.asked("POST", f"/projects/{begun['project_id']}/clone", worker_id=worker_id)
    assert stack.ended(again["task_id"])["status"] == "completed"
