"""Live fragments: rendered for many, so nothing of one person is in them, and the same facts give the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.projects import begin, clone, cloned, finish, git_worker
from tests.world import World, later
from webapp.auth.rules import Role

TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
OF_ONE_PERSON = (
    "csrf",
    "current_user",
    "signed_in_as",
    "session",
    "get_flashed_messages",
    "request.",
    "now|",
)


def a_lively_world(world: World) -> dict[str, str]:
    """One of everything; the addresses of all live views."""
    worker = world.worker("lab-01", slots=5)
    world.registered("attic")
    worker.sync(metrics={"cpu_percent": 5.0})
    running = world.running_task(worker)
    worker.send_log(running, b"a line\nand a half")
    failed = world.running_task(worker, max_retries=0)
    worker.report(failed, "failed", failure_class="exit_code", exit_code=3)
    waiting = world.queued_task(labels={"gpu": None})
    world.running_task(worker, locks=["prod", "team/a:b"])
    queued = world.queued_task(locks=["prod"])
    project, holder = a_project_in_two_places(world)
    return {
        "dashboard": "/live?view=dashboard",
        "tasks": "/live?view=tasks&status=failed",
        "workers": "/live?view=workers&q=lab",
        "worker": f"/live?view=worker&worker={worker.id}",
        "add": "/live?view=add-worker&since=1",
        "running": f"/live?view=task&task={running['task_id']}",
        "failed": f"/live?view=task&task={failed['task_id']}&attempt=1",
        "waiting": f"/live?view=task&task={waiting}",
        "waiting for a lock": f"/live?view=task&task={queued}",
        "locks": "/live?view=locks",
        "projects": "/live?view=projects&q=app",
        "project": f"/live?view=project&project={project}",
        "worker with a project": f"/live?view=worker&worker={holder}",
    }


def a_project_in_two_places(world: World) -> tuple[str, str]:
    """In one with changes that exist nowhere else, on its way to the other. Its id, and the first worker's."""
    here, there = git_worker(world, "git"), git_worker(world, "other")
    project = cloned(world, here)
    refresh = world.api("operator", "POST", f"/projects/{project}/refresh", json={})
    assert refresh.status_code == 202, refresh.json
    finish(world, here, project, dirty=["a.txt"], dirty_count=1)
    assert clone(world, there).status_code == 202
    offer = begin(there)
    said = {"attempt_id": offer["attempt_id"], "stage": "fetching", "step": "Receiving", "progress": 38}
    assert there.call("PUT", f"/agents/tasks/{offer['task_id']}/status", json=said).status_code == 200
    return project, here.id


def test_the_same_facts_give_the_same_bytes(world: World) -> None:
    views = a_lively_world(world)
    client = world.browser("admin")
    before = {name: client.get(path).data for name, path in views.items()}
    later(2)
    after = {name: client.get(path).data for name, path in views.items()}
    assert [name for name in views if after[name] != before[name]] == []


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_every_root_says_where_it_belongs(world: World, role: Role) -> None:
    """The socket swaps each by its id; the page has an element with that id."""
    pages = {
        "dashboard": "/",
        "tasks": "/tasks?status=failed",
        "workers": "/workers?q=lab",
        "add": "/workers/add",
        "locks": "/locks",
        "projects": "/projects?q=app",
    }
    client = world.browser(role)
    for name, path in a_lively_world(world).items():
        if role == "viewer" and name == "add":
            continue  # only admins add workers
        roots = re.findall(r'^<\w+[^>]* hx-swap-oob="true"', client.get(path).text, re.MULTILINE)
        ids = [found[1] for root in roots if (found := re.search(r'id="([\w-]+)"', root))]
        assert len(ids) == len(roots) > 1, path
        found = re.search(r"(task|worker|project)=([\w-]+)", path)
        page = client.get(pages.get(name) or (f"/{found[1]}s/{found[2]}" if found else ""))
        assert page.status_code == 200
        assert [one for one in ids if f'id="{one}"' not in page.text] == [], path


def test_a_page_has_no_id_twice(world: World) -> None:
    client = world.browser("admin")
    worker = world.worker("lab-01")
    offer = world.running_task(worker)
    world.registered("attic")
    world.running_task(worker, locks=["prod", "other"])
    project, _ = a_project_in_two_places(world)
    for path in (
        "/",
        "/locks",
        "/tasks",
        f"/tasks/{offer['task_id']}",
        "/workers",
        f"/workers/{worker.id}",
        "/tasks/new",
        "/workers/add",
        "/projects",
        f"/projects/{project}",
        "/projects/new",
    ):
        ids = re.findall(r'\bid="([^"]+)"', client.get(path).text)
        assert len(ids) == len(set(ids)), (path, sorted(one for one in ids if ids.count(one) > 1))


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("_*.html")), ids=lambda path: path.stem)
def test_a_fragment_knows_no_person(path: Path) -> None:
    text = path.read_text()
    if "hx-swap-oob" in text:
        assert [word for word in OF_ONE_PERSON if word in text] == []


def test_no_template_carries_style_or_script_of_its_own() -> None:
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:|\|safe\b", text), path
        assert not re.search(r"<script(?![^>]*src=)", text), path


def test_what_only_some_may_do_isnt_in_the_others_fragments(world: World) -> None:
    views = a_lively_world(world)
    for name in ("worker", "workers", "running", "project"):
        assert "formaction" not in world.browser("viewer").get(views[name]).text
    assert "formaction" in world.browser("admin").get(views["workers"]).text


@pytest.mark.parametrize(
    "query",
    ["view=nonsense", "view=task", "view=task&task=x", "view=worker&worker=x", "view=worker", "view=project"],
)
def test_a_view_that_isnt_there_is_not_found(world: World, query: str) -> None:
    assert world.browser("viewer").get(f"/live?{query}").status_code == 404


def test_another_organisation_finds_no_view_of_ours(world: World) -> None:
    views = a_lively_world(world)
    stranger = world.browser("admin", world.other_organisation())
    for name in ("worker", "running", "failed", "project"):
        assert stranger.get(views[name]).status_code == 404
    for name in ("dashboard", "tasks", "workers", "add", "locks", "projects"):
        assert "lab-01" not in stranger.get(views[name]).text
