"""Sync, the one call that an agent lives on: offers, renewals, cancels, reports, and silence that costs nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from tests.world import TOOLS, World, at_once, later, problem
from webapp.database import new_id, table_of, transaction
from webapp.tasks.models import Placement, Task


def offered(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json
    return [offer["task_id"] for offer in answer.json["offers"]]


def a_report(offer: dict[str, Any], **said: Any) -> dict[str, Any]:
    facts = {"task_id": offer["task_id"], "attempt_id": offer["attempt_id"], "status": "completed"}
    return {**facts, "execution_time_ms": 1, **said}


def test_tasks_are_offered_by_priority_then_age(world: World) -> None:
    worker = world.worker(slots=10)
    old, urgent, new, late = (world.queued_task(priority=priority) for priority in (0, 5, 0, -5))
    assert offered(worker.sync(slots=10)) == [urgent, old, new, late]


def test_priority_holds_across_tasks_that_ask_for_different_things(world: World) -> None:
    worker = world.worker(labels={"gpu": "3060"})
    first = world.queued_task(labels={"gpu": None})
    urgent = world.queued_task(priority=1)
    assert offered(worker.sync(slots=1)) == [urgent]
    assert world.task(first)["status"] == "queued"


def test_no_more_is_offered_than_there_are_slots(world: World) -> None:
    worker = world.worker()
    tasks = [world.queued_task() for _ in range(5)]
    first = worker.sync(slots=2).json["offers"]
    assert [offer["task_id"] for offer in first] == tasks[:2]
    assert worker.sync(slots=2).json["offers"] == []
    held = [offer["attempt_id"] for offer in first]
    assert offered(worker.sync(held=held, slots=2)) == []
    assert worker.report(first[0]).status_code == 200
    assert offered(worker.sync(held=held[1:], slots=2)) == tasks[2:3]


def test_what_a_person_set_counts_more_than_what_the_agent_says(world: World) -> None:
    worker = world.worker()
    assert world.api("admin", "PATCH", f"/workers/{worker.id}", json={"slots": 1}).status_code == 200
    for _ in range(3):
        world.queued_task()
    assert len(offered(worker.sync(slots=10))) == 1


@pytest.mark.parametrize("slots", [1, 3])
def test_syncs_that_cross_never_overfill_a_worker(world: World, slots: int) -> None:
    worker = world.worker()
    for _ in range(8):
        world.queued_task()
    answers = at_once(*[lambda: worker.sync(slots=slots)] * 4)
    given = [task for answer in answers for task in offered(answer)]
    assert len(given) == len(set(given)) == slots


def test_two_workers_never_get_the_same_task(world: World) -> None:
    workers = [world.worker(f"lab-{number}") for number in range(3)]
    tasks = {world.queued_task() for _ in range(7)}
    answers = at_once(*[lambda worker=worker: worker.sync(slots=3) for worker in workers])
    given = [task for answer in answers for task in offered(answer)]
    assert len(given) == len(set(given)) == 7
    assert set(given) == tasks


@pytest.mark.parametrize(
    ("labels", "is_offered"),
    [
        ({}, True),
        ({"gpu": "3060"}, True),
        ({"gpu": None}, True),
        ({"gpu": None, "site": "attic"}, True),
        ({"gpu": "4090"}, False),
        ({"gpu": ""}, False),
        ({"ssd": None}, False),
        ({"gpu": "3060", "ssd": None}, False),
        ({"quiet": ""}, True),
        ({"GPU": None}, False),
    ],
)
def test_a_task_goes_to_a_worker_with_its_labels(
    world: World, labels: dict[str, str | None], is_offered: bool
) -> None:
    worker = world.worker(labels={"gpu": "3060", "site": "attic", "quiet": ""})
    task_id = world.queued_task(labels=labels)
    assert offered(worker.sync()) == ([task_id] if is_offered else [])


def test_a_label_that_a_person_gave_wins_over_the_agents(world: World) -> None:
    worker = world.worker(labels={"site": "attic"})
    assert (
        world.api("admin", "PATCH", f"/workers/{worker.id}", json={"labels": {"site": "cellar"}}).status_code
        == 200
    )
    in_attic, in_cellar = (
        world.queued_task(labels={"site": "attic"}),
        world.queued_task(labels={"site": "cellar"}),
    )
    assert offered(worker.sync()) == [in_cellar]
    assert world.task(in_attic)["status"] == "queued"


def test_a_task_for_a_named_worker_waits_for_that_one(world: World) -> None:
    other, named = world.worker("lab-01"), world.worker("lab-02")
    task_id = world.queued_task(worker_id=named.id)
    assert offered(other.sync()) == []
    assert offered(named.sync()) == [task_id]


def test_a_worker_without_the_tool_isnt_offered_the_task(world: World) -> None:
    world.worker("with")
    without = world.worker("without", tools=[TOOLS[1]])
    world.queued_task(tool="shell")
    assert offered(without.sync()) == []


def test_a_worker_for_admins_serves_admins_only_until_it_is_opened(world: World) -> None:
    worker = world.registered(join_token=world.join_token(admins_only=True))
    operators, admins = world.queued_task(), world.submit("admin").json["id"]
    assert offered(worker.sync()) == [admins]
    assert (
        world.api("admin", "PATCH", f"/workers/{worker.id}", json={"admins_only": False}).status_code == 200
    )
    assert offered(worker.sync()) == [operators]


def test_another_organisations_tasks_are_never_offered(world: World) -> None:
    world.worker("lab-01")
    theirs = world.registered(
        "theirs", join_token=world.join_token(organisation_id=world.other_organisation())
    )
    world.queued_task()
    assert offered(theirs.sync()) == []


def test_an_offer_is_durable_before_it_is_told(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    offer = worker.take()
    [row] = world.rows("attempts")
    assert (row["id"], row["task_id"], row["status"]) == (offer["attempt_id"], task_id, "assigned")
    assert offer["attempt"] == 1
    assert offer["data_url"] == f"/api/v1/agents/tasks/{task_id}/data"
    assert world.task(task_id)["worker_id"] == worker.id


def test_a_lost_offer_is_made_again_with_the_same_attempt_after_a_grace(world: World) -> None:
    worker = world.worker()
    world.queued_task()
    first = worker.take()
    assert offered(worker.sync()) == [], "the answer may only just have crossed this call"
    later(3)
    again = worker.take()
    # Its lease began with the first one: whoever takes it now has so much less of it.
    left_s = again.pop("lease_left_s")
    assert again == first
    assert 0 < left_s < 120 - 2
    assert worker.sync(held=[again["attempt_id"]]).json["offers"] == []
    assert len(world.rows("attempts")) == 1


def test_a_lost_offer_isnt_made_again_to_an_agent_that_takes_no_work(world: World) -> None:
    worker = world.worker()
    world.queued_task()
    offer = worker.take()
    later(3)
    assert offered(worker.sync(accepting=False)) == []
    assert worker.take()["attempt_id"] == offer["attempt_id"]


def test_a_task_that_waited_through_an_upgrade_is_offered(world: World) -> None:
    """Placements of an older version have ids that this one would make otherwise."""
    worker, task_id = world.worker(), world.queued_task()
    placements = table_of(Placement)
    with world.app.app_context(), transaction() as session:
        [stored] = session.execute(select(placements)).mappings()
        older = new_id()
        session.execute(insert(placements).values({**stored, "id": older}))
        session.execute(update(Task).values(placement_id=older))
    assert worker.take()["task_id"] == task_id


def test_an_agent_that_takes_no_work_gets_none(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    assert offered(worker.sync(accepting=False)) == []
    assert offered(worker.sync()) == [task_id]


def test_an_attempt_runs_from_the_first_sync_that_shows_it(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    offer = worker.take()
    for _ in range(2):
        assert worker.sync(held=[offer["attempt_id"]]).json["unknown"] == []
    task = world.task(task_id)
    assert (task["status"], task["attempts"][0]["status"]) == ("running", "running")
    assert task["started_at"]
    assert [event["type"] for event in world.events(task_id)] == ["task_queued", "task_started"]


def test_what_isnt_the_workers_comes_back_as_unknown(world: World) -> None:
    worker, other = world.worker("lab-01"), world.worker("lab-02")
    theirs = world.running_task(other)
    mine = world.running_task(worker)
    assert worker.report(mine).status_code == 200
    nonsense = "no such attempt"
    held = [theirs["attempt_id"], mine["attempt_id"], nonsense]
    assert worker.sync(held=held).json["unknown"] == held
    assert world.task(theirs["task_id"])["status"] == "running"


def test_a_sync_renews_the_leases_of_what_it_shows_and_of_nothing_else(world: World) -> None:
    worker = world.worker()
    shown, hidden = world.running_task(worker), world.running_task(worker)

    def leases() -> list[int]:
        rows = {row["id"]: row["lease_expires_at"] for row in world.rows("attempts")}
        return [rows[shown["attempt_id"]], rows[hidden["attempt_id"]]]

    before = leases()
    later(60)
    worker.sync(held=[shown["attempt_id"]])
    after = leases()
    assert 59_000 < after[0] - before[0] < 70_000
    assert after[1] == before[1]


def test_a_cancel_is_told_with_every_answer_until_the_attempt_has_ended(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    for _ in range(2):
        [row] = worker.sync(held=[offer["attempt_id"]]).json["cancel"]
        assert row["attempt_id"] == offer["attempt_id"]
    assert worker.report(offer, "cancelled").json["new_status"] == "cancelled"
    answer = worker.sync(held=[offer["attempt_id"]]).json
    assert (answer["cancel"], answer["unknown"]) == ([], [offer["attempt_id"]])


def test_one_bad_report_holds_back_none_of_the_good_ones(world: World) -> None:
    worker, other = world.worker("lab-01", slots=10), world.worker("lab-02")
    offers = [world.running_task(worker) for _ in range(3)]
    foreign = world.running_task(other)
    log = b"the end\n"
    tail = {"offset": 0, "content": log.decode()}
    reports = [
        {"nonsense": True},
        a_report(offers[0]),
        a_report(foreign),
        a_report(offers[1], log_size=5),
        a_report(offers[2], log_tail=tail, log_size=len(log), log_sha256=hashlib.sha256(log).hexdigest()),
        {"task_id": 5, "attempt_id": ["x"]},
    ]
    held = [offer["attempt_id"] for offer in offers]
    answer = worker.sync(held=held, reports=reports)
    assert answer.status_code == 200, answer.json
    assert [row["status"] for row in answer.json["reported"]] == [422, 200, 400, 412, 200, 422]
    assert answer.json["reported"][3]["next_offset"] == 0
    assert answer.json["unknown"] == []
    statuses = [world.task(offer["task_id"])["status"] for offer in [*offers, foreign]]
    assert statuses == ["completed", "running", "completed", "running"]
    assert world.log_of(offers[2]).data == log


def test_two_reports_of_one_attempt_in_one_sync_leave_one_whole_log(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    first, second = b"first\n", b"a second one, which is longer and different\n"
    reports = [
        a_report(offer, log_tail={"offset": 0, "content": text.decode()}, status=status)
        for text, status in ((first, "completed"), (second, "failed"))
    ]
    answer = worker.sync(held=[offer["attempt_id"]], reports=reports)
    assert answer.status_code == 200, answer.json
    assert answer.json["reported"][0]["status"] == 200
    assert world.task(offer["task_id"])["status"] == "completed"
    assert world.log_of(offer).data == first


def test_a_slot_that_a_report_frees_is_filled_in_the_same_answer(world: World) -> None:
    worker = world.worker()
    done = world.running_task(worker)
    waiting = world.queued_task()
    assert offered(worker.sync(slots=1, held=[done["attempt_id"]], reports=[a_report(done)])) == [waiting]


def test_an_idle_sync_writes_nothing_and_asks_little(world: World) -> None:
    worker = world.worker()
    running = world.running_task(worker, labels={})
    world.queued_task(labels={"nobody": "has-this"})
    worker.sync(held=[running["attempt_id"]])
    with world.unchanged(), world.statements() as said:
        assert offered(worker.sync(held=[running["attempt_id"]])) == []
    writes = [
        statement
        for statement in said
        if not statement.lstrip().upper().startswith(("SELECT", "WITH", "PRAGMA"))
    ]
    assert writes == []
    assert not any("FOR UPDATE" in statement for statement in said)
    assert len(said) <= 8, said


def test_many_tasks_cost_no_statement_each_when_they_arent_for_this_worker(world: World) -> None:
    worker = world.worker()
    for _ in range(30):
        world.queued_task(labels={"nobody": "has-this"})
    with world.statements() as said:
        worker.sync()
    assert len(said) <= 8, said


NONSENSE: dict[str, list[Any]] = {
    "session_id": [None, "", "x" * 65, 5],
    "slots": [0, -1, 1.5, "2", None],
    "held": [[5], ["x" * 37], ["x"] * 2001],
    "reports": [{}, ["x"], [[]], [{}] * 201],
    "metrics": [
        {"cpu_percent": -1},
        {"cpu_percent": 101},
        {"cpu_percent": "hot"},
        {"disk_free_bytes": 2**63},
        [],
    ],
    "wait_s": [-1, 26, "long"],
    "accepting": ["yes", 1, None],
    "labels": [{"a b": "c"}],
    "tools": [[{"name": "t", "schema": {"type": "object", "$ref": "x"}}]],
}


@pytest.mark.parametrize("field", NONSENSE)
def test_a_sync_that_makes_no_sense_is_refused_by_field_and_leaves_nothing(world: World, field: str) -> None:
    worker = world.worker()
    world.queued_task()
    for value in NONSENSE[field]:
        with world.unchanged():
            body = problem(worker.sync(**{field: value}), 422, "invalid")
        assert body["errors"][0]["field"].split(".")[0] == field, value


def test_a_large_sync_has_a_limit_too(world: World) -> None:
    worker = world.worker()
    problem(worker.sync(padding="x" * 5 * 1024 * 1024), 413, "too-large")
    assert worker.sync(padding="x" * 3 * 1024 * 1024).status_code == 200


def test_an_offer_whose_data_is_large_sends_the_agent_to_fetch_it(world: World) -> None:
    worker = world.worker()
    script = "# " + "x" * 100_000
    world.queued_task(input={"script": script})
    offer = worker.take()
    assert "data" not in offer
    data = worker.call("GET", offer["data_url"].removeprefix("/api/v1")).json
    assert data["task"]["input"] == {"script": script}
    assert data["task"]["attempt_id"] == offer["attempt_id"]


def test_another_workers_data_is_a_404(world: World) -> None:
    worker, other = world.worker("lab-01"), world.worker("lab-02")
    offer = world.running_task(worker)
    path = f"/agents/tasks/{offer['task_id']}/data"
    problem(other.call("GET", path), 404, "not-found")
    problem(other.call("GET", f"{path}?attempt_id={offer['attempt_id']}"), 404, "not-found")
    problem(worker.call("GET", f"{path}?attempt_id=x"), 404, "not-found")
    assert worker.call("GET", f"{path}?attempt_id={offer['attempt_id']}").status_code == 200
    worker.report(offer)
    assert worker.call("GET", path).status_code in (404, 409)


def test_a_task_that_waits_for_its_retry_isnt_offered_before_that_is_due(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, retry_delay_s=100)
    assert worker.report(offer, "failed", failure_class="agent_error").json["new_status"] == "queued"
    later(75)
    assert offered(worker.sync()) == []
    later(50)
    again = worker.take()
    assert (again["task_id"], again["attempt"]) == (offer["task_id"], 2)
    assert again["attempt_id"] != offer["attempt_id"]
