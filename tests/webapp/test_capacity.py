"""What a worker takes at a time: slots, plans among them, and one exclusive task."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import Mock

import pytest

from tests.world import TOOLS, WorkerOf, World, at_once
from webapp.tasks import queue as task_queue

CLASSES = ("task", "plan", "exclusive")
# One tool of each class, as agents declare them.
ALL = [{**TOOLS[1], "name": f"a-{name}", "slot_class": name} for name in CLASSES]


def worker_of(world: World, slots: int = 4, plan_limit: int = 1, name: str = "lab-01") -> WorkerOf:
    return world.worker(name, tools=ALL, slots=slots, plan_limit=plan_limit)


def queue(world: World, slot_class: str, count: int = 1, **wish: Any) -> list[str]:
    return [world.queued_task(tool=f"a-{slot_class}", input={}, **wish) for _ in range(count)]


def taken(worker: WorkerOf, held: list[dict[str, Any]] | None = None, **said: Any) -> list[dict[str, Any]]:
    answer = worker.sync(held=[offer["attempt_id"] for offer in held or []], **said)
    assert answer.status_code == 200, answer.json
    return list(answer.json["offers"])


def classes(offers: list[dict[str, Any]]) -> Counter[str]:
    return Counter(offer["tool"].removeprefix("a-") for offer in offers)


def test_no_more_plans_than_the_worker_says_and_other_work_beside_them(world: World) -> None:
    worker = worker_of(world, slots=5)
    queue(world, "plan", 4)
    queue(world, "task", 2)
    offers = taken(worker, plan_limit=2)
    assert classes(offers) == {"plan": 2, "task": 2}
    assert taken(worker, offers, plan_limit=2) == []
    worker.report(next(offer for offer in offers if offer["tool"] == "a-plan"))
    assert classes(taken(worker, offers[1:], plan_limit=2)) == {"plan": 1}


def test_one_exclusive_task_at_a_time(world: World) -> None:
    worker = worker_of(world, slots=5)
    first, second = queue(world, "exclusive", 2)
    [offer] = taken(worker)
    assert offer["task_id"] == first
    queue(world, "plan"), queue(world, "task")
    beside = taken(worker, [offer])
    assert classes(beside) == {"plan": 1, "task": 1}
    worker.report(offer)
    assert [each["task_id"] for each in taken(worker, beside)] == [second]


def test_each_worker_has_its_own_place_for_an_exclusive_one(world: World) -> None:
    one, two = worker_of(world, name="one"), worker_of(world, name="two")
    queue(world, "exclusive", 2)
    assert classes(taken(one)) == classes(taken(two)) == {"exclusive": 1}


def test_plans_and_exclusive_ones_use_slots_too(world: World) -> None:
    worker = worker_of(world, slots=2, plan_limit=5)
    queue(world, "plan", 3)
    queue(world, "exclusive")
    assert len(taken(worker, plan_limit=5)) == 2


def test_a_higher_priority_goes_first_and_among_equals_the_older(world: World) -> None:
    worker = world.worker(slots=1)
    low = world.queued_task(priority=-5)
    older, newer = world.queued_task(), world.queued_task()
    high = world.queued_task(priority=5)
    order = []
    for _ in range(4):
        offer = worker.take()
        order.append(offer["task_id"])
        worker.report(offer)
    assert order == [high, older, newer, low]


def test_priority_counts_across_tools_and_labels(world: World) -> None:
    worker = world.worker(slots=1, labels={"gpu": "3060"})
    world.queued_task()
    high = world.queued_task(tool="noop", input={}, labels={"gpu": None}, priority=1)
    assert worker.take()["task_id"] == high


def test_what_finds_no_place_of_its_class_doesnt_hold_up_what_is_less_urgent(world: World) -> None:
    worker = worker_of(world, slots=4)
    queue(world, "plan", 3, priority=100)
    queue(world, "exclusive", 3, priority=100)
    queue(world, "task", 3)
    assert classes(taken(worker)) == {"plan": 1, "exclusive": 1, "task": 2}


def test_a_look_at_what_has_no_place_of_its_class_takes_no_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(world)
    queue(world, "plan", 2)
    running = taken(worker)
    assert taken(worker, running) == []
    lock_worker = Mock(side_effect=AssertionError("once a second, for each worker with a free slot"))
    monkeypatch.setattr(task_queue, "lock_worker", lock_worker)
    assert taken(worker, running) == []


def test_slots_that_a_person_set_win_over_the_agents(world: World) -> None:
    worker = world.worker(slots=5)
    world.api("admin", "PATCH", f"/workers/{worker.id}", json={"slots": 1})
    world.queued_task(), world.queued_task()
    assert len(taken(worker)) == 1


@pytest.mark.parametrize("slot_class", CLASSES)
def test_two_dispatches_at_once_never_overfill_a_worker(world: World, slot_class: str) -> None:
    worker = worker_of(world, slots=3, plan_limit=2)
    room = {"task": 3, "plan": 2, "exclusive": 1}[slot_class]
    queue(world, slot_class, 9)
    for _ in range(3):
        answers = at_once(*[lambda: taken(worker, plan_limit=2)] * 3)
        # By attempt: where a call takes seconds, the next one is offered the same again.
        offers = {offer["attempt_id"]: offer for answer in answers for offer in answer}
        assert len(offers) == len({offer["task_id"] for offer in offers.values()}) == room
        for offer in offers.values():
            assert worker.report(offer).status_code == 200


def test_a_report_and_a_dispatch_at_once_fill_the_place_once(world: World) -> None:
    worker = worker_of(world, slots=1)
    queue(world, "task", 6)
    [offer] = taken(worker)
    for _ in range(5):
        offer = after_a_race(worker, offer)
        running = [row["id"] for row in world.rows("attempts") if row["ended_at"] is None]
        assert running == [offer["attempt_id"]]


def after_a_race(worker: WorkerOf, held: dict[str, Any]) -> dict[str, Any]:
    """Report this one and ask for another at once. Returns the other."""
    report, answer = at_once(lambda: worker.report(held), lambda: worker.sync(held=[held["attempt_id"]]))
    assert (report.status_code, answer.status_code) == (200, 200)
    [offer] = answer.json["offers"] or taken(worker)
    return offer


def test_a_waiting_task_says_which_places_are_taken(world: World) -> None:
    worker = worker_of(world, slots=5)
    queue(world, "plan"), queue(world, "exclusive")
    taken(worker)
    [plan], [exclusive] = queue(world, "plan"), queue(world, "exclusive")

    def reason(task_id: str) -> str:
        [row] = world.task(task_id)["waiting"]
        return str(row["reason"])

    assert reason(plan) == "Matches. Busy: 1 of 1 plans run"
    assert reason(exclusive) == "Matches. Busy with another task that must be alone of its kind"
