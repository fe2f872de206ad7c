"""Pull, look again, ask for branches, change, and run one of them again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.projects import (
    COMMIT,
    FACTS,
    GIT,
    URL,
    begin,
    checkout,
    clone,
    cloned,
    finish,
    git_worker,
    shown,
    tell,
)
from tests.world import TOOLS, World, at_once, later, problem

NEWER = "a" * 40


def pull(
    world: World, project_id: str, worker_id: str | None = None, role: Any = "operator", how: str = "pull"
) -> Any:
    body = {"worker_id": worker_id} if worker_id else {}
    return world.api(role, "POST", f"/projects/{project_id}/{how}", json=body)


def test_a_pull_brings_the_checkout_up_to_date(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    later(5)
    answer = pull(world, project_id)
    assert answer.status_code == 202, answer.json
    [task_id] = answer.json["task_ids"]
    assert checkout(world, project_id)["status"] == "pending"
    offer = begin(worker)
    assert (offer["task_id"], offer["data"]["task"]["input"]["operation"]) == (task_id, "pull")
    assert checkout(world, project_id)["status"] == "syncing"
    before = checkout(world, project_id)["synced_at"]
    assert tell(worker, project_id, offer, **{**FACTS, "commit": NEWER}).json == {"status": "active"}
    worker.report(offer)
    now = checkout(world, project_id)
    assert (now["status"], now["commit"], now["task_id"]) == ("active", NEWER, task_id)
    assert now["synced_at"] > before


def test_a_pull_that_waits_keeps_nobody_from_the_checkout_whose_turn_it_is(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    pull(world, project_id)
    task_id = world.queued_task(project_id=project_id, priority=1000)
    offer = begin(worker)
    assert offer["task_id"] == task_id
    assert worker.sync(held=[offer["attempt_id"]]).json["offers"] == []  # one at a time
    worker.report(offer)
    finish(world, worker, project_id)


@pytest.mark.parametrize("how", ["pull", "refresh"])
def test_everybody_is_answered_as_their_role_says(world: World, how: str) -> None:
    project_id = cloned(world, git_worker(world))
    problem(pull(world, project_id, role="viewer", how=how), 403, "forbidden")
    path = f"/projects/{project_id}/{how}"
    assert world.app.test_client().post(f"/api/v1{path}").status_code == 401
    problem(world.api("admin", "POST", path, world.other_organisation(), json={}), 404, "not-found")
    problem(pull(world, "00000000-0000-7000-8000-000000000000", how=how), 404, "not-found")
    first, again = pull(world, project_id, how=how), pull(world, project_id, how=how)
    assert problem(again, 409, "checkout-busy")["task_id"] == first.json["task_ids"][0]
    assert len(world.audited(f"project.{how}")) == 1


def test_all_workers_pull_but_those_that_are_offline_or_busy(world: World) -> None:
    workers = [git_worker(world, name) for name in ("one", "two", "three")]
    project_id = cloned(world, workers[0])
    for worker in workers[1:]:
        clone(world, worker)
        finish(world, worker, project_id)
    pull(world, project_id, workers[1].id)
    later(60)
    workers[0].sync(accepting=False)
    workers[1].sync(accepting=False)
    [task_id] = pull(world, project_id).json["task_ids"]
    assert checkout(world, project_id, workers[0])["task_id"] == task_id
    assert checkout(world, project_id, workers[2])["status"] == "active"


def test_where_all_are_offline_nothing_is_stored(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    later(60)
    with world.unchanged():
        for worker_id in (None, worker.id):
            problem(pull(world, project_id, worker_id), 503, "worker-offline")
            problem(pull(world, project_id, worker_id, how="refresh"), 503, "worker-offline")


def test_a_worker_that_hasnt_got_it_is_refused(world: World) -> None:
    project_id = cloned(world, git_worker(world))
    other = git_worker(world, "other")
    body = problem(pull(world, project_id, other.id), 422, "invalid")
    assert body["errors"][0]["field"] == "worker_id"


def test_a_clone_that_never_was_whole_isnt_pulled(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    world.api("operator", "POST", f"/tasks/{checkout(world, project_id)['task_id']}/cancel")
    for worker_id in (None, worker.id):
        assert "lone it" in problem(pull(world, project_id, worker_id), 409, "conflict")["detail"]


def test_a_pull_that_failed_leaves_an_active_checkout_and_its_words(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    pull(world, project_id)
    offer = begin(worker)
    words = "3 files aren’t committed: commit or drop them, then pull again"
    said = {"message": words, "dirty": ["a", "b", "c"], "dirty_count": 3, "usable": True}
    assert tell(worker, project_id, offer, success=False, **said).json == {"status": "active"}
    worker.report(offer, "failed", failure_class="exit_code", error="other words")
    now = checkout(world, project_id)
    assert (now["status"], now["error"], now["dirty_count"], now["commit"]) == ("active", words, 3, COMMIT)
    pull(world, project_id)
    assert checkout(world, project_id)["error"] is None
    finish(world, worker, project_id)


def test_a_pull_that_found_no_checkout_is_an_error(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    pull(world, project_id)
    offer = begin(worker)
    said = {"success": False, "usable": False, "message": "the folder is gone"}
    assert tell(worker, project_id, offer, **said).json == {"status": "error"}
    worker.report(offer, "failed", failure_class="exit_code")
    assert checkout(world, project_id)["error"] == "the folder is gone"
    assert clone(world, worker).status_code == 202  # and it is cloned again


def test_a_look_changes_facts_and_no_status(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    before = checkout(world, project_id)
    later(5)
    [task_id] = pull(world, project_id, how="refresh").json["task_ids"]
    assert checkout(world, project_id)["status"] == "active"
    offer = begin(worker)
    assert checkout(world, project_id)["status"] == "active"
    tell(worker, project_id, offer, **{**FACTS, "dirty": ["a"], "dirty_count": 1, "ahead": 2})
    worker.report(offer)
    now = checkout(world, project_id)
    assert (now["status"], now["dirty"], now["ahead"], now["task_id"]) == ("active", ["a"], 2, task_id)
    assert now["looked_at"] > before["looked_at"]
    assert now["synced_at"] == before["synced_at"]


def test_a_look_that_fails_leaves_it_as_it_was(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    for how in ({"success": False, "message": "too slow"}, None):
        pull(world, project_id, how="refresh")
        offer = begin(worker)
        if how:
            assert tell(worker, project_id, offer, **how).json == {"status": "active"}
        worker.report(offer, "failed", failure_class="timeout")
        now = checkout(world, project_id)
        assert (now["status"], now["error"]) == ("active", None)


def test_of_two_pulls_at_once_one_is_made(world: World) -> None:
    project_id = cloned(world, git_worker(world))
    world.api_token("operator")
    answers = at_once(*(lambda: pull(world, project_id) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409]


# ---- change


def test_a_change_counts_from_the_next_pull_on(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker, branch="main")
    path = f"/projects/{project_id}"
    changed = world.api("operator", "PATCH", path, json={"tag": "v2", "description": "The shop"}).json
    assert (changed["ref_kind"], changed["ref"], changed["description"]) == ("tag", "v2", "The shop")
    pull(world, project_id)
    asked = worker.take()["data"]["task"]["input"]
    assert (asked["ref_kind"], asked["ref"]) == ("tag", "v2")
    changed = world.api("operator", "PATCH", path, json={"branch": None}).json
    assert (changed["ref_kind"], changed["ref"], changed["description"]) == ("default", "", "The shop")
    entries = world.audited("project.change")
    assert len(entries) == 2
    with world.unchanged():  # said twice
        assert world.api("operator", "PATCH", path, json={"branch": None}).status_code == 200


@pytest.mark.parametrize(
    "wish",
    [
        {"branch": "--upload-pack=x"},
        {"branch": "main", "commit": COMMIT},
        {"commit": "HEAD"},
        {"credential_id": "00000000-0000-7000-8000-000000000000"},
        {"git_url": URL},
        {"name": "other"},
        {"description": "a\nb"},
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense_changes_nothing(world: World, wish: dict[str, Any]) -> None:
    project_id = cloned(world, git_worker(world))
    with world.unchanged():
        problem(world.api("operator", "PATCH", f"/projects/{project_id}", json=wish), 422, "invalid")


def test_who_may_change_it(world: World) -> None:
    project_id = cloned(world, git_worker(world))
    path, wish = f"/projects/{project_id}", {"description": "x"}
    world.api_token("viewer")
    with world.unchanged():
        problem(world.api("viewer", "PATCH", path, json=wish), 403, "forbidden")
    problem(world.api("admin", "PATCH", path, world.other_organisation(), json=wish), 404, "not-found")


# ---- lists


def test_projects_are_listed_in_pages_and_hidden_from_others(world: World) -> None:
    worker = git_worker(world)
    made = [cloned(world, worker, name=name) for name in ("a", "b", "c")]
    page = world.api("viewer", "GET", "/projects?limit=2").json
    rest = world.api("viewer", "GET", f"/projects?limit=2&after={page['next']}").json
    assert [row["id"] for row in [*page["items"], *rest["items"]]] == made[::-1]
    assert rest["next"] is None
    assert page["items"][0]["checkouts"][0]["worker"] == "lab-01"
    others = world.other_organisation()
    assert world.api("viewer", "GET", "/projects", others).json == {"items": [], "next": None}
    for path in (f"/projects/{made[0]}", f"/projects/{made[0]}/status"):
        problem(world.api("admin", "GET", path, others), 404, "not-found")
    status = world.api("viewer", "GET", f"/projects/{made[0]}/status").json
    assert (status["status"], len(status["checkouts"])) == ("active", 1)


# ---- branches


def ask(world: World, worker_id: str, role: Any = "operator", **wish: Any) -> Any:
    return world.api(
        role, "POST", "/projects/branches", json={"git_url": URL, "worker_id": worker_id, **wish}
    )


def test_a_worker_asks_for_branches_before_there_is_a_project(world: World) -> None:
    worker = git_worker(world)
    answer = ask(world, worker.id)
    assert answer.status_code == 202, answer.json
    offer = begin(worker)
    assert offer["task_id"] == answer.json["task_id"]
    assert "project" not in offer["data"]
    asked = {"operation": "branches", "url": URL, "schemes": ["https", "ssh"], "host_keys": []}
    assert offer["data"]["task"]["input"] == asked
    found = {"branches": [{"name": "main", "commit": COMMIT}], "tags": [], "default": "main"}
    worker.report(offer, result={"data": found})
    [attempt] = world.task(offer["task_id"])["attempts"]
    assert attempt["result"]["data"] == found
    assert world.rows("projects") == []


def test_a_credential_that_is_typed_in_for_the_question_is_kept_nowhere_in_the_open(world: World) -> None:
    worker = git_worker(world)
    canary = "glpat-canary-0123456789"
    answer = ask(world, worker.id, credential={"kind": "token", "token": canary})
    assert canary not in repr(world.stored())
    assert canary not in repr(world.task(answer.json["task_id"]))
    given = {"kind": "token", "username": "git", "secret": canary}
    assert begin(worker)["data"]["task"]["input"]["credential"] == given
    assert canary not in repr(world.events(answer.json["task_id"]))
    assert world.rows("credentials") == []


def test_where_agents_would_show_a_credential_it_isnt_sent(world: World) -> None:
    schema = {"type": "object", "additionalProperties": True}
    worker = world.worker(tools=[*TOOLS, {**GIT, "schema": schema}])
    worker.sync()
    world.api_token("operator")
    with world.unchanged():
        problem(ask(world, worker.id, credential={"kind": "token", "token": "glpat-0123"}), 409, "conflict")


def test_a_question_is_checked_like_a_clone(world: World) -> None:
    worker = git_worker(world)
    for role in ("operator", "viewer"):
        world.api_token(role)  # type: ignore[arg-type]
    with world.unchanged():
        problem(ask(world, worker.id, git_url="--upload-pack=x"), 422, "invalid")
        problem(ask(world, worker.id, git_url="ext::sh"), 422, "invalid")
        problem(ask(world, worker.id, role="viewer"), 403, "forbidden")
        problem(ask(world, "00000000-0000-7000-8000-000000000000"), 422, "invalid")
        later(60)
        problem(ask(world, worker.id), 503, "worker-offline")


# ---- again


def again(world: World, task_id: str, role: Any = "operator", **body: Any) -> Any:
    return world.api(role, "POST", f"/tasks/{task_id}/retry", json=body)


def test_a_clone_is_run_again_from_its_task(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker).json
    world.api("operator", "POST", f"/tasks/{placed['task_id']}/cancel")
    answer = again(world, placed["task_id"])
    assert answer.status_code == 201, answer.json
    assert (answer.json["retry_of"], answer.json["project_id"]) == (placed["task_id"], placed["project_id"])
    assert checkout(world, placed["project_id"])["status"] == "pending"
    finish(world, worker, placed["project_id"])
    problem(again(world, placed["task_id"]), 409, "conflict")  # it is there now


def test_pulls_looks_and_questions_are_run_again_too(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    for how in ("pull", "refresh"):
        [task_id] = pull(world, project_id, how=how).json["task_ids"]
        finish(world, worker, project_id)
        assert again(world, task_id).json["retry_of"] == task_id
        finish(world, worker, project_id)
    canary = "glpat-canary-0123456789"
    task_id = ask(world, worker.id, credential={"kind": "token", "token": canary}).json["task_id"]
    worker.report(begin(worker), "failed", failure_class="exit_code")
    assert again(world, task_id).json["retry_of"] == task_id
    assert begin(worker)["data"]["task"]["input"]["credential"]["secret"] == canary


def test_an_operation_is_not_run_again_with_other_words_or_past_its_rules(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    [task_id] = pull(world, project_id).json["task_ids"]
    finish(world, worker, project_id)
    world.api_token("operator")
    with world.unchanged():
        problem(again(world, task_id, input={"operation": "pull", "url": "ext::sh"}), 422, "invalid")
        later(60)
        problem(again(world, task_id), 503, "worker-offline")
    assert shown(world, project_id)["status"] == "active"
