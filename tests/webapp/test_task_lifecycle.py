"""A task from submission to its result, as an agent and a program see it."""

from __future__ import annotations

import hashlib

from tests.world import World


def test_a_submitted_task_is_offered_runs_and_ends_with_its_result(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task(name="say hello")
    offer = worker.take()
    assert offer["task_id"] == task_id
    assert offer["data"]["task"]["input"] == {"script": "true"}
    assert world.task(task_id)["status"] == "assigned"

    assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == []
    assert world.task(task_id)["status"] == "running"

    log = b"hello\n"
    assert worker.send_log(offer, log).json == {
        "status": "ok",
        "next_offset": 6,
        "saved_bytes": 6,
        "cancel": False,
    }
    answer = worker.report(
        offer, exit_code=0, log_size=6, log_sha256=hashlib.sha256(log).hexdigest(), result={"output": "hello"}
    )
    assert answer.json == {"success": True, "task_id": task_id, "new_status": "completed"}

    task = world.task(task_id)
    assert (task["status"], task["summary"]) == ("completed", "hello")
    assert task["attempts"][0]["exit_code"] == 0
    assert world.api("viewer", "GET", f"/tasks/{task_id}/log").data == log
    assert [event["type"] for event in world.events(task_id)] == [
        "task_queued",
        "task_started",
        "task_completed",
    ]
    assert [event["seq"] for event in world.events(task_id)] == [1, 2, 3]


def test_a_report_rides_on_a_sync_with_the_whole_log(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    offer = worker.take()
    log = b"one line\n"
    report = {
        "task_id": task_id,
        "attempt_id": offer["attempt_id"],
        "status": "completed",
        "execution_time_ms": 3,
        "log_tail": {"offset": 0, "content": log.decode()},
        "log_size": len(log),
        "log_sha256": hashlib.sha256(log).hexdigest(),
    }
    answer = worker.sync(held=[offer["attempt_id"]], reports=[report]).json
    assert answer["reported"] == [
        {"attempt_id": offer["attempt_id"], "status": 200, "new_status": "completed"}
    ]
    assert answer["unknown"] == []
    assert world.api("viewer", "GET", f"/tasks/{task_id}/log").data == log
    assert [event["type"] for event in world.events(task_id)] == [
        "task_queued",
        "task_started",
        "task_completed",
    ]
