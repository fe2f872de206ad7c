"""Two machines with one key, as after a disk was cloned: said to people, and nothing runs twice because of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world import TOOLS, WorkerOf, World, later
from webapp.database import release
from webapp.workers import twins

ORIGINAL = {"session_id": "original", "boot_id": "boot-1"}
COPY = {"session_id": "copy", "boot_id": "boot-2"}


def noted(world: World) -> dict[str, Any]:
    """What housekeeping has put down of the only worker."""
    with world.app.app_context():
        twins.note()
        release()
    [row] = world.rows("workers")
    return row


def take_turns(worker: WorkerOf, rounds: int = 6, pause_s: float = 5) -> None:
    for _ in range(rounds):
        for said in (ORIGINAL, COPY):
            worker.sync(**said)
            later(pause_s)


def offered(answer: Any) -> list[str]:
    return [offer["attempt_id"] for offer in answer.json["offers"]]


# ---- noticed


def test_two_machines_that_take_turns_are_said_on_every_page_and_audited_once(world: World) -> None:
    worker = world.worker()
    take_turns(worker)
    assert noted(world)["twin_seen_at"]
    later(120)
    take_turns(worker)
    noted(world)
    [entry] = world.audited("worker.twin-seen")
    assert entry["target_id"] == worker.id
    page = world.browser("viewer").get(f"/workers/{worker.id}").get_data(as_text=True)
    assert "Two machines use this key" in page
    assert "agent reset" in page
    rows = world.browser("viewer").get("/workers").get_data(as_text=True)
    assert "Two machines use its key" in rows


@pytest.mark.parametrize(
    "kind", ["restart", "reboot", "many restarts", "a clock set back", "late words of the one before"]
)
def test_a_machine_that_starts_anew_is_no_twin(world: World, kind: str) -> None:
    worker = world.worker()
    worker.sync(**ORIGINAL)
    later(60)
    if kind == "restart":
        worker.sync(**{**ORIGINAL, "session_id": "next"})
    elif kind == "reboot":
        worker.sync(**COPY)
    elif kind in ("many restarts", "a clock set back"):
        for number in range(70):
            worker.sync(session_id=f"start-{number}", boot_id="boot-1")
            later(20 if kind == "many restarts" else -1)
    else:
        worker.sync(**{**ORIGINAL, "session_id": "next"})
        later(3)
        worker.sync(**ORIGINAL)
        worker.sync(**{**ORIGINAL, "session_id": "next"})
    later(300)
    worker.sync(**(COPY if kind == "reboot" else {**ORIGINAL, "session_id": "next"}))
    assert noted(world)["twin_seen_at"] is None


def test_the_warning_goes_when_a_fresh_key_is_in_use_and_waits_with_that_for_the_copys_end(
    world: World,
) -> None:
    worker = world.worker()
    take_turns(worker)
    assert noted(world)["twin_seen_at"]
    world.api("admin", "POST", f"/workers/{worker.id}/rotate-key")
    assert "rotate_key" not in worker.sync(**ORIGINAL).json, "which of them would get it would be chance"
    later(130)
    assert worker.sync(**ORIGINAL).json["rotate_key"] is True
    fresh = worker.call("POST", f"/workers/{worker.id}/rotate-key").json["api_key"]
    WorkerOf(world, worker.id, fresh, worker.code).sync(**ORIGINAL)
    assert noted(world)["twin_seen_at"] is None


# ---- and harmless


def test_what_was_offered_to_one_is_never_offered_to_the_other_while_the_first_is_there(
    world: World,
) -> None:
    worker = world.worker()
    worker.sync(**COPY)
    world.queued_task()
    [attempt_id] = offered(worker.sync(**ORIGINAL))
    for _ in range(20):  # its answer may have got lost, or it may run and not have said so yet
        later(5)
        assert offered(worker.sync(**COPY)) == []
        if _ % 4 == 3:
            worker.sync(**ORIGINAL, accepting=False)
    assert offered(worker.sync(**ORIGINAL)) == [attempt_id], "to whom it was offered gets it again"


def test_after_a_reboot_a_lost_offer_comes_again_once_the_former_boot_has_long_been_silent(
    world: World,
) -> None:
    worker = world.worker()
    world.queued_task()
    [attempt_id] = offered(worker.sync(**ORIGINAL))
    later(10)
    assert offered(worker.sync(**COPY)) == []
    later(40)
    assert offered(worker.sync(**COPY)) == [attempt_id]


def test_after_a_restart_on_the_same_boot_it_comes_again_at_once(world: World) -> None:
    """An agent holds its folder alone: the one before has ended."""
    worker = world.worker()
    world.queued_task()
    [attempt_id] = offered(worker.sync(**ORIGINAL))
    later(3)
    assert offered(worker.sync(**{**ORIGINAL, "session_id": "next"})) == [attempt_id]


def test_what_one_holds_is_neither_lost_nor_given_out_again_because_the_other_doesnt_hold_it(
    world: World,
) -> None:
    worker = world.worker()
    world.queued_task()
    [attempt_id] = offered(worker.sync(**ORIGINAL))
    for _ in range(40):
        later(10)
        assert worker.sync([attempt_id], **ORIGINAL).json["unknown"] == []
        assert offered(worker.sync(**COPY)) == []
        world.end_lost()
    [attempt] = world.rows("attempts")
    assert (attempt["status"], attempt["ended_at"]) == ("running", None)


def test_a_cancel_isnt_taken_for_done_because_the_other_has_never_begun(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    [attempt_id] = offered(worker.sync(**ORIGINAL))
    later(3)
    world.api("operator", "POST", f"/tasks/{task_id}/cancel")
    worker.sync(**COPY)
    assert world.task(task_id)["status"] != "cancelled"
    told = worker.sync([attempt_id], **ORIGINAL).json["cancel"]
    assert [row["attempt_id"] for row in told] == [attempt_id]


def test_a_copied_journal_ends_nothing_and_renews_nothing(world: World) -> None:
    """The disk was copied while a task ran: the copy's agent takes it for its own, and for over."""
    worker = world.worker()
    offer = world.running_task_of(worker, **ORIGINAL)
    attempt_id = offer["attempt_id"]
    lease = world.rows("attempts")[0]["lease_expires_at"]
    later(20)
    report = {
        "task_id": offer["task_id"],
        "attempt_id": attempt_id,
        "status": "failed",
        "failure_class": "agent_error",
        "execution_time_ms": 5,
    }
    said = worker.sync([attempt_id], reports=[report], **COPY, tools=TOOLS).json
    assert (said["reported"], said["unknown"], said["cancel"]) == ([], [], [])
    [attempt] = world.rows("attempts")
    assert (attempt["status"], attempt["lease_expires_at"]) == ("running", lease)
    done = {**report, "status": "completed", "failure_class": None}
    [settled] = worker.sync([attempt_id], reports=[done], **ORIGINAL).json["reported"]
    assert (settled["status"], settled["new_status"]) == (200, "completed")


def test_after_a_reboot_the_report_of_what_ran_counts_once_the_former_boot_is_silent(world: World) -> None:
    worker = world.worker()
    offer = world.running_task_of(worker, **ORIGINAL)
    report = {
        "task_id": offer["task_id"],
        "attempt_id": offer["attempt_id"],
        "status": "failed",
        "failure_class": "agent_error",
        "execution_time_ms": 5,
    }
    later(60)
    [settled] = worker.sync([offer["attempt_id"]], reports=[report], **COPY).json["reported"]
    assert settled["status"] == 200
