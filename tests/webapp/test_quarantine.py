"""Quarantine: a machine on which attempts fail for reasons of its own is set aside for a while."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.world import WorkerOf, World, later
from webapp import clock


def fail(world: World, worker: WorkerOf, task_id: str = "", failure_class: str = "agent_error") -> str:
    """An attempt fails there: of this task, which is due, or of a new one. Returns the task."""
    task_id = task_id or world.queued_task(max_retries=0)
    offer = worker.take()
    assert offer["task_id"] == task_id
    assert worker.report(offer, "failed", failure_class=failure_class).status_code == 200
    return task_id


def until(world: World, worker: WorkerOf) -> float | None:
    """In how many seconds it comes back; None where it isn't set aside."""
    at = world.api("viewer", "GET", f"/workers/{worker.id}").json["quarantined_until"]
    left = (datetime.fromisoformat(at) - clock.now()).total_seconds() if at else 0
    return left if left > 0 else None


def status(world: World, worker: WorkerOf) -> str:
    return str(world.api("viewer", "GET", f"/workers/{worker.id}").json["shown_status"])


def set_aside(world: World, worker: WorkerOf) -> None:
    for _ in range(3):
        fail(world, worker)
    assert until(world, worker) is not None


def test_three_failures_in_a_row_over_two_tasks_set_it_aside_for_a_minute(world: World) -> None:
    worker = world.worker()
    again = world.queued_task(max_retries=5, retry_delay_s=0)
    fail(world, worker, again)
    later(1)
    fail(world, worker, again)
    assert until(world, worker) is None
    world.api("operator", "POST", f"/tasks/{again}/cancel")
    other = fail(world, worker)
    left = until(world, worker)
    assert left is not None
    assert 0 < left <= 60
    assert status(world, worker) == "quarantined"
    [entry] = world.audited("worker.quarantine")
    assert entry["target_id"] == worker.id
    assert again in str(entry["after"])
    assert other in str(entry["after"])


def test_it_gets_no_work_meanwhile_and_others_do(world: World) -> None:
    worker, other = world.worker("bad"), world.worker("good")
    set_aside(world, worker)
    task_id = world.queued_task()
    assert worker.sync().json["offers"] == []
    assert other.take()["task_id"] == task_id


def test_what_it_holds_goes_on(world: World) -> None:
    worker = world.worker(slots=2)
    offer = world.running_task(worker)
    set_aside(world, worker)
    assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == []
    assert worker.report(offer).json["new_status"] == "completed"


def test_it_comes_back_by_itself(world: World) -> None:
    worker = world.worker()
    set_aside(world, worker)
    later(61)
    worker.sync(accepting=False)
    assert status(world, worker) == "online"
    world.queued_task()
    assert worker.take()


def test_one_bad_task_alone_cant_set_a_worker_aside(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task(max_retries=9, retry_delay_s=0)
    for _ in range(6):
        fail(world, worker, task_id)
        later(1)
    assert until(world, worker) is None


def test_a_bad_task_and_another_ones_failure_do(world: World) -> None:
    """The other task's failure is remembered, however often the bad one fails after it."""
    worker = world.worker()
    fail(world, worker)
    task_id = world.queued_task(max_retries=9, retry_delay_s=0)
    fail(world, worker, task_id)
    later(1)
    fail(world, worker, task_id)
    assert until(world, worker) is not None


def test_each_time_doubles_up_to_an_hour(world: World) -> None:
    worker = world.worker()
    set_aside(world, worker)
    expected = [120, 240, 480, 960, 1920, 3600, 3600]
    for seconds in expected:
        later(until(world, worker) or 0)
        later(1)
        fail(world, worker)
        left = until(world, worker)
        assert left is not None
        # The failure is noted in the same second, on a machine that may be slow.
        assert seconds - 30 < left <= seconds


def test_a_failure_while_it_is_set_aside_makes_it_no_longer(world: World) -> None:
    worker = world.worker(slots=2)
    held = world.running_task(worker, max_retries=0)
    set_aside(world, worker)
    before = world.rows("workers")[0]["quarantined_until"]
    worker.report(held, "failed", failure_class="agent_error")
    assert world.rows("workers")[0]["quarantined_until"] == before


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("completed", {}), ("failed", {"failure_class": "exit_code", "exit_code": 1})],
)
def test_an_attempt_that_the_machine_did_right_clears_the_count(
    world: World, outcome: str, said: dict[str, Any]
) -> None:
    worker = world.worker()
    fail(world, worker), fail(world, worker)
    world.queued_task(max_retries=0)
    worker.report(worker.take(), outcome, **said)
    fail(world, worker), fail(world, worker)
    assert until(world, worker) is None
    fail(world, worker)
    assert until(world, worker) is not None


def test_a_success_after_a_quarantine_starts_at_a_minute_again(world: World) -> None:
    worker = world.worker()
    set_aside(world, worker)
    later(61)
    world.queued_task()
    worker.report(worker.take())
    set_aside(world, worker)
    assert (until(world, worker) or 0) <= 60


def test_a_cancelled_task_says_nothing_about_the_machine(world: World) -> None:
    worker = world.worker()
    fail(world, worker), fail(world, worker)
    offer = world.running_task(worker)
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    worker.report(offer, "cancelled")
    assert until(world, worker) is None
    fail(world, worker)
    assert until(world, worker) is not None, "nor does it clear the count"


@pytest.mark.parametrize("failure_class", ["agent_error", "offer_lost", "disk_low"])
def test_failures_of_the_machine_count(world: World, failure_class: str) -> None:
    worker = world.worker()
    for _ in range(3):
        fail(world, worker, failure_class=failure_class)
    assert until(world, worker) is not None


@pytest.mark.parametrize("failure_class", ["exit_code", "timeout", "no_output"])
def test_failures_of_the_task_dont(world: World, failure_class: str) -> None:
    worker = world.worker()
    for _ in range(4):
        fail(world, worker, failure_class=failure_class)
    assert until(world, worker) is None


def test_revoking_a_busy_worker_doesnt_set_it_aside(world: World) -> None:
    worker = world.worker(slots=4)
    for _ in range(4):
        world.queued_task()
    assert len(worker.sync().json["offers"]) == 4
    world.api("admin", "POST", f"/workers/{worker.id}/revoke")
    assert {task["status"] for task in world.rows("tasks")} == {"failed"}
    assert world.audited("worker.quarantine") == []


def test_resume_ends_it_and_its_count(world: World) -> None:
    worker = world.worker()
    set_aside(world, worker)
    answer = world.api("admin", "POST", f"/workers/{worker.id}/resume")
    assert (answer.json["quarantined_until"], answer.json["shown_status"]) == (None, "online")
    fail(world, worker), fail(world, worker)
    assert until(world, worker) is None
    fail(world, worker)
    assert (until(world, worker) or 0) <= 60, "it starts at a minute again"


def test_a_drain_doesnt_end_it_and_it_doesnt_end_a_drain(world: World) -> None:
    worker = world.worker()
    set_aside(world, worker)
    world.api("admin", "POST", f"/workers/{worker.id}/drain")
    assert status(world, worker) == "draining"
    assert until(world, worker) is not None
    later(61)
    worker.sync()
    assert status(world, worker) == "draining"


def test_a_waiting_task_says_so(world: World) -> None:
    worker = world.worker()
    set_aside(world, worker)
    [row] = world.task(world.queued_task())["waiting"]
    assert row["reason"] == "Matches, but is quarantined after infrastructure failures in a row"
