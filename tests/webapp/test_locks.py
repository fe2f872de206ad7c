"""Named locks: at most one attempt holds one, and who waits gets it first in, first out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.world import TOOLS, WorkerOf, World, at_once, copy_of, later, problem, settings_for
from webapp import create_app
from webapp.database import release
from webapp.extensions import db
from webapp.live.bus import Waiter
from webapp.tasks import dispatch, placements
from webapp.workers import identify
from webapp.workers.sync import Parked

NONSENSE = ["", " ", "a b", "-a", "ä", "a\n", "x" * 101]


def locks(world: World, organisation_id: str | None = None) -> dict[str, dict[str, Any]]:
    items = world.api("viewer", "GET", "/locks", organisation_id).json["items"]
    return {item["name"]: item for item in items}


def holder(world: World, name: str) -> str | None:
    """The task that holds it."""
    lock = locks(world).get(name)
    return lock["holder"]["task_id"] if lock and lock["holder"] else None


def waiting(world: World, name: str) -> list[str]:
    return [row["task_id"] for row in locks(world)[name]["queue"]]


def break_it(world: World, name: str, role: Any = "admin", organisation_id: str | None = None) -> Any:
    return world.api(role, "POST", f"/locks/{name}/break", organisation_id)


def offered(worker: WorkerOf) -> list[str]:
    return [offer["task_id"] for offer in worker.sync().json["offers"]]


def begin(worker: WorkerOf) -> dict[str, Any]:
    """Take the one task that is offered and show it: what isn't shown for two seconds is offered again."""
    offer = worker.take()
    assert worker.sync(held=[offer["attempt_id"]], accepting=False).json["offers"] == []
    return offer


# ---- one holder, in order


def test_who_comes_first_holds_it_and_the_others_wait_in_order(world: World) -> None:
    worker = world.worker(slots=5)
    first, second, third = (world.queued_task(name=name, locks=["prod"]) for name in ("one", "two", "three"))
    offer = begin(worker)
    assert offer["task_id"] == first
    lock = locks(world)["prod"]
    assert (lock["holder"]["task"], lock["holder"]["worker"]) == ("one", "lab-01")
    assert lock["holder"]["taken_at"].endswith("Z")
    assert waiting(world, "prod") == [second, third]
    assert offered(worker) == []
    worker.report(offer)
    assert worker.take()["task_id"] == second
    assert waiting(world, "prod") == [third]


def test_a_higher_priority_doesnt_overtake_in_the_line(world: World) -> None:
    worker = world.worker(slots=5)
    first = world.queued_task(locks=["prod"])
    world.queued_task(locks=["prod"], priority=100)
    assert worker.take()["task_id"] == first


def test_who_asks_for_other_labels_stands_in_the_same_line(world: World) -> None:
    plain, special = world.worker("plain"), world.worker("special", labels={"gpu": "3060"})
    first = world.queued_task(locks=["prod"], labels={"gpu": None})
    second = world.queued_task(locks=["prod"])
    assert offered(plain) == []
    offer = begin(special)
    assert offer["task_id"] == first
    special.report(offer)
    assert plain.take()["task_id"] == second


def test_who_asks_for_no_lock_or_another_one_isnt_held_up(world: World) -> None:
    worker = world.worker(slots=5)
    world.queued_task(locks=["prod"])
    world.queued_task(locks=["prod"])
    free = {world.queued_task(), world.queued_task(locks=["staging"])}
    assert free < set(offered(worker))
    assert len(locks(world)) == 2


def test_a_task_takes_all_its_locks_or_none(world: World) -> None:
    worker = world.worker(slots=5)
    offer = world.running_task(worker, locks=["b"])
    both = world.queued_task(locks=["a", "b"])
    assert offered(worker) == []
    assert holder(world, "a") is None, "it holds none while it waits for the other"
    worker.report(offer)
    assert worker.take()["task_id"] == both
    assert (holder(world, "a"), holder(world, "b")) == (both, both)


def test_a_name_said_twice_is_one_lock(world: World) -> None:
    world.worker()
    task_id = world.queued_task(locks=["b", "a", "b"])
    assert world.task(task_id)["locks"] == ["a", "b"]


@pytest.mark.parametrize("name", NONSENSE)
def test_a_name_that_is_none_is_refused(world: World, name: str) -> None:
    world.worker()
    world.api_token("operator")
    with world.unchanged():
        body = problem(world.submit(locks=[name]), 422, "invalid")
    assert body["errors"][0]["field"].startswith("locks")


def test_a_task_that_is_run_again_asks_for_the_same_locks(world: World) -> None:
    worker = world.worker()
    worker.report(world.running_task(worker, locks=["prod"]))
    [row] = world.rows("tasks")
    again = world.api("operator", "POST", f"/tasks/{row['id']}/retry")
    assert again.json["locks"] == ["prod"]


# ---- given back


def test_it_is_given_back_when_the_task_fails(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, locks=["prod"], max_retries=0)
    worker.report(offer, "failed", failure_class="exit_code", exit_code=1)
    assert locks(world) == {}


def test_a_cancelled_holder_gives_it_back_when_it_has_ended(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, locks=["prod"])
    after = world.queued_task(locks=["prod"])
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    assert holder(world, "prod") == offer["task_id"], "it runs still"
    worker.report(offer, "cancelled")
    assert worker.take()["task_id"] == after


def test_a_cancelled_one_leaves_the_line(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, locks=["prod"])
    second, third = world.queued_task(locks=["prod"]), world.queued_task(locks=["prod"])
    world.api("operator", "POST", f"/tasks/{second}/cancel")
    assert waiting(world, "prod") == [third]
    worker.report(offer)
    assert worker.take()["task_id"] == third


def test_a_lost_worker_gives_it_back_when_it_is_decided(world: World) -> None:
    lost, other = world.worker("lost"), world.worker("other")
    offer = world.running_task(lost, locks=["prod"])
    after = world.queued_task(locks=["prod"])
    later(599)
    world.end_lost()
    assert offered(other) == []
    later(3)
    assert world.end_lost() == 1
    assert other.take()["task_id"] == after
    problem(lost.report(offer), 409, "conflict")
    assert holder(world, "prod") == after, "what comes too late frees nothing"


def test_a_revoked_worker_gives_it_back(world: World) -> None:
    worker = world.worker()
    world.running_task(worker, locks=["prod"])
    world.api("admin", "POST", f"/workers/{worker.id}/revoke")
    assert locks(world) == {}


def test_a_task_that_is_finished_by_force_gives_it_back(world: World) -> None:
    offer = world.running_task(world.worker(), locks=["prod"])
    assert world.api("admin", "POST", f"/tasks/{offer['task_id']}/force-finish", json={}).status_code == 200
    assert locks(world) == {}


def test_who_waits_for_it_in_a_parked_call_gets_it(world: World) -> None:
    worker, other = world.worker("lab-01"), world.worker("lab-02")
    offer = world.running_task(worker, locks=["prod"])
    after = world.queued_task(locks=["prod"])
    call = other.wait()
    worker.report(offer)
    assert [each["task_id"] for each in call.result(20).json["offers"]] == [after]


def test_a_retry_that_isnt_due_holds_no_place_and_keeps_its_age(world: World) -> None:
    worker = world.worker(slots=5)
    offer = world.running_task(worker, name="old", locks=["prod"], retry_delay_s=60)
    second, third = world.queued_task(locks=["prod"]), world.queued_task(locks=["prod"])
    worker.report(offer, "failed", failure_class="agent_error")
    assert waiting(world, "prod") == [second, third]
    taken = begin(worker)
    assert taken["task_id"] == second
    later(100)
    assert waiting(world, "prod") == [offer["task_id"], third], "it is the oldest of those that are due"
    worker.report(taken)
    assert worker.take()["task_id"] == offer["task_id"]


# ---- races


def test_two_workers_that_race_for_one_lock_make_one_holder(world: World) -> None:
    workers = [world.worker(f"lab-{number}") for number in range(2)]
    tasks = {world.queued_task(locks=["prod"]) for _ in range(6)}
    done = []
    for _ in range(40):  # a race may have no winner: both may see the other's task in front
        answers = at_once(*[worker.sync for worker in workers])
        offers = [
            (worker, offer)
            for worker, answer in zip(workers, answers, strict=True)
            for offer in answer.json["offers"]
        ]
        assert len(offers) <= 1
        for worker, offer in offers:
            assert holder(world, "prod") == offer["task_id"]
            done.append(offer["task_id"])
            assert worker.report(offer).status_code == 200
        if len(done) == len(tasks):
            break
    assert done == sorted(tasks), "each once, in order"
    assert locks(world) == {}


def test_locks_asked_for_in_opposite_order_block_nobody(world: World) -> None:
    workers = [world.worker(f"lab-{number}") for number in range(3)]
    wishes = [["a", "b"], ["b", "a"], ["b", "c"], ["c", "a"], ["c", "b", "a"]]
    tasks = {world.queued_task(locks=wish) for wish in wishes}
    done: set[str] = set()
    for _ in range(40):
        answers = at_once(*[worker.sync for worker in workers])
        assert [answer.status_code for answer in answers] == [200] * 3
        for worker, answer in zip(workers, answers, strict=True):
            for offer in answer.json["offers"]:
                done.add(offer["task_id"])
                worker.report(offer)
        if done == tasks:
            break
    assert done == tasks
    assert world.rows("held_locks") == []


def test_two_who_break_it_at_once_break_it_once(world: World) -> None:
    world.running_task(world.worker(), locks=["prod"])
    world.api_token("admin")
    answers = at_once(*[lambda: break_it(world, "prod")] * 3)
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404]
    assert len(world.audited("lock.break")) == 1


# ---- broken


def test_a_broken_lock_goes_to_the_next_and_the_holder_runs_on(world: World) -> None:
    worker = world.worker(slots=5)
    offer = world.running_task(worker, name="stuck", locks=["prod", "other"])
    after = world.queued_task(locks=["prod"])
    answer = break_it(world, "prod")
    assert (answer.status_code, answer.json["holder"]) == (200, None)
    assert worker.take()["task_id"] == after
    assert world.task(offer["task_id"])["status"] == "running"
    assert holder(world, "other") == offer["task_id"]
    [entry] = world.audited("lock.break")
    assert (entry["actor"], entry["target"], entry["target_id"]) == ("admin", "prod", offer["task_id"])
    assert "stuck" in str(entry["before"])
    assert "lab-01" in str(entry["before"])
    worker.report(offer)
    assert holder(world, "prod") == after, "the former holder gives back only what is its own"


def test_a_lock_with_a_stroke_in_its_name_is_broken_too(world: World) -> None:
    world.running_task(world.worker(), locks=["team/a:prod"])
    assert break_it(world, "team/a:prod").status_code == 200


def test_one_that_nobody_holds_is_not_found(world: World) -> None:
    world.worker()
    world.queued_task(locks=["waited-for"])
    world.api_token("admin")
    with world.unchanged():
        for name in ("waited-for", "unknown", "%20"):
            problem(break_it(world, name), 404, "not-found")


def test_only_admins_break_and_strangers_find_none(world: World) -> None:
    world.running_task(world.worker(), locks=["prod"])
    others = world.other_organisation()
    for role, organisation in (("approver", None), ("admin", others)):
        world.api_token(role, organisation)
    nobody = world.app.test_client().post("/api/v1/locks/prod/break", json={})
    with world.unchanged():
        problem(nobody, 401, "unauthorized")
        problem(break_it(world, "prod", "approver"), 403, "forbidden")
        problem(break_it(world, "prod", "admin", others), 404, "not-found")


def test_another_organisations_lock_of_the_same_name_is_another_lock(world: World) -> None:
    others = world.other_organisation()
    theirs = world.registered("theirs", join_token=world.join_token(organisation_id=others), tools=TOOLS)
    wish = {"tool": "noop", "locks": ["prod"]}
    made = world.api("operator", "POST", "/tasks", others, json=wish)
    assert made.status_code == 201, made.json
    offer = world.running_task(world.worker(), locks=["prod"])
    their_offer = theirs.take()
    assert their_offer["task_id"] == made.json["id"]
    assert break_it(world, "prod").status_code == 200
    assert locks(world) == {}
    assert locks(world, others)["prod"]["holder"]["task_id"] == their_offer["task_id"]
    assert offer["task_id"] not in str(locks(world, others))


# ---- the list


def test_as_many_queries_for_many_locks_as_for_one(world: World) -> None:
    worker = world.worker(slots=9)
    world.running_task(worker, locks=["one"])
    locks(world)  # the viewer and the token are made
    with world.statements() as few:
        locks(world)
    for number in range(6):
        world.running_task(worker, locks=[f"lock-{number}"])
        world.queued_task(locks=[f"lock-{number}", "one"])
    with world.statements() as many:
        assert len(locks(world)) == 7
    assert len(many) == len(few)


def test_a_task_that_waits_says_for_which_lock(world: World) -> None:
    worker = world.worker(slots=5)
    world.running_task(worker, name="deploy", locks=["prod"])
    second, third = world.queued_task(name="second", locks=["prod"]), world.queued_task(locks=["prod"])

    def reason(task_id: str) -> str:
        [row] = world.task(task_id)["waiting"]
        return str(row["reason"])

    assert reason(second) == "Matches. Lock prod held by deploy"
    break_it(world, "prod")
    assert reason(second) == "Matches, and takes it in a moment"
    assert reason(third) == "Matches. Next for lock prod is second"


def test_whose_turn_it_is_costs_no_look_at_the_rest_of_the_queue(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """SQLite has no statistics here: it takes the way that the statement leaves open."""
    copy_of(sqlite_template, tmp_path)
    world = World(create_app(settings_for(tmp_path)))
    worker = world.worker()
    world.queued_task(locks=["one"])
    with world.statements() as said:
        worker.take()
    asked = next(statement for statement in said if "placement_locks" in statement)
    with world.app.app_context(), db.engine.connect() as connection:
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("",) * asked.count("?")).all()
    looks = [row.detail for row in steps if "SEARCH" in row.detail or "SCAN" in row.detail]
    assert looks
    assert all("placement_id=?" in step or "_locks" in step for step in looks), looks
    with world.app.app_context():
        db.engine.dispose()


def test_a_look_at_a_long_queue_ends_with_the_last_worker_that_it_wakes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    for number in range(20):
        world.queued_task(locks=[f"lock-{number}"])
    with world.app.app_context():
        caller = identify.by_key(worker.key)
        assert caller
        offer = placements.offered_by_caller(caller)
        parked = Parked(worker.id, world.organisation_id, Waiter(), free_slots=1, offered=offer)
        monkeypatch.setattr(dispatch, "parked_workers", lambda: [parked])
        dispatch.wake_for_queue()  # what each placement asks for is read once a process
        assert parked.waiter.wait(0)
        with world.statements() as said:
            dispatch.wake_for_queue()
        release()
    assert parked.waiter.wait(0)
    assert len(said) == 2, said
