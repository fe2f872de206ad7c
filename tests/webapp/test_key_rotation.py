"""A worker's key is exchanged for a fresh one, and nobody is ever locked out by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.world import WorkerOf, World, at_once, later, problem
from webapp import clock
from webapp.auth.rules import Role
from webapp.database import release, transaction
from webapp.workers import keys
from webapp.workers.models import WorkerKey

NO_SUCH = "00000000-0000-7000-8000-000000000000"
DAY_S = 24 * 3600


def wish(world: World, worker: WorkerOf, role: Role = "admin") -> Any:
    return world.api(role, "POST", f"/workers/{worker.id}/rotate-key")


def exchange(worker: WorkerOf) -> Any:
    return worker.call("POST", f"/workers/{worker.id}/rotate-key")


def rotated(worker: WorkerOf) -> WorkerOf:
    """With the fresh key, not used yet."""
    answer = exchange(worker)
    assert answer.status_code == 200, answer.json
    assert answer.json["key_id"] == answer.json["api_key"][4:12]
    return replace(worker, key=answer.json["api_key"])


def live(world: World) -> set[str]:
    return {row["key_id"] for row in world.rows("worker_keys")}


def over(world: World, worker: WorkerOf) -> None:
    """The key's time is up, and everybody else's goes on."""
    with world.app.app_context(), transaction() as session:
        ended = update(WorkerKey).where(WorkerKey.key_id == worker.key[4:12])
        session.execute(ended.values(expires_at=clock.now() - timedelta(seconds=1)))


def housekeeping(world: World) -> None:
    with world.app.app_context():
        keys.remove_expired()
        keys.save_uses()
        release()


def test_an_admins_wish_reaches_the_agent_until_its_fresh_key_is_used(world: World) -> None:
    worker = world.worker()
    assert "rotate_key" not in worker.sync().json
    answer = wish(world, worker)
    assert (answer.status_code, set(answer.json)) == (200, {"rotate_requested_at"})
    assert worker.sync().json["rotate_key"] is True
    fresh = rotated(worker)
    assert worker.sync().json["rotate_key"] is True, "nobody knows yet whether the fresh one arrived"
    assert "rotate_key" not in fresh.sync().json
    assert "rotate_key" not in worker.sync().json


def test_a_parked_agent_is_told_at_once(world: World) -> None:
    worker = world.worker()
    call = worker.wait()
    wish(world, worker)
    assert call.result(10).json["rotate_key"] is True


def test_both_keys_work_for_a_day_after_the_fresh_ones_first_use_and_then_one(world: World) -> None:
    worker = world.worker()
    fresh = rotated(worker)
    later(30 * DAY_S)
    assert worker.sync().status_code == 200, "the fresh one may have got lost, however long ago"
    assert fresh.sync().status_code == 200
    later(DAY_S - 5)
    assert (worker.sync().status_code, fresh.sync().status_code) == (200, 200)
    later(10)
    unknown = replace(worker, key=world.registered("other").key[:-1] + "!")
    ended, nonsense = (
        problem(worker.sync(), 401, "unauthorized"),
        problem(unknown.sync(), 401, "unauthorized"),
    )
    assert {**ended, "error_id": ""} == {**nonsense, "error_id": ""}, "told apart from no other key"
    assert fresh.sync().status_code == 200
    housekeeping(world)
    assert worker.key[4:12] not in live(world)
    assert [entry["before"] for entry in world.audited("worker.key-expired")] != []


def test_a_lost_answer_costs_nothing_the_old_key_gets_another_one(world: World) -> None:
    worker = world.worker()
    lost = rotated(worker)
    again = rotated(worker)
    assert live(world) == {worker.key[4:12], again.key[4:12]}
    problem(lost.sync(), 401, "unauthorized")
    assert again.sync().status_code == 200
    assert worker.sync().status_code == 200


def test_the_old_key_cant_be_exchanged_once_the_fresh_one_was_used(world: World) -> None:
    """Or whoever found it in an old copy could throw the agent out."""
    worker = world.worker()
    fresh = rotated(worker)
    fresh.sync()
    with world.unchanged():
        problem(exchange(worker), 409, "conflict")
    third = rotated(fresh)
    assert live(world) == {fresh.key[4:12], third.key[4:12]}, "never more than two"


def test_two_exchanges_at_once_leave_two_keys_of_which_one_is_the_one_that_asked(world: World) -> None:
    worker = world.worker()
    answers = at_once(*[lambda: exchange(worker)] * 4)
    assert {answer.status_code for answer in answers} == {200}
    made = {answer.json["key_id"] for answer in answers}
    assert len(live(world)) == 2
    assert worker.key[4:12] in live(world)
    assert len(live(world) & made) == 1


def test_a_wish_said_twice_is_one(world: World) -> None:
    worker = world.worker()
    first = wish(world, worker).json
    later(60)
    with world.unchanged():
        assert wish(world, worker).json == first


def test_who_may_ask_for_a_fresh_key(world: World) -> None:
    worker, other, pending = world.worker(), world.worker("other"), world.registered("pending")
    others = world.other_organisation()
    path = f"/workers/{worker.id}/rotate-key"
    world.api_token("admin")
    world.api_token("approver")
    world.api_token("admin", others)
    with world.unchanged():
        problem(world.app.test_client().post(f"/api/v1{path}"), 401, "unauthorized")
        problem(wish(world, worker, "approver"), 403, "forbidden")
        problem(world.api("admin", "POST", path, others), 404, "not-found")
        problem(world.api("admin", "POST", f"/workers/{NO_SUCH}/rotate-key"), 404, "not-found")
        problem(other.call("POST", path), 403, "forbidden")
        problem(exchange(pending), 403, "worker-pending")
        problem(wish(world, pending), 409, "conflict")
        problem(worker.call("POST", path, headers={"Idempotency-Key": "once"}), 422, "invalid")


def test_a_revoked_worker_gets_no_fresh_key(world: World) -> None:
    worker = world.worker()
    fresh = rotated(worker)
    world.api("admin", "POST", f"/workers/{worker.id}/revoke")
    with world.unchanged():
        for one in (worker, fresh):
            problem(exchange(one), 403, "worker-revoked")
            problem(one.sync(), 403, "worker-revoked")


def test_a_keys_life_is_audited_and_no_answer_of_people_shows_it(world: World) -> None:
    worker = world.worker()
    shown = wish(world, worker).get_data(as_text=True)
    fresh = rotated(worker)
    fresh.sync()
    actions = ("worker.request-rotation", "worker.rotate-key", "worker.use-fresh-key")
    assert [len(world.audited(action)) for action in actions] == [1, 1, 1]
    assert world.audited("worker.rotate-key")[0]["actor"] == "lab-01"
    page = world.browser("admin").get(f"/workers/{worker.id}").get_data(as_text=True)
    for text in (shown, page, repr(world.stored())):
        assert worker.key[13:] not in text
        assert fresh.key[13:] not in text


def test_when_and_from_where_a_key_was_used_outlives_a_restart(world: World) -> None:
    worker = world.worker()
    worker.sync()
    housekeeping(world)
    [row] = world.rows("worker_keys")
    assert row["used_at"]
    assert row["used_from"] == "127.0.0.1"


@pytest.mark.parametrize("ending", ["revoked", "removed", "expired"])
def test_a_parked_call_ends_with_its_key(world: World, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.workers.sync.FLOOR_S", 0.05)
    worker = world.worker()
    fresh = rotated(worker)
    fresh.sync()
    call = worker.wait()
    if ending == "expired":
        over(world, worker)
    else:
        world.api("admin", "POST", f"/workers/{worker.id}/revoke")
    if ending == "removed":
        world.api("admin", "DELETE", f"/workers/{worker.id}")
    answer = call.result(10)
    assert answer.status_code in {401, 403}
    assert ending != "expired" or problem(answer, 401, "unauthorized")
