"""How many tasks ended, and how long they took: hour by hour, right and cheap."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from tests.world import World, later
from webapp import clock
from webapp.database import new_id, release, transaction
from webapp.extensions import db
from webapp.tasks import placements, throughput
from webapp.tasks.models import Task
from webapp.tasks.rules import Wanted
from webapp.tasks.throughput import DAY, WEEK, Ended, Whose

BATCH = 5000


def ended_tasks(world: World, *tasks: dict[str, Any], worker_id: str | None = None) -> None:
    """Rows as they are left behind: `ago_s`, and `took_s` where it ran at all."""
    now = clock.now()
    with world.app.app_context(), transaction() as session:
        placement_id = placements.ensure(Wanted(world.organisation_id, "shell", {}, None, False))
        common = {
            "organisation_id": world.organisation_id,
            "name": "made",
            "tool": "shell",
            "input": {},
            "placement_id": placement_id,
            "timeout_s": 1,
            "queue_timeout_s": 1,
            "max_retries": 0,
            "retry_delay_s": 1,
            "retry_on": [],
            "on_lost": "fail",
            "submitted_by": "tests",
            "priority": 0,
            "attempts_made": 1,
            "worker_id": worker_id,
            "status": "completed",
        }
        rows = [{**common, "id": new_id(), **_times(now, dict(task))} for task in tasks]
        for start in range(0, len(rows), BATCH):
            session.execute(insert(Task), rows[start : start + BATCH])
    with world.app.app_context():
        release()


def _times(now: Any, task: dict[str, Any]) -> dict[str, Any]:
    ended = now - timedelta(seconds=task.pop("ago_s"))
    took = task.pop("took_s", None)
    started = None if took is None else ended - timedelta(seconds=took)
    return {**task, "created_at": started or ended, "started_at": started, "ended_at": ended}


def columns(world: World, hours: int = DAY, each: int = 1) -> list[throughput.Column]:
    with world.app.app_context():
        try:
            return throughput.columns(Whose("organisation", world.organisation_id), hours, each)
        finally:
            release()


def whole(world: World, hours: int = DAY) -> Ended:
    return throughput.whole(columns(world, hours))


# ---- deciding


def test_the_median_is_what_half_stayed_within() -> None:
    ended = Ended(took=Counter({100: 1, 200: 1, 300: 1, 10_000: 1, 20_000: 1}))
    assert ended.took_s(0.5) == 0.3
    assert ended.took_s(0.95) == 20.0
    assert Ended().took_s(0.5) is None


@pytest.mark.parametrize(
    ("completed", "failed", "percent"), [(1, 0, 100), (1999, 1, 99.9), (0, 3, 0), (2, 1, 66.6)]
)
def test_a_hundred_percent_means_all(completed: int, failed: int, percent: float) -> None:
    assert Ended(completed, failed).success_percent == percent


# ---- counting


def test_what_ended_is_counted_where_it_ended(world: World) -> None:
    ended_tasks(
        world,
        {"ago_s": 10, "took_s": 2},
        {"ago_s": 20, "took_s": 4, "status": "failed"},
        {"ago_s": 30, "took_s": 9, "status": "cancelled"},
        {"ago_s": 5 * 3600, "took_s": 100},
        {"ago_s": 5 * 3600, "status": "failed"},  # never began
        {"ago_s": 25 * 3600, "took_s": 1},
    )
    day, week = whole(world), whole(world, WEEK)
    assert (day.completed, day.failed, day.count) == (2, 2, 4)
    assert sorted(day.took.elements()) == [2000, 4000, 100_000]
    assert (week.completed, week.failed) == (3, 2)
    assert sum(column.ended.count > 0 for column in columns(world)) in (2, 3)  # an hour may begin meanwhile
    by_six = columns(world, WEEK, 6)
    assert len(by_six) == 28
    assert throughput.whole(by_six).count == 5


@pytest.mark.parametrize(
    ("took_s", "kept_ms"),
    [(0.0, 0), (0.099, 99), (0.123, 120), (1.999, 1900), (38.4, 38_000), (86_399, 86_000_000)],
)
def test_a_duration_is_kept_to_two_digits(world: World, took_s: float, kept_ms: int) -> None:
    ended_tasks(world, {"ago_s": 5, "took_s": took_s})
    assert list(whole(world).took) == [kept_ms]


def test_others_and_other_workers_arent_counted(world: World) -> None:
    worker, other = world.worker("a"), world.worker("b")
    for each in (worker, worker, other):
        ended_tasks(world, {"ago_s": 5, "took_s": 1}, worker_id=each.id)
    others = world.other_organisation()
    with world.app.app_context():
        found = throughput.whole(throughput.columns(Whose("worker", worker.id), WEEK))
        theirs = throughput.whole(throughput.columns(Whose("organisation", others), WEEK))
        release()
    assert (found.completed, theirs.count) == (2, 0)


# ---- at what cost


def test_hours_that_are_over_are_asked_for_once(world: World) -> None:
    ended_tasks(world, *({"ago_s": hours * 3600, "took_s": hours} for hours in range(0, 160, 5)))
    first = whole(world, WEEK)
    with world.statements() as said:
        assert whole(world, WEEK) == first
        assert whole(world).count == 5
    assert sum("GROUP BY" in each for each in said) == 2
    ended_tasks(world, {"ago_s": 1, "took_s": 1})
    assert whole(world, WEEK).completed == first.completed + 1


def test_what_is_committed_a_little_after_its_hour_is_counted(world: World) -> None:
    now = clock.now()
    later(3600 - now.minute * 60 - now.second + 30)  # half a minute into an hour
    assert whole(world).count == 0
    ended_tasks(world, {"ago_s": 60, "took_s": 1})
    assert whole(world).count == 1


def test_the_window_moves_on(world: World) -> None:
    ended_tasks(world, {"ago_s": 1, "took_s": 1})
    assert whole(world, WEEK).count == 1
    later(3 * 3600)
    assert [column.ended.count for column in columns(world)][-4:] == [1, 0, 0, 0]
    later((WEEK - 2) * 3600)
    assert whole(world, WEEK).count == 0


@pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
def test_queries_read_only_what_they_show(world: World) -> None:
    """By SQLite's own account: each goes through an index that holds just that."""
    whole(world)
    worker = world.worker()
    world.queued_task(labels={"gpu": "none-has-this"})
    client = world.browser("viewer")
    wanted = {
        "/": ("ix_tasks_ended", "ix_tasks_failed", "ix_tasks_queue (placement_id=?)"),
        f"/workers/{worker.id}": ("ix_tasks_worker_ended", "sqlite_autoindex_worker_vitals_1"),
    }
    for path, indexes in wanted.items():
        with world.statements() as said:
            assert client.get(path).status_code == 200
        plans = [
            plan for each in said if each.startswith(("SELECT", "WITH")) for plan in explained(world, each)
        ]
        assert not [plan for plan in plans if "SCAN tasks" in plan and "INDEX" not in plan]
        assert not [plan for plan in plans if plan.startswith(("SCAN attempts", "SCAN worker_vitals"))]
        for index in indexes:
            assert any(index in plan for plan in plans), (index, plans)


def explained(world: World, statement: str) -> list[str]:
    with world.app.app_context(), db.engine.connect() as connection:
        values = tuple("x" for _ in range(statement.count("?")))
        found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        return [str(row.detail) for row in found]
