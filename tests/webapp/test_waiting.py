"""Why a task waits, what waited too long, and what housekeeping decides about silent workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.world import TOOLS, World, later, problem, until
from webapp.database import release
from webapp.errors import DatabaseBusy
from webapp.housekeeping import Housekeeper, Job
from webapp.tasks import ending, lost, queue
from webapp.workers import sync as long_poll

DAY = 24 * 3600


def reasons(world: World, task_id: str) -> dict[str, str]:
    return {row["worker"]: row["reason"] for row in world.task(task_id)["waiting"]}


def end_waited_too_long(world: World) -> int:
    with world.app.app_context():
        count = lost.end_waited_too_long()
        release()
    return count


# ---- why it waits


def test_each_worker_has_its_own_reason(world: World) -> None:
    full = world.worker("full", labels={"gpu": "3060"}, slots=1)
    world.running_task(full, labels={"gpu": "3060"})
    world.worker("no-label")
    world.worker("other-value", labels={"gpu": "4090"})
    world.worker("no-tool", labels={"gpu": "3060"}, tools=[TOOLS[1]])
    world.registered("pending", labels={"gpu": "3060"})
    revoked = world.worker("revoked", labels={"gpu": "3060"})
    world.api("admin", "POST", f"/workers/{revoked.id}/revoke")
    task_id = world.queued_task(labels={"gpu": "3060"})
    found = reasons(world, task_id)
    assert set(found) == {"full", "no-label", "other-value", "no-tool", "pending"}
    assert found["full"] == "Matches. Busy: 1 of 1 slots in use"
    assert found["no-label"] == "Has no label gpu"
    assert found["other-value"] == "Has gpu=4090, not 3060"
    assert found["no-tool"] == "Has no tool shell"
    assert found["pending"] == "Waits for approval"


def test_a_worker_that_could_take_it_and_is_silent_is_said_to_be(world: World) -> None:
    world.worker()
    task_id = world.queued_task()
    later(100)
    assert "answer" in reasons(world, task_id)["lab-01"]


def test_a_task_for_a_named_worker_says_so_at_the_others(world: World) -> None:
    world.worker("lab-01")
    named = world.worker("lab-02")
    named.sync()
    found = reasons(world, world.queued_task(worker_id=named.id))
    assert found["lab-01"] == "The task names another worker"
    assert found["lab-02"].startswith("Matches")


def test_a_task_that_doesnt_wait_has_no_reasons(world: World) -> None:
    offer = world.running_task(world.worker())
    assert reasons(world, offer["task_id"]) == {}


def test_another_organisations_workers_arent_named(world: World) -> None:
    world.worker()
    world.registered("theirs", join_token=world.join_token(organisation_id=world.other_organisation()))
    assert set(reasons(world, world.queued_task())) == {"lab-01"}


# ---- the queue's own timeout


def test_a_task_that_nobody_took_in_time_fails_with_the_reason(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task(queue_timeout_s=60)
    patient = world.queued_task()
    later(59)
    assert end_waited_too_long(world) == 0
    later(2)
    assert end_waited_too_long(world) == 1
    task = world.task(task_id)
    assert (task["status"], task["summary"]) == ("failed", "no worker took it within 0:01:00")
    last = world.events(task_id)[-1]
    assert (last["type"], last["failure_class"]) == ("task_failed", "queue_timeout")
    assert [offer["task_id"] for offer in worker.sync().json["offers"]] == [patient]
    assert end_waited_too_long(world) == 0


def test_a_task_that_may_wait_a_year_disturbs_nobody(world: World) -> None:
    world.worker()
    world.queued_task(queue_timeout_s=365 * DAY)
    short = world.queued_task(queue_timeout_s=1)
    later(DAY)
    assert end_waited_too_long(world) == 1
    assert world.task(short)["status"] == "failed"


def test_a_task_that_runs_isnt_ended_by_the_queues_timeout(world: World) -> None:
    world.running_task(world.worker(), queue_timeout_s=1)
    later(100)
    assert end_waited_too_long(world) == 0


def test_a_task_whose_next_try_nobody_takes_ends_too(world: World) -> None:
    """Every task that hasn't ended has somebody whose job it is to end it."""
    worker = world.worker()
    offer = world.running_task(worker, queue_timeout_s=60, retry_delay_s=30)
    later(50)
    worker.report(offer, "failed", failure_class="agent_error")
    later(50)
    assert end_waited_too_long(world) == 0, "the wait begins anew with each try"
    later(60)
    assert end_waited_too_long(world) == 1
    assert world.task(offer["task_id"])["status"] == "failed"


# ---- lost attempts


def test_a_silent_worker_costs_nothing_until_it_is_lost_and_then_its_task_fails(world: World) -> None:
    offer = world.running_task(world.worker())
    later(599)
    assert world.end_lost() == 0
    assert world.task(offer["task_id"])["status"] == "running"
    later(3)
    assert world.end_lost() == 1
    task = world.task(offer["task_id"])
    assert (task["status"], task["attempts"][0]["failure_class"]) == ("failed", "worker_lost")
    assert "lab-01" in task["summary"]
    assert world.end_lost() == 0


def test_a_worker_that_comes_back_before_that_goes_on(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    later(590)
    assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == []
    later(100)
    assert world.end_lost() == 0
    assert worker.report(offer).json["new_status"] == "completed"


def test_a_worker_that_comes_back_while_others_are_decided_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [world.worker(name) for name in ("lab-01", "lab-02")]
    offers = [world.running_task(worker, worker_id=worker.id) for worker in workers]
    later(700)

    def others_come_back(task_id: str) -> None:
        for worker, offer in zip(workers, offers, strict=True):
            if offer["task_id"] != task_id:
                queue.renew(worker.id, [offer["attempt_id"]], 120)

    monkeypatch.setattr(ending, "after_finish", [others_come_back])
    world.end_lost()
    assert sorted(world.task(offer["task_id"])["status"] for offer in offers) == ["failed", "running"]


def test_a_worker_that_comes_back_after_that_is_told_and_its_report_is_a_note(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    later(700)
    world.end_lost()
    assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == [offer["attempt_id"]]
    problem(worker.send_log(offer, b"late"), 409, "lease-lost")
    problem(worker.report(offer), 409, "conflict")
    task = world.task(offer["task_id"])
    assert task["status"] == "failed"
    assert task["attempts"][0]["notes"]


@pytest.mark.parametrize("retry_on", [None, [], ["exit_code"]])
def test_with_requeue_a_lost_task_is_queued_again_soon_after_its_lease(world: World, retry_on: Any) -> None:
    worker = world.worker("lab-01")
    wish: dict[str, Any] = {"on_lost": "requeue", "retry_delay_s": 0}
    offer = world.running_task(worker, **wish, **({} if retry_on is None else {"retry_on": retry_on}))
    later(125)
    assert world.end_lost() == 0
    later(7)
    assert world.end_lost() == 1
    assert world.task(offer["task_id"])["status"] == "queued"
    again = world.worker("lab-02").take()
    assert (again["task_id"], again["attempt"]) == (offer["task_id"], 2)
    assert again["attempt_id"] != offer["attempt_id"]
    assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == [offer["attempt_id"]]


def test_a_task_that_loses_every_worker_ends_after_its_retries(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task(on_lost="requeue", max_retries=2, retry_delay_s=0)
    for attempt in (1, 2, 3):
        offer = worker.take()
        assert offer["attempt"] == attempt
        worker.sync(held=[offer["attempt_id"]])
        later(140)
        assert world.end_lost() == 1
    assert world.task(task_id)["status"] == "failed"


def test_a_cancel_takes_effect_when_the_task_is_lost(world: World) -> None:
    offer = world.running_task(world.worker(), on_lost="requeue")
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    later(140)
    assert world.end_lost() == 1
    assert world.task(offer["task_id"])["status"] == "cancelled"


def test_revoking_a_worker_ends_its_leases_and_decides_its_tasks(world: World) -> None:
    worker = world.worker()
    fails = world.running_task(worker)
    cancelled = world.running_task(worker)
    world.api("operator", "POST", f"/tasks/{cancelled['task_id']}/cancel")
    assert world.api("admin", "POST", f"/workers/{worker.id}/revoke").status_code == 200
    assert world.task(fails["task_id"])["status"] == "failed"
    assert world.task(fails["task_id"])["attempts"][0]["failure_class"] == "worker_lost"
    assert world.task(cancelled["task_id"])["status"] == "cancelled"


# ---- housekeeping


def job(housekeeper: Housekeeper, name: str) -> Job:
    return next(job for job in housekeeper.jobs if job.name == name)


def test_after_a_start_agents_get_one_lease_before_anything_is_decided(world: World) -> None:
    offer = world.running_task(world.worker())
    later(3000)
    housekeeper = Housekeeper(world.app)
    for _ in range(10):
        later(9)
        housekeeper.step()
    assert world.task(offer["task_id"])["status"] == "running"
    for _ in range(5):
        later(9)
        housekeeper.step()
    assert world.task(offer["task_id"])["status"] == "failed"


def test_after_a_suspend_agents_get_one_lease_again(world: World) -> None:
    housekeeper = Housekeeper(world.app)
    offer = world.running_task(world.worker())
    for _ in range(20):
        later(9)
        housekeeper.step()
    later(3600)  # the lid was closed
    housekeeper.step()
    assert world.task(offer["task_id"])["status"] == "running"


def test_a_job_that_fails_is_tried_again_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offer = world.running_task(world.worker(), on_lost="requeue")
    late = world.queued_task(queue_timeout_s=1)
    housekeeper = Housekeeper(world.app)
    later(200)

    def fails() -> None:
        raise DatabaseBusy("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(job(housekeeper, "lost attempts"), "run", fails)
        housekeeper.step()
    assert "housekeeping failed" in caplog.text
    assert world.task(late)["status"] == "failed"
    later(10)
    housekeeper.step()
    assert world.task(offer["task_id"])["status"] == "running", (
        "after an outage agents get their chance first"
    )
    for _ in range(15):
        later(9)
        housekeeper.step()
    assert world.task(offer["task_id"])["status"] == "queued"


def test_jobs_run_when_they_are_due_and_not_before(world: World) -> None:
    housekeeper = Housekeeper(world.app)
    ran: list[str] = []
    housekeeper.jobs = [
        Job("often", 1, lambda: ran.append("often")),
        Job("seldom", 100, lambda: ran.append("seldom")),
    ]
    for _ in range(5):
        housekeeper.step()
        later(1.01)
    assert ran == ["often", "seldom", "often", "often", "often", "often"]


def test_workers_that_nobody_approved_are_forgotten_and_may_register_again(world: World) -> None:
    forgotten, approved = world.registered("forgotten"), world.worker("approved")
    later(25 * 3600)
    Housekeeper(world.app).step()
    problem(forgotten.sync(), 401, "unauthorized")
    assert approved.sync().status_code == 200
    [entry] = world.audited("worker.remove")
    assert (entry["actor"], entry["target"]) == ("system", "forgotten")


def test_a_wake_up_of_the_housekeeper_finds_due_retries(
    new_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "FLOOR_S", 60.0)
    world = new_world()
    worker = world.worker()
    offer = world.running_task(worker, retry_delay_s=5)
    worker.report(offer, "failed", failure_class="agent_error")
    answer = worker.wait()
    until(long_poll.parked_workers)
    later(10)
    Housekeeper(world.app).step()
    offers = answer.result(15).json["offers"]
    assert [row["task_id"] for row in offers] == [offer["task_id"]]
