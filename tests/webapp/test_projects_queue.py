"""Tasks in projects: in one checkout any that read or one that writes, and nobody is woken or writes for nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.projects import FACTS, clone, tell
from tests.webapp.project_tasks import (
    begun,
    checkout,
    git_task,
    git_worker,
    look,
    offered,
    project,
    project_task,
)
from tests.world import TOOLS, WorkerOf, World, at_once
from webapp.database import release
from webapp.live.bus import Waiter
from webapp.tasks import dispatch, exchange, placements, queue
from webapp.tasks.rules import Offered
from webapp.workers import sync as long_poll
from webapp.workers.sync import Parked, Terms


def test_two_that_write_wait_for_each_other_and_two_that_read_dont(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    first, second = project_task(world, project_id), project_task(world, project_id)
    writer = begun(worker)
    assert writer["task_id"] == first
    assert offered(worker, [writer["attempt_id"]]) == []
    worker.report(writer)
    other = begun(worker)
    assert other["task_id"] == second
    readers = {project_task(world, project_id, reads_only=True) for _ in range(3)}
    assert offered(worker, [other["attempt_id"]]) == []
    worker.report(other)
    assert set(offered(worker)) == readers


def test_a_checkout_on_another_worker_is_another_one(world: World) -> None:
    one, other = git_worker(world, "one"), git_worker(world, "other")
    project_id = project(world)
    checkout(world, project_id, one)
    checkout(world, project_id, other)
    first, second = project_task(world, project_id), project_task(world, project_id)
    assert (offered(one), offered(other)) == ([first], [second])


def test_git_waits_for_who_works_there_and_they_wait_for_git(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    reader = world.running_task(worker, project_id=project_id, project_reads_only=True)
    pull = git_task(world, project_id, worker)
    later_reader = project_task(world, project_id, reads_only=True)
    plain = world.queued_task()
    beside = begun(worker, [reader])
    assert beside["task_id"] == plain, "no later reader overtakes the pull; who needs no project does"
    assert offered(worker, [reader["attempt_id"], beside["attempt_id"]]) == []
    worker.report(reader)
    pulling = begun(worker, [beside])
    assert pulling["task_id"] == pull
    assert offered(worker, [beside["attempt_id"], pulling["attempt_id"]]) == []
    checkout(world, project_id, worker)
    worker.report(pulling)
    checkout(world, project_id, worker)
    assert offered(worker, [beside["attempt_id"]]) == [later_reader]


def test_who_stands_before_the_writer_goes_in_before_it(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    reader = world.running_task(worker, project_id=project_id, project_reads_only=True)
    project_task(world, project_id)
    urgent = project_task(world, project_id, reads_only=True, priority=5)
    assert offered(worker, [reader["attempt_id"]]) == [urgent]


def test_a_writer_whose_pause_isnt_over_keeps_no_reader_out(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    project_task(world, project_id)
    failed = begun(worker)
    worker.report(failed, "failed", failure_class="agent_error")
    assert world.task(failed["task_id"])["status"] == "queued"
    first = project_task(world, project_id, reads_only=True)
    second = project_task(world, project_id, reads_only=True)
    assert offered(worker) == [first, second]


@pytest.mark.parametrize("seconds_reader", [False, True])
def test_an_idle_sync_with_a_task_that_is_kept_out_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds_reader: bool
) -> None:
    """It doesn't even lock the worker's row, however often it looks."""
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    held = world.running_task(worker, project_id=project_id, project_reads_only=seconds_reader)
    project_task(world, project_id)
    project_task(world, project_id, reads_only=True)
    worker.sync([held["attempt_id"]])
    passes: list[str] = []
    monkeypatch.setattr(exchange, "_write", lambda *_: passes.append("wrote"))
    with world.unchanged(), world.statements() as said:
        for _ in range(3):
            assert offered(worker, [held["attempt_id"]]) == []
    assert passes == []
    assert {one.split()[0] for one in said} == {"SELECT", "WITH"}


def test_nor_does_one_where_a_plan_that_only_reads_finds_no_place_before_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = git_worker(world, tools=[*TOOLS, {**TOOLS[1], "name": "a-plan", "slot_class": "plan"}])
    project_id = project(world)
    checkout(world, project_id, worker)
    a_plan = {"tool": "a-plan", "input": {}, "project_id": project_id, "project_reads_only": True}
    held = world.running_task(worker, **a_plan)
    world.queued_task(**a_plan)
    project_task(world, project_id)
    project_task(world, project_id, reads_only=True)
    monkeypatch.setattr(exchange, "_write", lambda *_: pytest.fail("it wrote"))
    assert offered(worker, [held["attempt_id"]]) == []


def test_a_queue_without_projects_asks_nothing_about_them(world: World) -> None:
    worker = git_worker(world)
    checkout(world, project(world), worker)
    world.queued_task()
    with world.statements() as said:
        assert len(offered(worker)) == 1
    assert not any("checkouts" in one or "projects" in one for one in said)


def test_two_dispatchers_of_one_worker_let_one_writer_into_a_checkout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sync and its control socket have both looked and found a task, before either has claimed one."""
    worker = git_worker(world, slots=10)
    project_id = project(world)
    checkout(world, project_id, worker)
    for _ in range(6):
        project_task(world, project_id)
    looks, both_have_looked = queue.could_claim, threading.Barrier(2, timeout=30)

    def looks_and_waits_for_the_other(*asked: Any) -> bool:
        found = looks(*asked)
        release()
        both_have_looked.wait()
        return found

    monkeypatch.setattr(queue, "could_claim", looks_and_waits_for_the_other)
    for _ in range(3):
        given = at_once(lambda: offered(worker), lambda: pushed(world, worker))
        assert len([*given[0], *given[1]]) == 1
        [held] = [row for row in world.rows("attempts") if row["ended_at"] is None]
        worker.report({"task_id": held["task_id"], "attempt_id": held["id"]})


def pushed(world: World, worker: WorkerOf) -> list[str]:
    """What its control socket would send it now."""
    with world.app.app_context():
        answer = look(worker, Terms(renews=False))
        release()
    return [offer["task_id"] for offer in answer.body["offers"]]


def test_a_checkout_that_goes_between_the_look_and_the_claim_takes_no_task(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    task_id = project_task(world, project_id)
    looks = placements.matching

    def looks_and_then_it_goes(offer: Offered) -> list[str]:
        found = looks(offer)
        release()
        checkout(world, project_id, worker, "deleting")
        return found

    monkeypatch.setattr(placements, "matching", looks_and_then_it_goes)
    assert offered(worker) == []
    assert world.task(task_id)["status"] == "queued"


# ---- woken for it


def parked(world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch) -> Parked:
    """What its last look has left, as a call that waits keeps it: nothing to take, and every slot free."""
    with world.app.app_context():
        answer = look(worker)
        release()
    assert not answer.body["offers"]
    waits = Parked(worker.id, world.organisation_id, Waiter(), answer.free_slots, answer.offered)
    monkeypatch.setattr(dispatch, "parked_workers", lambda: [waits])
    return waits


def is_woken_for_the_queue(world: World, waits: Parked) -> bool:
    waits.waiter.wait(0)
    with world.app.app_context():
        dispatch.wake_for_queue()
        release()
    return waits.waiter.wait(0)


def test_who_waits_is_woken_when_its_clone_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it offered when it began to wait doesn't know of the new checkout."""
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker, "syncing")
    waits = parked(world, worker, monkeypatch)
    project_task(world, project_id)
    assert not is_woken_for_the_queue(world, waits)
    checkout(world, project_id, worker)
    assert is_woken_for_the_queue(world, waits)


def test_what_waits_for_a_clone_begins_the_moment_that_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the worker's next look: its call is answered at once."""
    monkeypatch.setattr(long_poll, "FLOOR_S", 60.0)
    worker = git_worker(world)
    worker.sync()
    project_id = clone(world, worker).json["project_id"]
    cloning = begun(worker)
    task_id = project_task(world, project_id)
    waits = worker.wait([cloning["attempt_id"]])
    assert tell(worker, project_id, cloning, **FACTS).status_code == 200
    assert not waits.done()
    worker.report(cloning)
    assert [offer["task_id"] for offer in waits.result(10).json["offers"]] == [task_id]


def test_a_new_task_wakes_who_has_its_project_and_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    having, without = git_worker(world, "having"), git_worker(world, "without", slots=9)
    project_id = project(world)
    checkout(world, project_id, having)
    both = [parked(world, worker, monkeypatch) for worker in (having, without)]
    monkeypatch.setattr(dispatch, "parked_workers", lambda: both)
    project_task(world, project_id)
    assert [each.waiter.wait(0) for each in both] == [True, False]


def test_who_would_be_kept_out_isnt_woken_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    world.running_task(worker, project_id=project_id, project_reads_only=True)
    project_task(world, project_id)
    project_task(world, project_id, reads_only=True)
    waits = parked(world, worker, monkeypatch)
    assert not is_woken_for_the_queue(world, waits)
    world.queued_task()
    assert is_woken_for_the_queue(world, waits), "for what it can take it is"
