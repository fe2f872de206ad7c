"""Every checkout that waits, is synced or goes has a task that lives and ends it: walked for each operation and ending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from tests.projects import FACTS, begin, checkout, clone, cloned, delete, git_worker, is_gone, tell
from tests.world import WorkerOf, World, at_once, later
from webapp.database import release
from webapp.extensions import db
from webapp.tasks import lost

UNSETTLED = text(
    "SELECT checkouts.status FROM checkouts LEFT JOIN tasks ON tasks.id = checkouts.task_id "
    "AND tasks.status IN ('queued', 'assigned', 'running') "
    "WHERE (checkouts.status IN ('pending', 'syncing', 'deleting') OR checkouts.ends_as IS NOT NULL) "
    "AND tasks.id IS NULL"
)
ORPHANS = text(
    "SELECT id FROM projects WHERE delete_requested_at IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM checkouts WHERE checkouts.project_id = projects.id)"
)


def holds(world: World) -> None:
    """The property: nothing waits for a task that has ended."""
    with world.app.app_context(), db.engine.connect() as connection:
        assert connection.execute(UNSETTLED).all() == []
        assert connection.execute(ORPHANS).all() == []


@dataclass
class Operation:
    """One that waits for its worker. `ended` is what becomes of the checkout without a word."""

    world: World
    worker: WorkerOf
    name: str
    project_id: str
    task_id: str
    ended: str


def waiting(world: World, operation: str, name: str) -> Operation:
    """On a worker and in a project of its own."""
    worker = git_worker(world, f"lab-{name}")
    if operation == "clone":
        placed = clone(world, worker, name=name).json
        return Operation(world, worker, operation, placed["project_id"], placed["task_id"], "error")
    project_id = cloned(world, worker, name=name)
    if operation == "delete":
        [task_id] = delete(world, project_id).json["task_ids"]
    else:
        how = {"pull": "pull", "status": "refresh"}[operation]
        [task_id] = world.api("operator", "POST", f"/projects/{project_id}/{how}").json["task_ids"]
    return Operation(world, worker, operation, project_id, task_id, "active")


def cancel_waiting(it: Operation) -> None:
    assert it.world.api("operator", "POST", f"/tasks/{it.task_id}/cancel").status_code == 200


def cancel_running(it: Operation) -> None:
    offer = begin(it.worker)
    cancel_waiting(it)
    holds(it.world)
    assert it.worker.report(offer, "cancelled").status_code == 200


def cancel_before_its_offer_arrived(it: Operation) -> None:
    it.worker.take()
    cancel_waiting(it)
    later(5)
    it.worker.sync()


def fail(it: Operation) -> None:
    it.worker.report(begin(it.worker), "failed", failure_class="exit_code", exit_code=1)


def complete_without_a_word(it: Operation) -> None:
    it.worker.report(begin(it.worker), exit_code=0)


def time_out(it: Operation) -> None:
    it.worker.report(begin(it.worker), "failed", failure_class="timeout")


def be_lost(it: Operation) -> None:
    begin(it.worker)
    later(3600)
    assert it.world.end_lost() == 1


def wait_too_long(it: Operation) -> None:
    later(25 * 3600)
    with it.world.app.app_context():
        lost.end_waited_too_long()
        release()


def force_finish(it: Operation) -> None:
    begin(it.worker)
    assert it.world.api("admin", "POST", f"/tasks/{it.task_id}/force-finish").status_code == 200


def revoke_while_it_waits(it: Operation) -> None:
    assert it.world.api("admin", "POST", f"/workers/{it.worker.id}/revoke").status_code == 200


def revoke_while_it_runs(it: Operation) -> None:
    begin(it.worker)
    revoke_while_it_waits(it)


def fail_until_nobody_tries_again(it: Operation) -> None:
    for number in range(4):
        if number:
            later(20 * 60)
            it.worker.sync(accepting=False)
            holds(it.world)
        it.worker.report(begin(it.worker), "failed", failure_class="agent_error", error="the agent stopped")


ENDINGS: list[Callable[[Operation], None]] = [
    cancel_waiting,
    cancel_running,
    cancel_before_its_offer_arrived,
    fail,
    complete_without_a_word,
    time_out,
    be_lost,
    wait_too_long,
    force_finish,
    revoke_while_it_waits,
    revoke_while_it_runs,
    fail_until_nobody_tries_again,
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_an_operation_that_ends_without_a_word_leaves_a_checkout_that_says_what_it_is(
    world: World, ending: Callable[[Operation], None]
) -> None:
    made = [waiting(world, name, name) for name in ("clone", "pull", "status", "delete")]
    holds(world)
    for it in made:
        ending(it)
        holds(world)
        now = checkout(world, it.project_id)
        assert now["status"] == it.ended, it.name
        assert bool(now["error"]) == (it.name != "status"), (it.name, now["error"])
        assert world.api("viewer", "GET", f"/projects/{it.project_id}").json["delete_requested_at"] is None


@pytest.mark.parametrize("name", ["clone", "pull", "status", "delete"])
def test_what_its_worker_said_stands_however_the_task_ends_then(world: World, name: str) -> None:
    it = waiting(world, name, name)
    offer = begin(it.worker)
    assert tell(it.worker, it.project_id, offer, **FACTS).status_code == 200
    holds(world)
    later(3600)
    assert world.end_lost() == 1
    holds(world)
    if name == "delete":
        assert is_gone(world, it.project_id)
    else:
        now = checkout(world, it.project_id)
        assert (now["status"], now["error"]) == ("active", None)


@pytest.mark.parametrize("name", ["clone", "delete"])
def test_a_cancel_a_word_and_a_lease_that_ends_at_once_leave_one_truth(world: World, name: str) -> None:
    for number in range(3):
        it = waiting(world, name, f"{name}-{number}")
        offer = begin(it.worker)
        answers: list[Any] = at_once(
            lambda it=it: world.api("admin", "POST", f"/tasks/{it.task_id}/force-finish").status_code,
            lambda it=it, offer=offer: tell(it.worker, it.project_id, offer, **FACTS).status_code,
            lambda it=it, offer=offer: it.worker.report(offer, exit_code=0).status_code,
        )
        assert all(status < 500 for status in answers), answers
        holds(world)
