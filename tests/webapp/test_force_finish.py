"""An admin ends a task whose worker will never answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webapp.pages.forms import press, text_of, toast
from tests.world import World, at_once, later, problem
from webapp.auth.rules import Role

NO_SUCH = "00000000-0000-7000-8000-000000000000"
WORDS = "force-finished by admin: the machine burned"


def force(
    world: World, task_id: str, role: Role = "admin", organisation_id: str | None = None, **kwargs: Any
) -> Any:
    kwargs = kwargs or {"json": {"reason": "the machine burned"}}
    return world.api(role, "POST", f"/tasks/{task_id}/force-finish", organisation_id, **kwargs)


def types(world: World, task_id: str) -> list[str]:
    return [event["type"] for event in world.events(task_id)]


def test_a_running_task_and_its_attempt_end_at_once(world: World) -> None:
    offer = world.running_task(world.worker())
    answer = force(world, offer["task_id"])
    assert (answer.status_code, answer.json["status"], answer.json["summary"]) == (200, "cancelled", WORDS)
    [attempt] = answer.json["attempts"]
    assert (attempt["status"], attempt["error"]) == ("cancelled", WORDS)
    assert attempt["ended_at"] is not None
    assert types(world, offer["task_id"]) == ["task_queued", "task_started", "task_cancelled"]
    [entry] = world.audited("task.force-finish")
    assert (entry["actor"], entry["target_id"]) == ("admin", offer["task_id"])
    assert "the machine burned" in str(entry["after"])


def test_one_that_is_only_assigned_or_waits_ends_too(world: World) -> None:
    worker = world.worker()
    assigned = world.queued_task()
    worker.take()
    queued = world.queued_task(labels={"gpu": None})
    for task_id in (assigned, queued):
        assert force(world, task_id).json["status"] == "cancelled"
        assert types(world, task_id).count("task_cancelled") == 1
        assert world.task(task_id)["summary"] == WORDS
    assert worker.sync().json["offers"] == []


def test_without_a_reason_it_says_who_did_it(world: World) -> None:
    offer = world.running_task(world.worker())
    assert force(world, offer["task_id"], json={}).json["summary"] == "force-finished by admin"
    task_id = world.queued_task()
    assert force(world, task_id, data=b"").json["summary"] == "force-finished by admin"


def test_the_agent_is_told_that_it_is_not_its_own_any_more_and_its_slot_is_free(world: World) -> None:
    worker = world.worker(slots=1)
    offer = world.running_task(worker)
    force(world, offer["task_id"])
    world.queued_task()
    answer = worker.sync(held=[offer["attempt_id"]]).json
    assert answer["unknown"] == [offer["attempt_id"]]
    assert answer["cancel"] == []
    assert len(answer["offers"]) == 1


def test_a_waiting_sync_hears_of_it_at_once(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    waiting = worker.wait(held=[offer["attempt_id"]])
    force(world, offer["task_id"])
    assert waiting.result(10).json["unknown"] == [offer["attempt_id"]]


def test_what_the_agent_still_sends_is_refused_and_its_report_kept_as_a_note(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"begun\n")
    force(world, offer["task_id"])
    problem(worker.send_log(offer, b"more\n", 6), 409, "lease-lost")
    problem(worker.report(offer), 409, "conflict")
    task = world.task(offer["task_id"])
    assert (task["status"], task["summary"]) == ("cancelled", WORDS)
    assert "had ended: completed" in task["attempts"][0]["notes"][0]
    assert world.log_of(offer).data == b"begun\n"
    assert types(world, offer["task_id"]).count("task_cancelled") == 1


def test_said_twice_or_of_a_task_that_has_ended_it_is_a_conflict(world: World) -> None:
    worker = world.worker()
    forced, ended = world.running_task(worker), world.running_task(worker)
    force(world, forced["task_id"])
    worker.report(ended)
    with world.unchanged():
        assert "cancelled" in problem(force(world, forced["task_id"]), 409, "conflict")["detail"]
        assert "completed" in problem(force(world, ended["task_id"]), 409, "conflict")["detail"]


def test_after_a_cancel_that_nobody_answered_it_is_the_admins_end(world: World) -> None:
    offer = world.running_task(world.worker())
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    later(300)
    answer = force(world, offer["task_id"]).json
    assert (answer["status"], answer["cancelling"], answer["summary"]) == ("cancelled", False, WORDS)
    assert "force-finished by admin" in text_of(world.browser("viewer").get("/tasks"))


def test_it_is_not_tried_again_whatever_its_policy_says(world: World) -> None:
    offer = world.running_task(world.worker(), on_lost="requeue", retry_on=["worker_lost", "exit_code"])
    force(world, offer["task_id"])
    later(3600)
    assert world.end_lost() == 0
    assert world.task(offer["task_id"])["status"] == "cancelled"


@pytest.mark.parametrize("turn", range(6))
def test_of_a_force_finish_and_a_report_that_cross_the_first_wins(world: World, turn: int) -> None:
    worker = world.worker()
    world.api_token("admin")
    offer = world.running_task(worker)
    actions: list[Any] = [lambda: worker.report(offer), lambda: force(world, offer["task_id"])]
    answers = at_once(*(reversed(actions) if turn % 2 else actions))
    report, forced = reversed(answers) if turn % 2 else answers
    assert sorted([report.status_code, forced.status_code]) == [200, 409]
    ends = [each for each in types(world, offer["task_id"]) if each in ("task_completed", "task_cancelled")]
    assert ends == ["task_completed" if report.status_code == 200 else "task_cancelled"]
    assert len(world.audited("task.force-finish")) == (forced.status_code == 200)


@pytest.mark.parametrize("turn", range(4))
def test_one_that_crosses_a_claim_ends_the_task_all_the_same(world: World, turn: int) -> None:
    worker = world.worker()
    world.api_token("admin")
    task_id = world.queued_task()
    actions: list[Any] = [worker.sync, lambda: force(world, task_id)]
    at_once(*(reversed(actions) if turn % 2 else actions))
    task = world.task(task_id)
    assert task["status"] == "cancelled"
    held = [attempt["id"] for attempt in task["attempts"]]
    assert worker.sync(held=held).json["unknown"] == held
    assert types(world, task_id).count("task_cancelled") == 1


def test_who_may(world: World) -> None:
    world.worker()
    task_id = world.queued_task()
    others = world.other_organisation()
    below: list[Role] = ["viewer", "operator", "approver"]
    for role in below:
        world.api_token(role)
    world.api_token("admin")
    world.api_token("admin", others)
    with world.unchanged():
        for role in below:
            problem(force(world, task_id, role), 403, "forbidden")
        problem(force(world, task_id, "admin", others), 404, "not-found")
        problem(force(world, NO_SUCH), 404, "not-found")
        problem(force(world, task_id, json={"reason": "two\nlines"}), 422, "invalid")
        problem(force(world, task_id, json={"reason": "x" * 501}), 422, "invalid")
        problem(force(world, task_id, json={"raeson": "x"}), 422, "invalid")


# ---- the button


def test_the_button_says_what_it_does_and_asks_once(world: World) -> None:
    offer = world.running_task(world.worker())
    path = f"/tasks/{offer['task_id']}"
    admin = world.browser("admin")
    page = admin.get(path)
    assert 'href="#force-finish" data-do="dialog"' in page.text
    assert "The worker may still be running it." in text_of(page)
    assert press(admin, f"{path}/force-finish", reason="the machine burned").location == path
    assert toast(admin, path).startswith("Force-finished. Its worker may still be running it")
    assert world.task(offer["task_id"])["summary"] == WORDS
    assert WORDS in text_of(admin.get(path)).replace("Force-", "force-")
    press(admin, f"{path}/force-finish")
    assert toast(admin, path) == "This task has ended already: cancelled."
    assert "#force-finish" not in admin.get(path).text


def test_nobody_but_an_admin_sees_it(world: World) -> None:
    offer = world.running_task(world.worker())
    path = f"/tasks/{offer['task_id']}"
    approver = world.browser("approver")
    assert "force-finish" not in approver.get(path).text
    assert press(approver, f"{path}/force-finish").status_code == 403
    assert (
        press(world.browser("admin", world.other_organisation()), f"{path}/force-finish").status_code == 404
    )
    assert world.task(offer["task_id"])["status"] == "running"
