"""DELETE /projects/{id}: off its workers, or forgotten where these are gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.projects import (
    FACTS,
    IS_BLOCKED,
    begin,
    checkout,
    clone,
    cloned,
    delete,
    finish,
    git_worker,
    is_gone,
    shown,
    tell,
)
from tests.webapp.hooks import made
from tests.world import WorkerOf, World, at_once, later, problem, until
from webapp.database import new_id, release, transaction
from webapp.projects import access, removal

LOST = {"dirty": ["notes.txt"], "dirty_count": 1, "unpushed": ["abc123 try"], "unpushed_count": 1}


def deleted(world: World, worker: WorkerOf, project_id: str) -> None:
    """The worker does what it was told."""
    offer = begin(worker)
    assert offer["data"]["task"]["input"]["operation"] == "delete"
    for _ in range(2):  # an answer that got lost is asked for again
        answer = tell(worker, project_id, offer, usable=False)
        assert (answer.status_code, answer.json) == (200, {"status": "deleting"})
    worker.report(offer)


def test_a_project_goes_with_its_checkout_its_credentials_and_its_webhooks(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker, credential={"kind": "token", "token": "glpat-0123456789"})
    answer = delete(world, project_id)
    assert answer.status_code == 202, answer.json
    assert checkout(world, project_id)["status"] == "deleting"
    assert shown(world, project_id)["delete_requested_at"]
    deleted(world, worker, project_id)
    assert is_gone(world, project_id)
    for table in ("projects", "checkouts", "credentials", "webhooks"):
        assert world.rows(table) == [], table
    assert world.task(answer.json["task_ids"][0])["status"] == "completed"
    assert [len(world.audited(action)) for action in ("project.delete", "project.remove")] == [1, 1]


def test_everybody_is_answered_as_their_role_says(world: World) -> None:
    project_id = cloned(world, git_worker(world))
    world.api_token("viewer")
    with world.unchanged():
        problem(delete(world, project_id, "viewer"), 403, "forbidden")
    others = world.other_organisation()
    problem(world.api("admin", "DELETE", f"/projects/{project_id}", others), 404, "not-found")
    problem(delete(world, "00000000-0000-7000-8000-000000000000"), 404, "not-found")
    assert world.app.test_client().delete(f"/api/v1/projects/{project_id}").status_code == 401
    first, second = delete(world, project_id), delete(world, project_id)
    assert problem(second, 409, "checkout-busy")["task_id"] == first.json["task_ids"][0]


def test_what_would_be_lost_is_named_and_the_project_stays(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    delete(world, project_id)
    offer = begin(worker)
    words = "1 file isn’t committed and 1 commit isn’t pushed"
    said = {**FACTS, **LOST, "success": False, "message": words, "refused": "dirty", "usable": True}
    for _ in range(2):
        assert tell(worker, project_id, offer, **said).json == {"status": "active"}
    worker.report(offer, "failed", failure_class="exit_code", error=words)
    now = checkout(world, project_id)
    assert (now["status"], now["error"], now["dirty"], now["unpushed"]) == (
        "active",
        words,
        LOST["dirty"],
        LOST["unpushed"],
    )
    assert shown(world, project_id)["delete_requested_at"] is None
    delete(world, project_id, force=True)
    assert begin(worker)["data"]["task"]["input"]["force"] is True


def test_one_checkout_goes_and_the_project_stays(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    project_id = cloned(world, first)
    clone(world, second)
    finish(world, second, project_id)
    assert len(delete(world, project_id, worker_id=first.id).json["task_ids"]) == 1
    deleted(world, first, project_id)
    assert checkout(world, project_id)["worker"] == "lab-02"
    delete(world, project_id, worker_id=second.id)
    deleted(world, second, project_id)
    project = shown(world, project_id)
    assert (project["status"], project["checkouts"]) == (None, [])
    assert delete(world, project_id).json["task_ids"] == []
    assert is_gone(world, project_id)


def test_the_last_checkout_takes_the_project_along_whichever_it_is(world: World) -> None:
    workers = [git_worker(world), git_worker(world, "lab-02")]
    project_id = cloned(world, workers[0])
    clone(world, workers[1])
    finish(world, workers[1], project_id)
    assert len(delete(world, project_id).json["task_ids"]) == 2
    third = git_worker(world, "lab-03")
    assert "being deleted" in problem(clone(world, third), 409, "conflict")["detail"]
    deleted(world, workers[1], project_id)
    assert checkout(world, project_id)["worker"] == "lab-01"
    deleted(world, workers[0], project_id)
    assert is_gone(world, project_id)


def test_a_worker_that_is_offline_keeps_it_and_nothing_is_stored(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    project_id = cloned(world, first)
    clone(world, second)
    finish(world, second, project_id)
    later(60)
    second.sync(accepting=False)
    with world.unchanged():
        problem(delete(world, project_id), 503, "worker-offline")
        problem(delete(world, project_id, worker_id=first.id), 503, "worker-offline")


def test_a_checkout_on_a_worker_that_is_gone_is_forgotten(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    project_id = cloned(world, first)
    clone(world, second)
    finish(world, second, project_id)
    with world.unchanged():
        body = problem(delete(world, project_id, worker_id=first.id, forget=True), 409, "conflict")
    assert "online" in body["detail"]
    later(60)
    second.sync(accepting=False)
    answer = delete(world, project_id, worker_id=first.id, forget=True)
    assert (answer.status_code, answer.json["task_ids"]) == (202, [])
    assert checkout(world, project_id)["worker"] == "lab-02"
    [entry] = world.audited("checkout.forget")
    assert entry["target"] == "operator_app"


def test_a_whole_project_is_forgotten_where_workers_are_gone_and_deleted_where_not(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    project_id = cloned(world, first)
    clone(world, second)
    finish(world, second, project_id)
    later(60)
    second.sync(accepting=False)
    assert len(delete(world, project_id, forget=True).json["task_ids"]) == 1
    deleted(world, second, project_id)
    assert is_gone(world, project_id)


def test_what_waits_for_a_worker_that_is_gone_ends_when_it_is_forgotten(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker).json
    later(60)
    assert delete(world, placed["project_id"], forget=True).status_code == 202
    assert is_gone(world, placed["project_id"])
    assert world.task(placed["task_id"])["status"] == "cancelled"


def test_what_runs_on_a_worker_that_is_gone_says_nothing_of_what_was_forgotten(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker).json
    offer = begin(worker)
    later(60)
    assert delete(world, placed["project_id"], forget=True).status_code == 202
    assert is_gone(world, placed["project_id"])
    problem(tell(worker, placed["project_id"], offer, **FACTS), 409, "lease-lost")
    assert worker.report(offer, "cancelled").status_code == 200
    assert world.rows("projects") == []


def test_what_a_push_began_at_that_moment_isnt_left_without_its_checkout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    hook, cancel = made(world, project_id), removal._cancel
    later(60)

    def cancel_then_push(*args: Any) -> set[str]:
        done = cancel(*args)
        assert hook.call(delivery=new_id()).status_code == 200
        return done

    with monkeypatch.context() as patched:
        patched.setattr(removal, "_cancel", cancel_then_push)
        problem(delete(world, project_id, forget=True), 409, "checkout-busy")
        problem(delete(world, project_id, worker_id=worker.id, forget=True), 409, "checkout-busy")
    assert delete(world, project_id, forget=True).status_code == 202
    assert is_gone(world, project_id)
    assert {row["status"] for row in world.rows("tasks")} == {"completed", "cancelled"}


def test_what_it_waits_for_is_cancelled_with_a_project(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    delete(world, project_id)
    task_id = world.queued_task(project_id=project_id)
    deleted(world, worker, project_id)
    task = world.task(task_id)
    assert (task["status"], "was deleted" in task["summary"]) == ("cancelled", True)


def forgotten(world: World, project_id: str) -> None:
    """Its worker is gone for a while, and a person doesn't wait for it."""
    later(60)
    assert delete(world, project_id, forget=True).status_code == 202
    assert is_gone(world, project_id)


def test_a_task_that_would_be_tried_again_ends_when_its_project_is_gone(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    lost = world.running_task(worker, project_id=project_id, on_lost="requeue")
    forgotten(world, project_id)
    later(3600)
    assert world.end_lost() == 1
    task = world.task(lost["task_id"])
    assert task["status"] == "failed"
    assert "stopped answering" in task["summary"]
    assert "project was deleted" in task["summary"]
    assert task["attempts"][0]["failure_class"] == "worker_lost"


def test_one_that_its_worker_gives_back_ends_too(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    task_id = world.queued_task(project_id=project_id)
    offer = worker.take()
    forgotten(world, project_id)
    for _ in range(2):
        answer = worker.report(offer, "failed", failure_class="refused", error="no shell here")
        assert (answer.status_code, answer.json["new_status"]) == (200, "failed")
    task = world.task(task_id)
    assert (task["status"], task["summary"]) == ("failed", "its project was deleted")


def test_a_task_that_is_submitted_while_its_project_goes_is_refused(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    world.api_token("operator")
    later(60)
    with ThreadPoolExecutor(1) as pool, world.app.app_context():
        actor = world.person("operator")
        with transaction() as session:
            removal.delete(actor, access.project_for(actor, project_id), forget={worker.id})
            submitted = pool.submit(world.submit, project_id=project_id)
            if session.get_bind().dialect.name == "postgresql":
                until(lambda: submitted.done() or session.scalar(IS_BLOCKED))
        release()
        body = problem(submitted.result(50), 422, "invalid")
    assert body["errors"][0]["field"] == "project_id"
    assert {row["status"] for row in world.rows("tasks")} == {"completed"}


def test_of_two_deletes_at_once_one_is_made(world: World) -> None:
    project_id = cloned(world, git_worker(world))
    world.api_token("operator")
    answers = at_once(*(lambda: delete(world, project_id) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409]


def test_a_worker_that_is_removed_takes_its_checkouts_along(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    stays, goes = cloned(world, first), cloned(world, second, name="other")
    clone(world, second)
    finish(world, second, stays)
    waits = delete(world, goes).json["task_ids"][0]
    assert world.api("admin", "POST", f"/workers/{second.id}/revoke").status_code == 200
    assert world.task(waits)["status"] == "failed"
    assert checkout(world, stays, second)["status"] == "active"
    assert delete(world, goes, forget=True).status_code == 202  # it is gone for good: no worker to ask
    assert is_gone(world, goes)
    assert world.api("admin", "DELETE", f"/workers/{second.id}").status_code < 300
    assert checkout(world, stays)["worker"] == "lab-01"
