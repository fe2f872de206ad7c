"""Why a task of a project waits, and what the dashboard counts."""

from __future__ import annotations

import html

import pytest

from tests.webapp.project_tasks import checkout, git_worker, project, project_task
from tests.world import World
from webapp.database import release
from webapp.tasks import unplaced
from webapp.workers import listing


def reasons(world: World, task_id: str) -> dict[str, str]:
    return {row["worker"]: row["reason"] for row in world.task(task_id)["waiting"]}


def page(world: World, path: str) -> str:
    answer = world.browser("operator").get(path)
    assert answer.status_code == 200
    return html.unescape(answer.text)


def test_each_worker_says_what_its_checkout_keeps_it_from(world: World) -> None:
    project_id = project(world)
    workers = {name: git_worker(world, name) for name in ("active", "syncing", "error", "deleting", "none")}
    for name in ("active", "syncing", "error", "deleting"):
        checkout(world, project_id, workers[name], name)
    for worker in workers.values():
        worker.sync()
    assert reasons(world, project_task(world, project_id)) == {
        "active": "Matches, and takes it in a moment",
        "syncing": "Matches, but its checkout of alice_app isn’t ready yet",
        "error": "Matches, but its checkout of alice_app failed",
        "deleting": "Has no checkout of alice_app",
        "none": "Has no checkout of alice_app",
    }


def test_it_says_who_is_in_the_checkout_or_comes_first(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    world.running_task(worker, project_id=project_id, project_reads_only=True)
    writer = project_task(world, project_id)
    reader = project_task(world, project_id, reads_only=True)
    urgent = project_task(world, project_id, reads_only=True, priority=5)
    assert reasons(world, writer) == {"lab-01": "Matches. Another task works in that checkout"}
    assert reasons(world, reader) == {"lab-01": "Matches. A task that changes that checkout comes first"}
    assert reasons(world, urgent) == {"lab-01": "Matches, and takes it in a moment"}
    assert (
        "Only lab-01 could take it, and it has another task in that checkout. It starts by itself when its turn comes."
        in page(world, f"/tasks/{writer}")
    )


SUMMARIES = [
    ("", "No worker that fits has a checkout of alice_app. Clone it onto one, and this starts by itself."),
    (
        "pending",
        "Only lab-01 could take it, and it is getting the project ready. "
        "It starts by itself as soon as that worker has it ready.",
    ),
    (
        "error",
        "Only lab-01 could take it, and it has a checkout that failed. "
        "It starts by itself when that worker has cloned or pulled it again.",
    ),
]


@pytest.mark.parametrize(("status", "words"), SUMMARIES, ids=["none", "pending", "error"])
def test_the_page_says_in_a_sentence_what_is_missing(world: World, status: str, words: str) -> None:
    worker = git_worker(world)
    project_id = project(world)
    if status:
        checkout(world, project_id, worker, status)
    worker.sync()
    assert words in page(world, f"/tasks/{project_task(world, project_id)}")


@pytest.mark.parametrize(
    ("status", "is_stuck"), [("", True), ("error", True), ("syncing", False), ("active", False)]
)
def test_the_dashboard_counts_a_task_whose_project_is_nowhere(
    world: World, status: str, is_stuck: bool
) -> None:
    worker = git_worker(world)
    project_id = project(world)
    if status:
        checkout(world, project_id, worker, status)
    worker.sync()
    project_task(world, project_id)
    with world.app.app_context():
        rows = [row.worker for row in listing.all_shown(world.organisation_id)]
        found = unplaced.unplaced(world.organisation_id, rows)
        release()
    assert bool(found.count) is is_stuck
