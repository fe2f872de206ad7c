"""A person cancels a task, or wants it again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.world import World, at_once, later, problem
from webapp import clock
from webapp.auth.rules import Role
from webapp.database import release
from webapp.tasks import exchange
from webapp.workers import identify
from webapp.workers.schemas import SyncRequest
from webapp.workers.sync import Terms

NO_SUCH = "00000000-0000-7000-8000-000000000000"


def cancel(world: World, task_id: str, role: Any = "operator", organisation_id: str | None = None) -> Any:
    return world.api(role, "POST", f"/tasks/{task_id}/cancel", organisation_id)


def retry(
    world: World, task_id: str, role: Any = "operator", organisation_id: str | None = None, **kwargs: Any
) -> Any:
    return world.api(role, "POST", f"/tasks/{task_id}/retry", organisation_id, **kwargs)


def test_a_queued_task_is_cancelled_at_once_and_never_offered(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    answer = cancel(world, task_id)
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")
    assert worker.sync().json["offers"] == []
    assert [event["type"] for event in world.events(task_id)] == ["task_queued", "task_cancelled"]
    [entry] = world.audited("task.cancel")
    assert (entry["actor"], entry["target_id"]) == ("operator", task_id)


def test_a_call_from_before_the_offer_says_nothing_of_whether_it_runs(world: World) -> None:
    """It waits beside the control socket, by which the offer came: the agent may have begun the task since."""
    worker, task_id = world.worker(), world.queued_task()
    before = clock.now()
    worker.take()
    later(3)
    cancel(world, task_id)

    def look(heard_at: datetime) -> str:
        with world.app.app_context():
            caller = identify.by_key(worker.key)
            assert caller
            exchange.exchange(caller, SyncRequest(session_id="s1"), Terms(heard_at=heard_at))
            release()
        return str(world.task(task_id)["status"])

    assert look(before) == "assigned"
    assert look(clock.now()) == "cancelled", "it was said after the offer, and doesn't show it"


def test_a_running_task_is_asked_to_end_and_asking_twice_is_one_wish(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    first = cancel(world, offer["task_id"]).json
    assert (first["status"], first["cancelling"]) == ("running", True)
    with world.unchanged():
        assert cancel(world, offer["task_id"]).json == first
    assert len(world.audited("task.cancel")) == 1
    worker.report(offer, "cancelled")
    task = world.task(offer["task_id"])
    assert (task["status"], task["cancelling"]) == ("cancelled", False)


def test_a_task_that_has_ended_cant_be_cancelled(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.report(offer)
    queued = world.queued_task()
    cancel(world, queued)
    with world.unchanged():
        assert "completed" in problem(cancel(world, offer["task_id"]), 409, "conflict")["detail"]
        problem(cancel(world, queued), 409, "conflict")


def test_a_task_that_waits_for_its_retry_is_cancelled_at_once(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.report(offer, "failed", failure_class="agent_error")
    assert cancel(world, offer["task_id"]).json["status"] == "cancelled"


@pytest.mark.parametrize("turn", range(6))
def test_a_cancel_that_crosses_a_claim_ends_the_task_or_reaches_the_agent(world: World, turn: int) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    world.api_token("operator")
    actions: list[Any] = [worker.sync, lambda: cancel(world, task_id)]
    if turn % 2:
        actions.reverse()
    answers = at_once(*actions)
    assert [answer.status_code for answer in answers] == [200, 200]
    task = world.task(task_id)
    if task["status"] == "cancelled":
        assert worker.sync().json["offers"] == []
    else:
        attempt_id = task["attempts"][0]["id"]
        assert [row["attempt_id"] for row in worker.sync(held=[attempt_id]).json["cancel"]] == [attempt_id]


def test_a_cancel_that_crosses_completion_leaves_one_end(world: World) -> None:
    worker = world.worker()
    world.api_token("operator")
    for _ in range(8):
        offer = world.running_task(worker)
        at_once(lambda o=offer: worker.report(o), lambda o=offer: cancel(world, o["task_id"]))  # type: ignore[misc]
        events = [event["type"] for event in world.events(offer["task_id"])]
        assert events == ["task_queued", "task_started", "task_completed"]
        assert world.task(offer["task_id"])["status"] == "completed"


def test_a_retry_is_a_new_task_like_the_old_one(world: World) -> None:
    worker = world.worker(labels={"gpu": "3060"})
    wish = {
        "name": "again",
        "priority": 7,
        "labels": {"gpu": None},
        "worker_id": worker.id,
        "timeout_s": 99,
        "max_retries": 1,
        "retry_on": ["exit_code"],
        "on_lost": "requeue",
    }
    task_id = world.queued_task(**wish)
    worker.report(worker.take())
    made = retry(world, task_id)
    assert made.status_code == 201
    new, old = made.json, world.task(task_id)
    assert new["retry_of"] == task_id
    same = ("name", "tool", "input", "priority", "timeout_s", "max_retries", "retry_on", "on_lost")
    assert {key: new[key] for key in same} == {key: old[key] for key in same}
    assert old["status"] == "completed"
    assert worker.take()["task_id"] == new["id"]


def test_a_retry_may_change_the_input_which_is_checked(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    worker.report(worker.take())
    made = retry(world, task_id, json={"input": {"script": "make"}})
    assert made.json["input"] == {"script": "make"}
    with world.unchanged():
        problem(retry(world, task_id, json={"input": {}}), 422, "invalid")
        problem(retry(world, task_id, json={"inptu": {}}), 422, "invalid")
        problem(retry(world, task_id, data=b"{"), 422, "invalid")


def test_a_task_that_hasnt_ended_cant_be_retried(world: World) -> None:
    worker = world.worker()
    offer, queued = world.running_task(worker), world.queued_task()
    with world.unchanged():
        for task_id in (offer["task_id"], queued):
            problem(retry(world, task_id), 409, "conflict")


def test_a_retry_on_a_worker_that_has_gone_is_refused(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task(worker_id=worker.id)
    cancel(world, task_id)
    world.api("admin", "POST", f"/workers/{worker.id}/revoke")
    with world.unchanged():
        problem(retry(world, task_id), 422, "invalid")


def test_an_operators_retry_of_an_admins_task_doesnt_reach_a_worker_for_admins(world: World) -> None:
    worker = world.registered(join_token=world.join_token(admins_only=True))
    task_id = world.submit("admin").json["id"]
    worker.report(worker.take())
    made = retry(world, task_id).json["id"]
    assert worker.sync().json["offers"] == []
    assert world.task(made)["waiting"][0]["reason"].startswith("Serves admins only")


@pytest.mark.parametrize("act", [cancel, retry])
def test_who_may_act_on_a_task(world: World, act: Any) -> None:
    world.worker()
    task_id = world.queued_task()
    others = world.other_organisation()
    roles: list[tuple[Role, str | None]] = [
        ("viewer", None),
        ("viewer", others),
        ("admin", others),
        ("operator", None),
    ]
    for role, organisation_id in roles:
        world.api_token(role, organisation_id)
    with world.unchanged():
        problem(act(world, task_id, "viewer"), 403, "forbidden")
        problem(act(world, task_id, "admin", others), 404, "not-found")
        problem(act(world, task_id, "viewer", others), 404, "not-found")
        problem(act(world, NO_SUCH), 404, "not-found")
        problem(act(world, "nonsense"), 404, "not-found")
