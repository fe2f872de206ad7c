"""Drain and resume: what runs is finished, nothing more is taken. Announcements, which travel the same way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.webapp.pages.forms import text_of
from tests.world import WorkerOf, World, later, problem
from webapp.workers import sync as long_poll

NO_SUCH = "00000000-0000-7000-8000-000000000000"
VERBS = ("drain", "resume", "announce")
FIELDS = ("drain_requested_at", "drain_until", "drain_note")


def act(world: World, worker: WorkerOf | str, verb: str, role: Any = "admin", **kwargs: Any) -> Any:
    worker_id = worker if isinstance(worker, str) else worker.id
    said = {"json": {"text": "hello"}} if verb == "announce" else {}
    return world.api(role, "POST", f"/workers/{worker_id}/{verb}", **{**said, **kwargs})


def shown(world: World, worker: WorkerOf) -> dict[str, Any]:
    return dict(world.api("viewer", "GET", f"/workers/{worker.id}").json)


def seconds_between(one: str, other: str) -> float:
    return (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds()


def of_others(world: World) -> WorkerOf:
    return world.registered("theirs", join_token=world.join_token(organisation_id=world.other_organisation()))


# ---- drain


def test_a_draining_worker_finishes_what_runs_and_takes_no_more(world: World) -> None:
    worker = world.worker(slots=2)
    offer = world.running_task(worker)
    answer = act(world, worker, "drain")
    assert (answer.status_code, answer.json["shown_status"]) == (200, "draining")
    assert answer.json["drain_requested_at"]
    world.queued_task()
    said = worker.sync(held=[offer["attempt_id"]]).json
    assert (said["drain"], said["offers"], said["unknown"]) == (True, [], [])
    assert worker.send_log(offer, b"goes on\n").status_code == 200
    assert worker.report(offer).json["new_status"] == "completed"
    assert worker.sync().json["offers"] == []
    [entry] = world.audited("worker.drain")
    assert (entry["actor"], entry["target_id"]) == ("admin", worker.id)


def test_another_worker_takes_what_it_leaves(world: World) -> None:
    draining, other = world.worker("draining"), world.worker("other")
    act(world, draining, "drain")
    world.queued_task()
    assert draining.sync().json["offers"] == []
    assert other.take()


def test_an_offer_that_it_has_already_is_its_own(world: World) -> None:
    worker = world.worker()
    world.queued_task()
    offer = worker.take()
    act(world, worker, "drain")
    assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == []
    assert world.task(offer["task_id"])["status"] == "running"


def test_a_call_that_waits_is_told_at_once(world: World) -> None:
    worker = world.worker()
    call = worker.wait()
    act(world, worker, "drain")
    assert call.result(20).json["drain"] is True


def test_a_silent_worker_that_drains_is_offline(world: World) -> None:
    worker = world.worker()
    worker.sync()
    act(world, worker, "drain")
    later(100)
    assert shown(world, worker)["shown_status"] == "offline"


# ---- why, and for how long


def test_it_says_why_and_takes_work_again_by_itself(world: World) -> None:
    worker = world.worker()
    worker.sync()
    answer = act(world, worker, "drain", json={"note": "new disk", "for_s": 7200}).json
    assert (answer["drain_note"], answer["shown_status"]) == ("new disk", "draining")
    assert seconds_between(answer["drain_requested_at"], answer["drain_until"]) == pytest.approx(7200, abs=2)
    task_id = world.queued_task()
    later(7100)
    said = worker.sync().json
    assert (said["drain"], said["offers"]) == (True, [])
    [reason] = world.task(task_id)["waiting"]
    until = answer["drain_until"]
    assert reason["reason"].startswith("Matches, but is draining until ")
    assert reason["reason"].endswith(f"{until[11:16]} UTC: new disk")
    later(101)
    said = worker.sync().json
    assert (said["drain"], len(said["offers"])) == (False, 1)
    after = shown(world, worker)
    assert [after[name] for name in FIELDS] == [None, None, None]
    assert after["shown_status"] == "busy"
    assert world.audited("worker.resume") == []


def test_a_call_that_waits_while_the_time_runs_out_is_given_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "FLOOR_S", 0.05)
    worker = world.worker()
    task_id = world.queued_task()
    act(world, worker, "drain", json={"for_s": 1})
    said, answer = worker.sync().json, worker.wait().result(20).json
    assert (said["drain"], said["offers"], answer["drain"]) == (True, [], False)
    assert [offer["task_id"] for offer in answer["offers"]] == [task_id]


def test_what_is_said_later_changes_it_and_what_isnt_said_stays(world: World) -> None:
    worker = world.worker()
    first = act(world, worker, "drain", json={"note": "new disk", "for_s": 600}).json
    second = act(world, worker, "drain", json={"note": "and a new fan"}).json
    assert [second[name] for name in FIELDS[:2]] == [first[name] for name in FIELDS[:2]]
    assert second["drain_note"] == "and a new fan"
    third = act(world, worker, "drain", json={"for_s": None, "note": ""}).json
    assert (third["drain_until"], third["drain_note"]) == (None, None)
    later(3600)
    worker.sync()
    assert shown(world, worker)["shown_status"] == "draining"
    entries = world.audited("worker.drain")
    assert len(entries) == 3
    assert "new fan" in str(entries[1])
    with world.unchanged():
        act(world, worker, "drain", json={"note": ""})


def test_a_drain_after_one_that_is_over_begins_anew(world: World) -> None:
    worker = world.worker()
    first = act(world, worker, "drain", json={"note": "new disk", "for_s": 600}).json
    later(601)
    second = act(world, worker, "drain").json
    assert second["drain_requested_at"] > first["drain_requested_at"]
    assert (second["drain_until"], second["drain_note"]) == (None, None)


def test_there_is_nothing_to_resume_when_it_is_over(world: World) -> None:
    worker = world.worker()
    act(world, worker, "drain", json={"for_s": 600})
    later(601)
    with world.unchanged():
        assert act(world, worker, "resume").status_code == 200


def test_resumed_early_nothing_of_it_is_left(world: World) -> None:
    worker = world.worker()
    act(world, worker, "drain", json={"note": "new disk", "for_s": 600})
    act(world, worker, "resume")
    [row] = world.rows("workers")
    assert [row[name] for name in FIELDS] == [None, None, None]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"for_s": 0}, "for_s"),
        ({"for_s": -1}, "for_s"),
        ({"for_s": "600"}, "for_s"),
        ({"for_s": 1.5}, "for_s"),
        ({"for_s": 10**10}, "for_s"),
        ({"note": "two\nlines"}, "note"),
        ({"note": "x" * 501}, "note"),
        ({"note": 5}, "note"),
        ({"until": "tomorrow"}, "until"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(world: World, body: dict[str, Any], field: str) -> None:
    worker = world.worker()
    with world.unchanged():
        assert problem(act(world, worker, "drain", json=body), 422, "invalid")["errors"][0]["field"] == field


def test_a_task_says_that_it_starts_by_itself_when_the_time_is_over(world: World) -> None:
    worker = world.worker("nas")
    worker.sync()
    act(world, worker, "drain", json={"note": "new disk", "for_s": 600})
    page = text_of(world.browser("viewer").get(f"/tasks/{world.queued_task()}"))
    assert "Only nas could take it, and it is draining for a while. It starts by itself when" in page
    assert ": new disk. It was told so" in page


# ---- resume


def test_a_resumed_worker_takes_work_again(world: World) -> None:
    worker = world.worker()
    worker.sync()
    act(world, worker, "drain")
    world.queued_task()
    answer = act(world, worker, "resume")
    assert (answer.json["drain_requested_at"], answer.json["shown_status"]) == (None, "online")
    said = worker.sync().json
    assert (said["drain"], len(said["offers"])) == (False, 1)
    assert len(world.audited("worker.resume")) == 1


def test_its_waiting_call_gets_the_task(world: World) -> None:
    worker = world.worker()
    act(world, worker, "drain")
    task_id = world.queued_task()
    worker.sync()  # it has been told: the next call waits
    call = worker.wait()
    act(world, worker, "resume")
    assert [offer["task_id"] for offer in call.result(20).json["offers"]] == [task_id]


# ---- standing questions


def test_said_twice_it_is_one_wish(world: World) -> None:
    worker = world.worker()
    since = act(world, worker, "drain").json["drain_requested_at"]
    later(60)
    with world.unchanged():
        assert act(world, worker, "drain").json["drain_requested_at"] == since
    act(world, worker, "resume")
    with world.unchanged():
        assert act(world, worker, "resume").status_code == 200


@pytest.mark.parametrize("verb", ["drain", "resume"])
def test_a_worker_that_may_not_work_can_neither_drain_nor_resume(world: World, verb: str) -> None:
    pending, revoked = world.registered("pending"), world.worker("revoked")
    act(world, revoked, "revoke")
    with world.unchanged():
        for worker, status in ((pending, "pending"), (revoked, "revoked")):
            assert status in problem(act(world, worker, verb), 409, "conflict")["detail"]


@pytest.mark.parametrize("verb", VERBS)
def test_only_admins_of_the_same_organisation_may(world: World, verb: str) -> None:
    worker, theirs = world.worker(), of_others(world)
    world.api_token("admin"), world.api_token("approver")
    nobody = world.app.test_client().post(f"/api/v1/workers/{worker.id}/{verb}", json={"text": "x"})
    with world.unchanged():
        problem(nobody, 401, "unauthorized")
        problem(act(world, worker, verb, "approver"), 403, "forbidden")
        for worker_id in (theirs.id, NO_SUCH):
            problem(act(world, worker_id, verb), 404, "not-found")


# ---- announcements


def test_what_is_announced_rides_with_the_next_answer_until_it_is_taken_back(world: World) -> None:
    worker = world.worker()
    assert worker.sync().json["announce"] is None
    answer = act(world, worker, "announce", json={"text": "restarts at 18:00"})
    assert answer.json["announcement"] == "restarts at 18:00"
    assert worker.sync().json["announce"] == "restarts at 18:00"
    assert act(world, worker, "announce", json={"text": ""}).json["announcement"] is None
    assert worker.sync().json["announce"] is None
    assert len(world.audited("worker.announce")) == 2


def test_a_call_that_waits_brings_it_at_once(world: World) -> None:
    worker = world.worker()
    call = worker.wait()
    act(world, worker, "announce", json={"text": "now"})
    assert call.result(20).json["announce"] == "now"


def test_to_all_is_to_every_approved_one_of_this_organisation(world: World) -> None:
    one, two, pending, theirs = world.worker("a"), world.worker("b"), world.registered("c"), of_others(world)
    answer = world.api("admin", "POST", "/workers/announce", json={"text": "all of you"})
    assert answer.json["announced_to"] == 2
    assert [worker.sync().json["announce"] for worker in (one, two, theirs)] == ["all of you"] * 2 + [None]
    assert shown(world, pending)["announcement"] is None
    world.api_token("operator")
    with world.unchanged():
        problem(world.api("operator", "POST", "/workers/announce", json={"text": "x"}), 403, "forbidden")


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[2J", "x" * 1001, None, 5])
def test_a_text_that_a_terminal_would_obey_is_refused(world: World, text: Any) -> None:
    worker = world.worker()
    with world.unchanged():
        body = problem(act(world, worker, "announce", json={"text": text}), 422, "invalid")
        assert body["errors"][0]["field"] == "text"
        problem(world.api("admin", "POST", "/workers/announce", json={"text": text}), 422, "invalid")
