"""Tasks of projects as they are submitted, run again and listed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webapp.project_tasks import begun, checkout, git_task, git_worker, offered, project, project_task
from tests.world import World, problem
from webapp.database import new_id
from webapp.tasks import data, queue, service


def test_a_task_goes_only_to_a_worker_that_has_its_project(world: World) -> None:
    without, having = git_worker(world, "without"), git_worker(world, "having")
    project_id = project(world)
    checkout(world, project_id, having)
    task_id = project_task(world, project_id)
    assert offered(without) == []
    [offer] = having.sync().json["offers"]
    assert offer["task_id"] == task_id
    task = world.task(task_id)
    assert (task["project_id"], task["project_reads_only"]) == (project_id, False)
    assert {event["project_id"] for event in world.events(task_id)} == {project_id}


@pytest.mark.parametrize("status", ["pending", "syncing", "error", "deleting"])
def test_a_checkout_that_isnt_ready_takes_none(world: World, status: str) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker, status)
    project_task(world, project_id)
    assert offered(worker) == []
    checkout(world, project_id, worker)
    assert len(offered(worker)) == 1


def test_a_project_that_isnt_there_or_anothers_is_refused(world: World) -> None:
    git_worker(world)
    theirs = project(world, "theirs", world.other_organisation())
    world.api_token("operator")
    for project_id in (theirs, new_id()):
        with world.unchanged():
            body = problem(world.submit(project_id=project_id), 422, "invalid")
        assert body["errors"][0]["field"] == "project_id"
    with world.unchanged():
        problem(world.submit(project_id="../app"), 422, "invalid")
        body = problem(world.submit(project_reads_only=True), 422, "invalid")
    assert "project_id" in body["detail"]


def test_a_git_task_is_made_by_projects_alone(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    world.api_token("operator")
    with world.unchanged():
        body = problem(world.submit(tool="git", input={}, project_id=project_id), 422, "invalid")
    assert "/projects/clone" in body["detail"]
    assert body["errors"][0]["field"] == "tool"
    task_id = git_task(world, project_id, worker)
    assert offered(worker) == [task_id], "the worker that is named, though it has no checkout yet"
    assert world.task(task_id)["project_id"] == project_id


def test_a_git_task_is_run_again_by_who_made_it_and_never_with_another_input(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def again(actor: Any, task: Any) -> str:
        asked.append((actor.name, task.id))
        return str(task.id)

    monkeypatch.setitem(service.makers, "git", service.Maker("Use the projects.", again))
    worker = git_worker(world)
    task_id = git_task(world, project(world), worker)
    problem(world.api("operator", "POST", f"/tasks/{task_id}/retry"), 409, "conflict")
    assert world.api("operator", "POST", f"/tasks/{task_id}/cancel").status_code == 200
    answer = world.api("operator", "POST", f"/tasks/{task_id}/retry", json={"input": {"url": "https://evil"}})
    assert problem(answer, 422, "invalid")["detail"] == "Use the projects."
    assert asked == []
    assert world.api("operator", "POST", f"/tasks/{task_id}/retry").status_code == 201
    assert asked == [("operator", task_id)]


def test_run_again_it_asks_for_the_same_project_in_the_same_way(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    task_id = project_task(world, project_id, reads_only=True)
    worker.report(worker.take())
    again = world.api("operator", "POST", f"/tasks/{task_id}/retry").json
    assert (again["project_id"], again["project_reads_only"]) == (project_id, True)


def test_the_list_is_of_one_project(world: World) -> None:
    git_worker(world)
    one, other = project(world, "one"), project(world, "other")
    here = [project_task(world, one), project_task(world, one)]
    project_task(world, other)
    world.queued_task()
    items = world.api("viewer", "GET", f"/tasks?project_id={one}").json["items"]
    assert [item["id"] for item in items] == here[::-1]
    assert world.api("viewer", "GET", f"/tasks?project_id={new_id()}").json["items"] == []


def test_its_data_says_what_higher_domains_add_and_fails_with_their_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"input": {"extra": 1}, "project": {"id": "p", "name": "app", "path": "alice_app", "branch": ""}}
    monkeypatch.setattr(data, "additions", [lambda task: said])
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    project_task(world, project_id)
    offer = worker.take()
    assert offer["data"]["task"]["input"] == {"script": "true", "extra": 1}
    assert offer["data"]["project"] == said["project"]
    assert worker.call("GET", f"/agents/tasks/{offer['task_id']}/data").json == offer["data"]
    worker.report(offer)

    def gone(task: Any) -> Any:
        raise data.CannotRun("Its credential was deleted.")

    monkeypatch.setattr(data, "additions", [gone])
    world.queued_task()
    task_id = project_task(world, project_id, max_retries=0)
    [other] = worker.sync().json["offers"]
    assert other["task_id"] != task_id, "others go on, and aren’t asked"
    task = world.task(task_id)
    assert (task["status"], task["attempts"][0]["failure_class"]) == ("failed", "missing")
    assert task["attempts"][0]["error"] == "Its credential was deleted."


def test_a_domain_hears_when_a_task_of_a_project_begins_and_of_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(queue, "after_start", [heard.append])
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    offer = world.running_task(worker, project_id=project_id)
    plain = worker.sync([offer["attempt_id"]]).json["offers"]
    assert plain == []
    world.queued_task()
    begun(worker, [offer])
    assert heard == [offer["task_id"]]
