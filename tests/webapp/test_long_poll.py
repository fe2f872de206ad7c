"""A sync that waits: woken by what concerns it, ended by a newer one, and nobody who waits holds a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.world import TOOLS, World, problem, until
from webapp.extensions import db
from webapp.live.bus import bus
from webapp.workers import sync as long_poll

# Far longer than a wake-up takes, shorter than a call waits (20 s) and than the next look by itself.
PROMPT_S = 15


@pytest.fixture(autouse=True)
def _no_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without wake-ups a parked call would see nothing before its time is over."""
    monkeypatch.setattr(long_poll, "FLOOR_S", 60.0)


@pytest.fixture
def stopping() -> Iterator[None]:
    yield
    bus.stopping.clear()


def test_a_parked_sync_wakes_for_a_task_that_is_submitted(world: World) -> None:
    worker = world.worker()
    answer = worker.wait()
    until(long_poll.parked_workers)
    task_id = world.queued_task()
    assert [offer["task_id"] for offer in answer.result(PROMPT_S).json["offers"]] == [task_id]


def test_one_parked_worker_that_fits_wakes_and_no_other(world: World) -> None:
    fits, other = world.worker("fits", labels={"gpu": ""}), world.worker("other")
    waits, sleeps = fits.wait(), other.wait()
    until(lambda: len(long_poll.parked_workers()) >= 2)
    world.queued_task(labels={"gpu": None})
    assert len(waits.result(PROMPT_S).json["offers"]) == 1
    assert not sleeps.done()
    assert other.sync().status_code == 200
    assert sleeps.result(PROMPT_S).json["offers"] == []


def test_a_pending_workers_parked_sync_starts_working_the_moment_it_is_approved(world: World) -> None:
    world.worker("another")
    pending = world.registered("pending")
    task_id = world.queued_task(worker_id=pending.id)
    answer = pending.wait(tools=TOOLS)
    assert world.api("admin", "POST", f"/workers/{pending.id}/approve").status_code == 200
    assert [offer["task_id"] for offer in answer.result(PROMPT_S).json["offers"]] == [task_id]


def test_a_pending_workers_sync_that_isnt_approved_in_time_is_a_403(world: World) -> None:
    problem(world.registered().sync(wait_s=0.05), 403, "worker-pending")


def test_a_parked_sync_of_a_worker_that_is_revoked_ends_with_403(world: World) -> None:
    worker = world.worker()
    answer = worker.wait()
    assert world.api("admin", "POST", f"/workers/{worker.id}/revoke").status_code == 200
    problem(answer.result(PROMPT_S), 403, "worker-revoked")


def test_a_parked_sync_is_told_of_a_cancel_at_once_and_once(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    answer = worker.wait(held=[offer["attempt_id"]])
    assert world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel").status_code == 200
    [cancel] = answer.result(PROMPT_S).json["cancel"]
    assert cancel["attempt_id"] == offer["attempt_id"]
    waits_again = worker.wait(held=[offer["attempt_id"]], wait_s=0.2)
    assert waits_again.result(PROMPT_S).json["cancel"] == [cancel], "said again, but no reason not to wait"


def test_an_agent_that_started_anew_is_told_of_the_cancel_again_at_once(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    worker.sync(held=[offer["attempt_id"]])
    answer = worker.wait(held=[offer["attempt_id"]], session_id="a new one")
    assert answer.result(PROMPT_S).json["cancel"]


def test_a_newer_sync_ends_the_older_one_which_is_empty(world: World) -> None:
    worker = world.worker()
    older = worker.wait()
    newer = worker.wait()
    assert older.result(PROMPT_S).json["offers"] == []
    assert not newer.done()
    task_id = world.queued_task()
    assert [offer["task_id"] for offer in newer.result(PROMPT_S).json["offers"]] == [task_id]


def test_nobody_who_waits_holds_a_database_connection(world: World) -> None:
    workers = [world.worker(f"lab-{number}") for number in range(5)]
    answers = [worker.wait(wait_s=20) for worker in workers]
    until(lambda: len(long_poll.parked_workers()) >= 5)
    with world.app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    for worker, answer in zip(workers, answers, strict=True):
        worker.sync()
        answer.result(PROMPT_S)


def test_a_sync_waits_no_longer_than_it_was_asked_to(world: World) -> None:
    assert world.worker().wait(wait_s=0.1).result(PROMPT_S).json["offers"] == []


def test_the_server_never_waits_longer_than_its_own_setting(new_world: Callable[..., World]) -> None:
    world = new_world(sync_wait_s=0.1)
    assert world.worker().wait(wait_s=25).result(PROMPT_S).json["offers"] == []


def test_when_the_server_stops_parked_syncs_end_empty(world: World, stopping: None) -> None:
    answer = world.worker().wait()
    bus.stop()
    assert answer.result(PROMPT_S).json["offers"] == []


def test_a_sync_with_something_to_say_doesnt_wait(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    answer: Any = worker.wait(wait_s=20).result(PROMPT_S)
    assert [offer["task_id"] for offer in answer.json["offers"]] == [task_id]
    assert worker.wait(held=["nonsense"], wait_s=20).result(PROMPT_S).json["unknown"] == ["nonsense"]


def test_a_lost_wake_up_is_made_good_by_the_next_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "FLOOR_S", 0.1)
    monkeypatch.setattr(bus, "wake", lambda *topics: None)
    monkeypatch.setattr("webapp.tasks.service.wake_one", lambda wanted: None)
    worker = world.worker()
    answer = worker.wait()
    task_id = world.queued_task()
    assert [offer["task_id"] for offer in answer.result(PROMPT_S).json["offers"]] == [task_id]
