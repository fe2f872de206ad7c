"""Workers that nobody has seen for long are archived: out of the way, and back by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.webapp.pages.forms import press, text_of
from tests.webapp.pages.test_workers import rows
from tests.world import WorkerOf, World, later
from webapp.workers import presence

DAY_S = 24 * 3600


def unseen(world: World, name: str = "attic", **said: Any) -> WorkerOf:
    """One that was seen last a little more than 30 days ago."""
    worker = world.worker(name, **said)
    worker.sync()
    later(30 * DAY_S + 60)
    return worker


def status(world: World, worker: WorkerOf) -> str:
    return str(world.api("viewer", "GET", f"/workers/{worker.id}").json["shown_status"])


def test_after_thirty_days_it_is_archived_and_comes_back_when_it_calls(world: World) -> None:
    worker = world.worker()
    worker.sync()
    later(30 * DAY_S - 60)
    assert status(world, worker) == "offline"
    later(120)
    assert status(world, worker) == "archived"
    task_id = world.queued_task()
    assert worker.take()["task_id"] == task_id
    assert status(world, worker) == "busy"


def test_it_is_out_of_the_list_unless_somebody_asks_for_it(world: World) -> None:
    unseen(world, "attic", labels={"site": "attic"})
    world.worker("lab-01").sync()
    client = world.browser("viewer")
    page = client.get("/workers")
    assert rows(page) == ["lab-01"]
    assert "1 worker 0 of 2 slots in use 1 archived: not seen for 30 days" in text_of(page)
    assert rows(client.get("/workers?label=site%3Dattic")) == []
    archived = client.get("/workers?status=archived")
    assert rows(archived) == ["attic"]
    assert "Archived" in text_of(archived)


def test_where_all_are_archived_the_list_says_so(world: World) -> None:
    unseen(world)
    assert "None was seen lately" in text_of(world.browser("viewer").get("/workers"))


def test_nothing_else_counts_or_names_it(world: World) -> None:
    worker = unseen(world, "attic")
    world.worker("lab-01", tools=["other"]).sync()
    task_id = world.queued_task()
    assert [row["worker"] for row in world.task(task_id)["waiting"]] == ["lab-01"]
    board = text_of(world.browser("viewer").get("/"))
    assert "attic" not in board
    assert "Workers online 1 of 1" in board
    for path in ("/tasks", "/tasks/new"):
        assert ">attic<" not in world.browser("operator").get(path).text, path
    # A task that names it waits for it and for nothing else: there it is said.
    named = world.submit(worker_id=worker.id).json["id"]
    [row] = [row for row in world.task(named)["waiting"] if row["worker"] == "attic"]
    assert row["reason"] == "Doesn’t answer"


def test_one_that_never_called_is_archived_by_its_age(world: World) -> None:
    worker = world.worker()
    presence.forget(worker.id)
    assert status(world, worker) == "offline"
    later(31 * DAY_S)
    assert status(world, worker) == "archived"


def test_one_that_waits_or_may_not_work_isnt(world: World) -> None:
    pending, revoked = world.registered("new"), world.worker("old")
    press(world.browser("admin"), f"/workers/{revoked.id}/revoke")
    later(31 * DAY_S)
    assert [status(world, worker) for worker in (pending, revoked)] == ["pending", "revoked"]


@pytest.mark.parametrize(("days", "shown"), [(0, "offline"), (3, "archived")])
def test_the_time_is_a_setting_and_zero_is_never(
    new_world: Callable[..., World], days: int, shown: str
) -> None:
    world = new_world(archive_after_days=days)
    worker = world.worker()
    worker.sync()
    later(4 * DAY_S)
    assert status(world, worker) == shown
