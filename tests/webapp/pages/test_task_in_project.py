"""A project in the form of a task, on its page and in the list."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.webapp.project_tasks import checkout, forget, git_task, git_worker, project
from tests.world import World
from webapp.tasks import waiting


def submit(world: World, **fields: Any) -> Any:
    said = {"tool": "shell", "where": "any", "input.script": "true", **fields}
    return press(world.browser("operator"), "/tasks/new", **said)


def made(world: World, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 302, text_of(answer)
    return world.task(answer.location.removeprefix("/tasks/"))


def form(world: World, query: str = "") -> str:
    return str(world.browser("operator").get(f"/tasks/new{query}").text)


def chosen(page: str) -> str:
    """The project that is chosen there, by its id."""
    [select] = re.findall(r'<select class="select" id="project".*?</select>', page, re.DOTALL)
    found = re.search(r'value="([^"]*)" selected', select)
    return found[1] if found else ""


def test_where_there_are_no_projects_the_form_doesnt_ask_for_one(world: World) -> None:
    world.worker()
    project(world, "theirs", world.other_organisation())
    page = form(world)
    assert 'name="project"' not in page
    assert 'name="reads_only"' not in page
    assert "theirs" not in page


def test_a_project_is_chosen_and_only_read(world: World) -> None:
    git_worker(world)
    project_id = project(world)
    task = made(world, submit(world, project=project_id))
    assert (task["project_id"], task["project_reads_only"]) == (project_id, False)
    task = made(world, submit(world, project=project_id, reads_only="true"))
    assert (task["project_id"], task["project_reads_only"]) == (project_id, True)


def test_a_tick_without_a_project_says_nothing(world: World) -> None:
    git_worker(world)
    project(world)
    task = made(world, submit(world, project="", reads_only="true"))
    assert (task["project_id"], task["project_reads_only"]) == (None, False)


def test_a_link_to_the_form_may_choose_it_and_it_says_who_has_it(world: World) -> None:
    having, without, cloning = (git_worker(world, name) for name in ("having", "without", "cloning"))
    project_id = project(world)
    checkout(world, project_id, having)
    checkout(world, project_id, without, "error")
    checkout(world, project_id, cloning, "syncing")
    answer = world.browser("operator").get(f"/tasks/new?project={project_id}")
    assert chosen(answer.text) == project_id
    assert "Where it could run 2 of 3" in text_of(answer)
    assert "without has no checkout of alice_app" in text_of(answer)


@pytest.mark.parametrize("nonsense", ["theirs", "none", "../app", "<b>"])
def test_a_project_that_isnt_here_is_refused_beside_its_field(world: World, nonsense: str) -> None:
    git_worker(world)
    theirs = project(world, "theirs", world.other_organisation())
    unknown = {"theirs": theirs, "none": "01900000-0000-7000-8000-000000000002"}
    world.browser("operator")
    said = unknown.get(nonsense, nonsense)
    answer = submit(world, project=said)
    assert (answer.status_code, world.rows("tasks")) == (422, [])
    assert field_error(answer, "project")
    assert "alice_theirs" not in answer.text
    assert "<b>" not in chosen(answer.text)


def test_run_again_with_changes_it_keeps_its_project(world: World) -> None:
    git_worker(world)
    project_id = project(world)
    task_id = world.queued_task(project_id=project_id, project_reads_only=True)
    page = form(world, f"?from={task_id}")
    assert chosen(page) == project_id
    assert re.search(r'id="reads_only"[^>]* checked', page)


def test_a_project_that_was_deleted_is_named_so_and_not_forgotten_in_silence(world: World) -> None:
    git_worker(world)
    project_id = project(world)
    task_id = world.queued_task(project_id=project_id)
    forget(world, project_id)
    page = form(world, f"?from={task_id}")
    assert chosen(page) == project_id
    assert "a deleted project" in page
    answer = submit(world, project=project_id, **{"from": task_id})
    assert answer.status_code == 422
    assert field_error(answer, "project")
    shown = world.browser("operator").get(f"/tasks/{task_id}")
    assert "deleted since" in text_of(shown)
    assert f"/projects/{project_id}" not in shown.text


def test_its_page_leads_to_the_project(world: World) -> None:
    git_worker(world)
    project_id = project(world)
    answer = world.browser("viewer").get(
        f"/tasks/{world.queued_task(project_id=project_id, project_reads_only=True)}"
    )
    assert answer.text.count(f'href="/projects/{project_id}"') == 2, "at the top, and with what it asked for"
    assert "alice_app , only reads it" in text_of(answer)
    assert "any worker with the project" in text_of(answer)


def test_a_git_operation_is_changed_in_its_project_alone(world: World) -> None:
    worker = git_worker(world)
    task_id = git_task(world, project(world), worker)
    browser = world.browser("operator")
    assert "Run again with changes" not in browser.get(f"/tasks/{task_id}").text
    answer = browser.get(f"/tasks/new?from={task_id}")
    assert (answer.status_code, answer.location) == (302, f"/tasks/{task_id}")
    assert "/projects" in toast(browser, f"/tasks/{task_id}")
    made_up = submit(world, tool="git")
    assert (made_up.status_code, made_up.location) == (302, "/tasks/new")
    assert len(world.rows("tasks")) == 1


def test_the_list_shows_one_projects_tasks(world: World) -> None:
    git_worker(world)
    one, other = project(world, "one"), project(world, "other")
    world.queued_task(project_id=one, name="in one")
    world.queued_task(project_id=other, name="in other")
    world.queued_task(name="in none")
    words = text_of(world.browser("viewer").get(f"/tasks?project={one}"))
    assert "in one" in words
    assert "in other" not in words
    assert "in none" not in words
    gone = world.browser("viewer").get("/tasks?project=01900000-0000-7000-8000-000000000002")
    assert "No task like that" in text_of(gone)
    assert "a deleted project" in gone.text


def test_without_projects_the_list_has_no_filter_for_them(world: World) -> None:
    world.worker()
    assert "Any project" not in world.browser("viewer").get("/tasks").text


def test_the_sentence_about_who_could_take_it_is_one_for_each_kind() -> None:
    """Every kind that can keep a worker from it for now has its words."""
    kinds = set(waiting.Kind.__args__) - {"never", "own", "free"}  # type: ignore[attr-defined]
    assert kinds == set(waiting._SAID)
