"""A credential is deleted: which projects lose it, and what becomes of tasks that would have had it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from tests.projects import IS_BLOCKED, cloned, git_worker
from tests.webapp.hooks import online
from tests.webapp.test_credentials import clone, listed, made
from tests.world import World, later, problem, until
from webapp.auth.actor import Actor
from webapp.database import release, transaction
from webapp.projects import access, credentials
from webapp.projects.models import Project


def test_a_task_that_waits_finds_a_deleted_one_gone(world: World) -> None:
    worker, credential_id = online(world), made(world)["id"]
    task_id = clone(world, worker, credential_id=credential_id).json["task_id"]
    assert world.api("admin", "DELETE", f"/credentials/{credential_id}").status_code == 200
    assert worker.sync().json["offers"] == []
    task = world.task(task_id)
    [attempt] = task["attempts"]
    assert "credential was deleted" in attempt["error"]
    assert (task["status"], attempt["failure_class"]) == ("failed", "missing"), (
        "the next try would find the same"
    )
    assert "credential was deleted" in world.rows("checkouts")[0]["error"]


@pytest.mark.parametrize("rides_along", [True, False])
def test_what_is_missing_tells_nothing_of_the_machine(
    world: World, monkeypatch: pytest.MonkeyPatch, rides_along: bool
) -> None:
    worker = online(world)
    for _ in range(2):
        world.queued_task(max_retries=0)
        worker.report(worker.take(), "failed", failure_class="agent_error")
    [before] = [row["failures_in_row"] for row in world.rows("workers")]
    credential_id = made(world)["id"]
    task_id = clone(world, worker, credential_id=credential_id).json["task_id"]
    if not rides_along:  # so it is fetched by the attempt, which finds it gone only then
        monkeypatch.setattr("webapp.tasks.data.RIDES_ALONG", 0)
        offer = worker.take()
    world.api("admin", "DELETE", f"/credentials/{credential_id}")
    if rides_along:
        assert worker.sync().json["offers"] == []
    else:
        body = problem(worker.call("GET", offer["data_url"].removeprefix("/api/v1")), 409, "conflict")
        assert "credential was deleted" in body["detail"]
    later(3600)
    assert world.end_lost() == 0
    assert (world.task(task_id)["status"], len(world.task(task_id)["attempts"])) == ("failed", 1)
    assert [row["failures_in_row"] for row in world.rows("workers")] == [before]


def test_deleting_one_says_which_projects_lose_it(world: World) -> None:
    worker, credential_id = online(world), made(world)["id"]
    for name in ("engine", "docs"):
        assert clone(world, worker, credential_id=credential_id, name=name).status_code == 202
    assert listed(world)[0]["projects"] == ["operator_docs", "operator_engine"]
    gone = world.api("admin", "DELETE", f"/credentials/{credential_id}")
    assert gone.json == {"projects": ["operator_docs", "operator_engine"]}
    assert [row["credential_id"] for row in world.rows("projects")] == [None, None]
    [entry] = world.audited("credential.delete")
    assert "operator_docs" in str(entry["before"])


def test_a_credential_of_many_projects_is_deleted_beside_who_locks_them_in_order(world: World) -> None:
    worker, admin = git_worker(world), world.person("admin")
    wish = {"name": "forge", "kind": "token", "host": "git.example", "token": "glpat-0123456789"}
    credential_id = world.api("admin", "POST", "/credentials", json=wish).json["id"]
    names = ("app", "docs")
    first, second = sorted(cloned(world, worker, name=name, credential_id=credential_id) for name in names)
    with world.app.app_context():
        with transaction() as session:  # the database finds the row that was written last behind the other
            session.execute(update(Project).where(Project.id == first).values(description="moved"))
        with ThreadPoolExecutor(1) as pool:
            with transaction() as session:
                access.locked(first)
                deleting = pool.submit(delete_credential, world, admin, credential_id)
                if session.get_bind().dialect.name == "postgresql":
                    until(lambda: session.scalar(IS_BLOCKED))
                access.locked(second)
            assert deleting.result(50) == ["operator_app", "operator_docs"]
        release()
    assert {row["credential_id"] for row in world.rows("projects")} == {None}


def delete_credential(world: World, actor: Actor, credential_id: str) -> list[str]:
    with world.app.app_context():
        gone = credentials.delete(actor, credential_id)
        release()
    return gone
