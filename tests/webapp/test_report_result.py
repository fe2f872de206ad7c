"""How an attempt ends: its report counts once, with its whole log, and a repeated one gets the same answer."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.webapp.refusals import refusal_of
from tests.world import World, at_once, later, problem
from webapp import clock

TERMINAL = {"task_completed", "task_failed", "task_cancelled"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def terminal_events(world: World, task_id: str) -> list[str]:
    return [event["type"] for event in world.events(task_id) if event["type"] in TERMINAL]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_report_ends_the_task_once_however_often_it_is_said(world: World, status: str) -> None:
    worker = world.worker()
    offer = world.running_task(worker, max_retries=0)
    first = worker.report(offer, status)
    assert first.json == {"success": True, "task_id": offer["task_id"], "new_status": status}
    with world.unchanged():
        for _ in range(2):
            again = worker.report(offer, status)
            assert (again.status_code, again.json) == (200, first.json)
    assert terminal_events(world, offer["task_id"]) == [f"task_{status}"]


def test_the_same_report_from_two_threads_gets_the_same_answer(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    answers = at_once(*[lambda: worker.report(offer)] * 4)
    assert [answer.json for answer in answers] == [answers[0].json] * 4
    assert answers[0].status_code == 200
    assert terminal_events(world, offer["task_id"]) == ["task_completed"]


def test_a_different_report_of_an_ended_attempt_is_a_409_kept_as_a_note(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.report(offer)
    problem(worker.report(offer, "failed", error="no, it failed"), 409, "conflict")
    task = world.task(offer["task_id"])
    assert task["status"] == "completed"
    [note] = task["attempts"][0]["notes"]
    assert "failed" in note
    assert terminal_events(world, offer["task_id"]) == ["task_completed"]


def test_notes_dont_grow_without_end(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.report(offer)
    for number in range(30):
        worker.report(offer, "failed", error=str(number))
    assert len(world.task(offer["task_id"])["attempts"][0]["notes"]) <= 20


def test_another_workers_attempt_is_a_400_with_an_audit_entry(world: World) -> None:
    worker, other = world.worker("lab-01"), world.worker("lab-02")
    offer = world.running_task(worker)
    for said in (offer, {**offer, "attempt_id": None}):
        assert problem(other.report(said), 400, "not-assigned")["detail"] == (
            "Task not found or not assigned to this worker"
        )
    assert world.task(offer["task_id"])["status"] == "running"
    entries = world.audited("task.foreign-report")
    assert [(row["actor"], row["actor_id"], row["address"]) for row in entries] == [
        ("lab-02", other.id, "127.0.0.1")
    ] * 2


def test_a_foreign_report_that_rides_on_a_sync_is_audited_with_its_address(world: World) -> None:
    worker, other = world.worker("lab-01"), world.worker("lab-02")
    offer = world.running_task(worker)
    facts = {
        "task_id": offer["task_id"],
        "attempt_id": offer["attempt_id"],
        "status": "failed",
        "execution_time_ms": 1,
    }
    assert other.sync(reports=[facts], tools=[]).json["reported"][0]["status"] == 400
    assert [row["address"] for row in world.audited("task.foreign-report")] == ["127.0.0.1"]


def test_another_organisations_worker_learns_nothing_of_a_task(world: World) -> None:
    offer = world.running_task(world.worker())
    others = world.other_organisation()
    theirs = world.registered("theirs", join_token=world.join_token(organisation_id=others))
    unknown = {"task_id": "00000000-0000-7000-8000-000000000000", "attempt_id": None}
    bodies = {refusal_of(theirs.report(which)) for which in (offer, unknown)}
    assert len(bodies) == 1


def test_an_attempt_of_mine_under_another_tasks_id_is_a_400(world: World) -> None:
    worker = world.worker()
    first, second = world.running_task(worker), world.running_task(worker)
    problem(worker.report({**first, "task_id": second["task_id"]}), 400, "not-assigned")
    assert world.task(first["task_id"])["status"] == world.task(second["task_id"])["status"] == "running"


def test_an_unknown_task_is_a_400(world: World) -> None:
    worker = world.worker()
    with world.unchanged():
        for task_id in ("", "x", "00000000-0000-7000-8000-000000000000"):
            for attempt_id in (None, "x"):
                said = {"task_id": task_id, "attempt_id": attempt_id}
                problem(worker.report(said), 400, "not-assigned")


def test_a_queued_task_that_never_ran_cant_be_reported(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    with world.unchanged():
        problem(worker.report({"task_id": task_id, "attempt_id": None}), 400, "not-assigned")


def test_without_an_attempt_id_the_workers_current_one_is_meant(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    first = worker.report({**offer, "attempt_id": None})
    assert first.json["new_status"] == "completed"
    assert worker.report({**offer, "attempt_id": None}).json == first.json


def test_without_an_attempt_id_a_failure_said_twice_gets_the_same_answer_though_it_is_queued_again(
    world: World,
) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    first = worker.report({**offer, "attempt_id": None}, "failed")
    assert first.json["new_status"] == "queued"
    again = worker.report({**offer, "attempt_id": None}, "failed")
    assert (again.status_code, again.json) == (200, first.json)


def test_a_report_before_any_sign_of_life_starts_the_attempt_too(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    worker.report(worker.take())
    assert [event["type"] for event in world.events(task_id)] == [
        "task_queued",
        "task_started",
        "task_completed",
    ]
    assert world.task(task_id)["started_at"]


def test_a_result_before_its_log_is_a_412_with_the_place_to_go_on_and_then_succeeds(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    log = b"line\n" * 100
    worker.send_log(offer, log[:200])
    facts: dict[str, Any] = {"log_size": len(log), "log_sha256": sha(log)}
    with world.unchanged():
        assert problem(worker.report(offer, **facts), 412, "log-incomplete")["next_offset"] == 200
    assert worker.send_log(offer, log[200:], 200).status_code == 200
    assert worker.report(offer, **facts).json["new_status"] == "completed"
    assert world.log_of(offer).data == log


def test_a_tail_that_doesnt_follow_is_a_412(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    with world.unchanged():
        answer = worker.report(offer, log_tail={"offset": 5, "content": "x"})
        assert problem(answer, 412, "log-incomplete")["next_offset"] == 0


def test_a_tail_that_overlaps_is_taken_from_where_the_log_ends(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    log = b"0123456789"
    worker.send_log(offer, log[:6])
    answer = worker.report(
        offer,
        log_tail={"offset": 2, "content": log[2:].decode()},
        log_size=10,
        log_sha256="sha256:" + sha(log),
    )
    assert answer.status_code == 200, answer.json
    assert world.log_of(offer).data == log


def test_a_log_with_another_checksum_is_a_422_and_the_task_goes_on(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"hello\n")
    for said in ({}, {"log_tail": {"offset": 6, "content": "x"}, "log_size": 7}):
        with world.unchanged():
            facts: dict[str, Any] = {"log_size": 6, "log_sha256": sha(b"HELLO\n"), **said}
            body = problem(worker.report(offer, **facts), 422, "invalid")
        assert body["errors"][0]["field"] == "log_sha256"
    assert worker.report(offer, log_size=6, log_sha256=sha(b"hello\n")).status_code == 200


def test_a_log_that_is_longer_than_reported_is_a_422(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"hello\n")
    with world.unchanged():
        body = problem(worker.report(offer, log_size=5), 422, "invalid")
    assert body["errors"][0]["field"] == "log_size"
    assert body["next_offset"] == 6, "so that the agent can say how much it has lost"


def test_without_a_log_size_the_log_isnt_checked(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"hello\n")
    assert worker.report(offer, log_sha256=sha(b"something else")).status_code == 200


def test_an_agents_own_failure_is_tried_again_after_a_growing_pause(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    pauses: list[
        tuple[float, float]
    ] = []  # at least, at most: the answer came between two looks at the clock
    for attempt in (1, 2, 3, 4):
        before = datetime.now().astimezone()
        answer = worker.report(offer, "failed", failure_class="agent_error", error="the disk is gone")
        after = datetime.now().astimezone()
        task = world.task(offer["task_id"])
        if attempt == 4:
            assert answer.json["new_status"] == task["status"] == "failed"
            break
        assert answer.json["new_status"] == task["status"] == "queued"
        assert (task["worker_id"], task["attempts_made"], task["ended_at"]) == (None, attempt, None)
        until = datetime.fromisoformat(task["not_before"]) - timedelta(seconds=2000 * (attempt - 1))
        pauses.append(((until - after).total_seconds(), (until - before).total_seconds()))
        later(2000)
        offer = worker.take()
        assert offer["attempt"] == attempt + 1
        worker.sync(held=[offer["attempt_id"]])
    for (least, most), meant in zip(pauses, (10, 20, 40), strict=True):
        assert meant * 0.79 <= most
        assert least <= meant * 1.21
    task = world.task(offer["task_id"])
    assert [attempt["status"] for attempt in task["attempts"]] == ["failed"] * 4
    assert terminal_events(world, offer["task_id"]) == ["task_failed"]
    assert [
        event["attempt"] for event in world.events(offer["task_id"]) if event["type"] == "task_queued"
    ] == [1, 2, 3, 4]
    assert [event["seq"] for event in world.events(offer["task_id"])] == list(range(1, 10))


@pytest.mark.parametrize(
    ("policy", "report", "new_status"),
    [
        ({}, {"exit_code": 1}, "failed"),
        ({"retry_on": ["exit_code"]}, {"exit_code": 1}, "queued"),
        ({"retry_on": ["exit_code"]}, {"failure_class": "timeout"}, "failed"),
        ({"retry_on": ["timeout"]}, {"failure_class": "timeout"}, "queued"),
        ({"retry_on": []}, {"failure_class": "agent_error"}, "failed"),
        ({"max_retries": 0}, {"failure_class": "agent_error"}, "failed"),
        ({}, {"failure_class": "disk_low"}, "queued"),
        ({}, {"failure_class": "log_incomplete"}, "failed"),
        ({}, {}, "queued"),
    ],
)
def test_what_is_tried_again_is_the_tasks_own_policy(
    world: World, policy: dict[str, Any], report: dict[str, Any], new_status: str
) -> None:
    worker = world.worker()
    offer = world.running_task(worker, **policy)
    assert worker.report(offer, "failed", **report).json["new_status"] == new_status


def test_a_former_attempt_changes_nothing_any_more(world: World) -> None:
    worker = world.worker()
    first = world.running_task(worker, retry_delay_s=0)
    worker.report(first, "failed", failure_class="agent_error")
    second = worker.take()
    assert worker.report(first, "failed", failure_class="agent_error").json["new_status"] == "queued"
    problem(worker.report(first, "completed"), 409, "conflict")
    assert world.task(first["task_id"])["status"] == "assigned"
    assert worker.report(second).json["new_status"] == "completed"


def test_a_failure_after_a_cancel_isnt_tried_again(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    assert worker.report(offer, "failed", failure_class="agent_error").json["new_status"] == "failed"


def test_success_that_won_the_race_against_a_cancel_stays_success(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    assert worker.report(offer, "completed").json["new_status"] == "completed"
    problem(world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel"), 409, "conflict")


def test_what_a_report_says_is_what_people_read(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, max_retries=0)
    worker.report(
        offer,
        "failed",
        exit_code=-9,
        failure_class="timeout",
        error="<b>took too long</b>",
        result={"output": "a\nb\n", "data": {"n": 1}},
        metrics={"tokens_used": 5, "cost": 0.25},
        execution_time_ms=1234,
    )
    task = world.task(offer["task_id"])
    attempt = task["attempts"][0]
    assert (attempt["exit_code"], attempt["failure_class"], attempt["execution_time_ms"]) == (
        -9,
        "timeout",
        1234,
    )
    assert attempt["result"] == {"output": "a\nb\n", "data": {"n": 1}}
    assert attempt["metrics"] == {"tokens_used": 5, "cost": 0.25}
    assert task["summary"] == attempt["error"] == "<b>took too long</b>"
    last = world.events(offer["task_id"])[-1]
    assert (last["type"], last["failure_class"], last["duration_ms"]) == ("task_failed", "timeout", 1234)


def test_an_attempt_that_says_it_took_for_ever_began_when_it_was_given_out(world: World) -> None:
    worker = world.worker()
    world.queued_task()
    offer = worker.take()
    assert worker.report(offer, execution_time_ms=2**53).status_code == 200
    attempt = world.task(offer["task_id"])["attempts"][0]
    [stored] = [row for row in world.rows("attempts") if row["id"] == offer["attempt_id"]]
    assert attempt["execution_time_ms"] == 2**53
    assert attempt["started_at"] == clock.wire(clock.from_ms(stored["created_at"]))


NONSENSE: dict[str, list[Any]] = {
    "task_id": [None, 5, "x" * 37],
    "status": [None, "done", "running", 1],
    "execution_time_ms": [None, -1, "5", 1.5, 2**60],
    "attempt_id": [5, "x" * 37],
    "exit_code": [2**31, "0", 1.5],
    "error": ["x" * 4001, 5],
    "failure_class": ["bad_luck", ""],
    "result": ["text", {"output": 5}, {"output": "x" * 65537}],
    "metrics": [{"a": "b"}, {"x" * 65: 1}, {str(n): 1 for n in range(51)}, []],
    "log_size": [-1, "5"],
    "log_sha256": ["x", "A" * 64, "md5:" + "a" * 64],
    "log_tail": [
        {},
        {"offset": 0},
        {"offset": -1, "content": ""},
        {"offset": 0, "content_base64": "***"},
        {"offset": 0, "content": "a", "content_base64": "YQ=="},
        {"offset": 0, "content_base64": "é"},
    ],
}


@pytest.mark.parametrize("field", NONSENSE)
def test_a_report_that_makes_no_sense_is_refused_by_field_and_leaves_nothing(
    world: World, field: str
) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    for value in NONSENSE[field]:
        with world.unchanged():
            body = problem(worker.report(offer, **{"status": "failed", field: value}), 422, "invalid")
        assert body["errors"][0]["field"].split(".")[0] == field, value


@pytest.mark.parametrize("field", ["task_id", "status", "execution_time_ms"])
def test_what_a_report_must_say_is_named_when_it_is_missing(world: World, field: str) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    said = {"task_id": offer["task_id"], "status": "completed", "execution_time_ms": 1}
    del said[field]
    with world.unchanged():
        body = problem(worker.call("POST", f"/workers/{worker.id}/report-result", json=said), 422, "invalid")
    assert [row["field"] for row in body["errors"]] == [field]
