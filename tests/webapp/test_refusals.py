"""Offers that a machine's owner doesn't allow: given back, tried elsewhere, and said to people."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world import TOOLS, WorkerOf, World, at_once, later, until
from webapp.database import release
from webapp.live.bus import Waiter
from webapp.tasks import dispatch, lost, placements
from webapp.workers import identify
from webapp.workers.sync import Parked

RULE = "the command /bin/rm isn’t allowed"
POLICY = {"commands": ["git *"]}


def refuse(worker: WorkerOf, offer: dict[str, Any], **said: Any) -> Any:
    said = {"failure_class": "refused", "error": RULE, "execution_time_ms": 0, **said}
    return worker.report(offer, "failed", **said)


def introduce(worker: WorkerOf, policy: dict[str, Any], **said: Any) -> Any:
    answer = worker.sync(tools=TOOLS, policy=policy, **said)
    assert answer.status_code == 200, answer.json
    return answer.json


def refused_task(world: World, worker: WorkerOf, **wish: Any) -> str:
    task_id = world.queued_task(**wish)
    assert refuse(worker, worker.take()).json["new_status"] == "queued"
    return task_id


def reasons(world: World, task_id: str) -> dict[str, str]:
    return {row["worker"]: row["reason"] for row in world.task(task_id)["waiting"]}


def test_another_worker_runs_it_as_the_first_attempt(world: World) -> None:
    strict, other = world.worker("strict"), world.worker("other")
    task_id = world.queued_task(max_retries=0)
    assert refuse(strict, strict.take()).json == {
        "success": True,
        "task_id": task_id,
        "new_status": "queued",
    }
    offer = other.take()
    assert (offer["task_id"], offer["attempt"]) == (task_id, 1)
    other.report(offer)
    task = world.task(task_id)
    assert (task["status"], task["attempts_made"]) == ("completed", 1)
    assert [attempt["worker"] for attempt in task["attempts"]] == ["other"]


def test_it_is_not_offered_there_again(world: World) -> None:
    worker = world.worker()
    refused_task(world, worker)
    assert worker.sync().json["offers"] == []
    next_id = world.queued_task()
    assert worker.take()["task_id"] == next_id, "what comes after it is"


def test_who_has_refused_all_that_waits_isnt_woken_for_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    refused_task(world, worker)
    with world.app.app_context():
        caller = identify.by_key(worker.key)
        assert caller is not None
        offered = placements.offered_by_caller(caller)
        parked = Parked(worker.id, world.organisation_id, Waiter(), free_slots=1, offered=offered)
        monkeypatch.setattr(dispatch, "parked_workers", lambda: [parked])
        dispatch.wake_for_queue()
        assert not parked.waiter.wait(0)
        world.queued_task()
        parked.waiter.wait(0)  # what its submission did
        dispatch.wake_for_queue()
        assert parked.waiter.wait(0)
        release()


def test_the_sync_that_brings_the_refusal_offers_the_next_task_not_the_same(world: World) -> None:
    worker = world.worker(slots=1)
    task_id, next_id = world.queued_task(), world.queued_task()
    offer = worker.take()
    assert offer["task_id"] == task_id
    body = {
        "task_id": task_id,
        "attempt_id": offer["attempt_id"],
        "status": "failed",
        "failure_class": "refused",
        "error": RULE,
        "execution_time_ms": 0,
    }
    answer = worker.sync([offer["attempt_id"]], reports=[body]).json
    assert answer["reported"] == [{"attempt_id": offer["attempt_id"], "status": 200, "new_status": "queued"}]
    assert [each["task_id"] for each in answer["offers"]] == [next_id]


def test_it_keeps_its_place_in_the_queue(world: World) -> None:
    strict, other = world.worker("strict", slots=1), world.worker("other", slots=1)
    first, second = world.queued_task(), world.queued_task()
    assert refuse(strict, strict.take()).status_code == 200
    assert other.take()["task_id"] == first
    assert strict.take()["task_id"] == second


def test_said_twice_the_answer_is_the_same(world: World) -> None:
    worker = world.worker()
    world.queued_task()
    offer = worker.take()
    first = refuse(worker, offer)
    second = refuse(worker, offer)
    assert (second.status_code, second.json) == (first.status_code, first.json)
    assert len(world.rows("refusals")) == 1


def test_a_stranger_to_it_learns_nothing_by_refusing(world: World) -> None:
    worker, other = world.worker("one"), world.worker("other")
    world.queued_task()
    offer = worker.take()
    assert refuse(other, offer).status_code == 400
    assert refuse(worker, offer).status_code == 200
    assert refuse(other, offer).status_code == 400


def test_no_failure_is_counted(world: World) -> None:
    worker = world.worker()
    for _ in range(4):
        refused_task(world, worker, max_retries=0)
    shown = world.api("viewer", "GET", f"/workers/{worker.id}").json
    assert (shown["shown_status"], shown["quarantined_until"]) == ("online", None)
    assert world.rows("workers")[0]["failures_in_row"] in ("[]", [])


def test_its_locks_are_given_back_and_the_line_stays_as_it_was(world: World) -> None:
    strict, other = world.worker("strict"), world.worker("other")
    first = refused_task(world, strict, locks=["db"])
    second = world.queued_task(locks=["db"])
    assert world.rows("held_locks") == []
    assert strict.sync().json["offers"] == [], "the second waits for its turn"
    offer = other.take()
    assert offer["task_id"] == first
    other.report(offer)
    assert strict.take()["task_id"] == second


def test_an_event_tells_that_it_waits_again(world: World) -> None:
    task_id = refused_task(world, world.worker())
    assert [event["type"] for event in world.events(task_id)] == ["task_queued", "task_queued"]


def test_the_reason_says_whose_rule_it_is(world: World) -> None:
    strict = world.worker("strict")
    task_id = refused_task(world, strict)
    assert reasons(world, task_id) == {"strict": f"Its owner’s policy: {RULE}"}
    later(3600)
    assert reasons(world, task_id) == {"strict": f"Its owner’s policy: {RULE}"}, "also while it is away"
    page = world.browser("viewer").get(f"/tasks/{task_id}").get_data(as_text=True)
    assert f"Its owner’s policy: {RULE}" in page
    assert "Only strict could take it, and it refuses it by its owner’s policy." in page


def test_a_task_for_that_worker_alone_waits_until_its_time_is_over(world: World) -> None:
    worker = world.worker()
    world.worker("other")
    task_id = refused_task(world, worker, worker_id=worker.id, queue_timeout_s=60)
    assert "owner’s policy" in reasons(world, task_id)["lab-01"]
    later(61)
    with world.app.app_context():
        lost.end_waited_too_long()
        release()
    task = world.task(task_id)
    assert (task["status"], task["attempts"]) == ("failed", [])


def test_another_policy_makes_it_forget_and_the_same_one_does_not(world: World) -> None:
    worker = world.worker()
    introduce(worker, POLICY)
    task_id = refused_task(world, worker)
    assert introduce(worker, POLICY, session_id="s2")["offers"] == [], "only restarted"
    assert worker.sync(session_id="s2").json["offers"] == []
    answer = introduce(worker, {}, session_id="s3")
    assert [offer["task_id"] for offer in answer["offers"]] == [task_id]
    assert world.rows("refusals") == []


def test_what_has_a_log_was_begun_and_fails(world: World) -> None:
    """Or a worker could have a task run twice that may run once."""
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"half of it\n")
    assert refuse(worker, offer).json["new_status"] == "failed"
    [attempt] = world.task(offer["task_id"])["attempts"]
    assert attempt["failure_class"] == "refused"
    assert world.rows("refusals") == []


def test_a_cancel_that_was_asked_for_meanwhile_wins(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    offer = worker.take()
    world.api("operator", "POST", f"/tasks/{task_id}/cancel")
    assert refuse(worker, offer).json["new_status"] == "cancelled"
    assert refuse(worker, offer).json["new_status"] == "cancelled", "said twice"
    assert world.task(task_id)["status"] == "cancelled"


def test_another_worker_that_waits_is_told_at_once(world: World) -> None:
    strict, other = world.worker("strict"), world.worker("other")
    task_id = world.queued_task()
    offer = strict.take()
    waiting = other.wait()
    refuse(strict, offer)
    until(waiting.done, 4)  # a call that nobody wakes looks again after five seconds
    assert [each["task_id"] for each in waiting.result(1).json["offers"]] == [task_id]


def test_the_offer_says_whose_task_it_is(world: World) -> None:
    worker = world.worker()
    world.queued_task()
    assert worker.take()["organisation"] == {"id": world.organisation_id, "name": "Default"}


def test_workers_without_a_refusal_never_look_for_one(world: World) -> None:
    strict, other = world.worker("strict"), world.worker("other")
    refused_task(world, strict)
    with world.statements() as said:
        other.take()
    assert not [statement for statement in said if "refusals" in statement]


def test_refusing_and_claiming_at_once_never_give_it_to_two(world: World) -> None:
    strict, other = world.worker("strict"), world.worker("other")
    for _ in range(10):
        world.queued_task()
        offer = strict.take()
        refused, answer = at_once(lambda offer=offer: refuse(strict, offer), other.sync)  # type: ignore[misc]
        assert refused.status_code == 200
        offers = answer.json["offers"] or other.sync().json["offers"]
        assert [each["task_id"] for each in offers] == [offer["task_id"]]
        other.report(offers[0])


@pytest.mark.parametrize(
    "policy",
    [
        "none",
        {"tools": {"nested": True}},
        {"tools": ["x" * 300]},
        {"tools": ["two\nlines"]},
        {"tools": "shell"},
        {"max_minutes": 0},
        {"max_disk_bytes": 2**63},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(world: World, policy: Any) -> None:
    worker = world.worker()
    with world.unchanged():
        assert worker.sync(tools=TOOLS, policy=policy).status_code == 422


def page_of(world: World, worker: WorkerOf) -> str:
    answer = world.browser("viewer").get(f"/workers/{worker.id}")
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def test_the_workers_page_shows_what_its_owner_allows(world: World) -> None:
    worker = world.worker()
    page = page_of(world, worker)
    assert "Owner’s policy" not in page
    policy = {
        "tools": ["shell"],
        "organisations": [],
        "commands": ["git *", "<b>make</b>"],
        "max_minutes": 30,
        "max_disk_bytes": 20 * 10**9,
        "run_as": "tasks",
        "digest": "83c1",
    }
    introduce(worker, policy)
    page = page_of(world, worker)
    for words in ("Owner’s policy", "git *", "&lt;b&gt;make", "at most 30 min", "at most 20.0 GB", "tasks"):
        assert words in page, words
    assert "83c1" not in page
    assert world.api("viewer", "GET", f"/workers/{worker.id}").json["policy"] == policy
    introduce(worker, {"problem": "policy file /etc/garageswarm/policy.ini is gone"})
    page = page_of(world, worker)
    assert "Nothing runs there until it is mended: policy file /etc/garageswarm/policy.ini is gone" in page
