"""The list of tasks with a hundred thousand in it: every filter answers at once, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import insert, select

from tests.world import World
from webapp import clock
from webapp.database import new_id, release, run, run_many, table_of, transaction
from webapp.extensions import db
from webapp.tasks import listing
from webapp.tasks.listing import Filter
from webapp.tasks.models import Task

pytestmark = pytest.mark.timeout(240)

MANY = 100_000
AT_A_TIME = 5_000
# Of tasks, by this connection.
ROWS_READ = (
    "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'tasks'"
)
# Three pages of these are walked along an index. What has none looks at each task, at most once a page.
BY_INDEX = {
    "everything",
    "failed",
    "running, none",
    "common tool",
    "worker",
    "no such worker",
    "common label",
    "project",
    "no such project",
}
PROJECT = new_id()
_tasks = table_of(Task)


def ended_tasks(world: World, like: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One a minute until now. Every thousandth ran another tool, a tenth failed; every ten thousandth ran in a project, and
    asked for a gpu."""
    now: datetime = clock.now()
    for number in range(MANY):
        at = now - timedelta(minutes=MANY - number)
        is_rare = number % 10_000 == 0
        yield {
            **like,
            "id": new_id(),
            "name": f"backup of machine {number % 977}, number {number}",
            "tool": "noop" if number % 1000 == 0 else "shell",
            "placement_id": like["rare"] if is_rare else like["placement_id"],
            "project_id": PROJECT if is_rare else None,
            "status": "failed" if number % 10 == 0 else "completed",
            "created_at": at,
            "ended_at": at,
        }


def fill(world: World) -> str:
    """A hundred thousand tasks that have ended. Returns the worker that ran them."""
    worker = world.worker()
    world.queued_task(labels={"os": "linux"})
    world.queued_task(labels={"gpu": "a100"})
    with world.app.app_context():
        common, rare = run(select(_tasks).order_by(_tasks.c.id)).mappings().all()
        like = {**common, "worker_id": worker.id, "rare": rare["placement_id"]}
        rows = [
            {name: value for name, value in row.items() if name != "rare"} for row in ended_tasks(world, like)
        ]
        for start in range(0, MANY, AT_A_TIME):
            with transaction():
                run_many(insert(_tasks), rows[start : start + AT_A_TIME])
        if db.engine.dialect.name == "postgresql":
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE tasks")  # as autovacuum would
        release()
    return worker.id


def filters(worker_id: str, newest: str) -> dict[str, tuple[Filter, int]]:
    """{what: (filter, how many of the first page it finds)}"""
    hour, day = clock.now() - timedelta(minutes=65), clock.now() - timedelta(days=1)
    return {
        "everything": (Filter(), 50),
        "failed": (Filter("failed"), 50),
        "running, none": (Filter("running"), 0),
        "waiting": (Filter("waiting"), 2),
        "common tool": (Filter(tool="shell"), 50),
        "rare tool": (Filter(tool="noop"), 50),
        "no such tool": (Filter(tool="nothing"), 0),
        "worker": (Filter(worker_id=worker_id), 50),
        "no such worker": (Filter(worker_id="nobody"), 0),
        "rare words": (Filter(q="NUMBER 77777"), 1),
        "no such words": (Filter(q="no such words"), 0),
        "words among completed": (Filter("completed", q="no such words"), 0),
        "id": (Filter(q=newest), 1),
        "last hour": (Filter(since=hour), 50),
        "last hour, failed": (Filter("failed", since=hour), 6),
        "last day, no such words": (Filter(since=day, q="no such words"), 0),
        "common label": (Filter(label="os=linux"), 50),
        "rare label": (Filter(label="gpu"), 11),
        "no such label": (Filter(label="nothing"), 0),
        "project": (Filter(project_id=PROJECT), 10),
        "no such project": (Filter(project_id="nothing"), 0),
        "rare label, failed": (Filter("failed", label="gpu=a100"), 10),
    }


def work_of(act: Callable[[], Any]) -> tuple[int, Any]:
    """(what the database had to do for it, what it gave). On SQLite in thousands of its steps; on PostgreSQL in rows of
    tasks that were read. Neither depends on what else this machine does."""
    release()
    connection = db.session.connection()
    if db.engine.dialect.name == "postgresql":
        before, given = connection.exec_driver_sql(ROWS_READ).scalar_one(), act()
        return int(connection.exec_driver_sql(ROWS_READ).scalar_one() - before), given
    steps = count(1)
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(lambda: next(steps) < 0, 1000)
    given = act()
    driver.set_progress_handler(None, 0)
    return next(steps), given


def most(what: str) -> int:
    """Of the work of three pages."""
    if db.engine.dialect.name == "postgresql":
        return 2000 if what in BY_INDEX else 3 * MANY + 100
    return 50 if what in BY_INDEX else 5000


@pytest.mark.slow
def test_every_filter_answers_at_once_among_a_hundred_thousand(world: World) -> None:
    worker_id = fill(world)
    here = world.organisation_id
    with world.app.app_context():
        newest = listing.newest_id(here) or ""
        middle = run(select(_tasks.c.id).order_by(_tasks.c.id).limit(1).offset(MANY // 2)).scalar_one()
        much = {}
        for what, (wanted, rows) in filters(worker_id, newest).items():
            work, page = work_of(lambda wanted=wanted: listing.page(here, wanted, 50))
            assert len(page.rows) == rows, what
            work += work_of(lambda wanted=wanted: listing.page(here, wanted, 50, after=middle))[0]
            work += work_of(lambda wanted=wanted: listing.page(here, wanted, 50, before=middle))[0]
            if work > most(what):
                much[what] = work
        release()
    assert much == {}


@pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
def test_no_list_is_sorted_and_none_is_read_without_an_index(world: World) -> None:
    """Each walks an index from its end, and stops when the page is full."""
    worker = world.worker()
    task_id = world.queued_task()
    with world.app.app_context(), db.engine.connect() as connection:
        for what, (wanted, _) in filters(worker.id, task_id).items():
            query = listing._filtered(select(Task), world.organisation_id, wanted)
            query = query.where(Task.id < task_id).order_by(Task.id.desc()).limit(51)
            said = query.compile(db.engine, compile_kwargs={"literal_binds": True})
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}")]
            [of_tasks] = [step for step in plan if " tasks " in f"{step} "]
            assert "SEARCH tasks USING INDEX" in of_tasks, f"{what}: {plan}"
            assert not any("ORDER BY" in step for step in plan), f"{what}: {plan}"
