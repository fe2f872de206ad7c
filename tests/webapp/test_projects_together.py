"""Many projects at once: whoever locks several of them takes them in the same order, and nobody waits in a ring."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from tests.projects import clone, cloned, finish, git_worker
from tests.world import WorkerOf, World, at_once
from webapp.database import release
from webapp.extensions import db
from webapp.projects import deliveries, listing
from webapp.tasks import reports


def pulling_everywhere(world: World, project_ids: list[str], workers: list[WorkerOf]) -> list[Any]:
    """Each worker pulls all of these, and says nothing of it: so the end of each task does, under its project's lock.
    Returns each one's offers, by project.
    """
    for project_id in project_ids:
        assert world.api("operator", "POST", f"/projects/{project_id}/pull").status_code == 202
    found = []
    for worker in workers:
        offers = {offer["data"]["project"]["id"]: offer for offer in worker.sync().json["offers"]}
        assert set(offers) == set(project_ids)
        worker.sync([offer["attempt_id"] for offer in offers.values()], accepting=False)
        found.append(offers)
    return found


def reported(offer: dict[str, Any]) -> dict[str, Any]:
    ids = {"task_id": offer["task_id"], "attempt_id": offer["attempt_id"]}
    return {**ids, "status": "failed", "failure_class": "exit_code", "exit_code": 1, "execution_time_ms": 1}


def test_two_workers_that_report_the_same_projects_in_opposite_order_dont_wait_for_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [git_worker(world), git_worker(world, "lab-02")]
    project_ids = []
    for name in ("app", "docs"):
        project_ids.append(cloned(world, workers[0], name=name))
        clone(world, workers[1], name=name)
        finish(world, workers[1], project_ids[-1])
    offers = pulling_everywhere(world, project_ids, workers)
    met, settle = threading.Barrier(2), reports.settle

    def settle_then_wait(*args: Any) -> Any:
        done = settle(*args)
        # Both have ended one, and now each wants the other's. Who is kept out never comes.
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(2)
        return done

    monkeypatch.setattr(reports, "settle", settle_then_wait)
    orders = [project_ids, project_ids[::-1]]
    answers = at_once(
        *(
            lambda worker=worker, mine=mine, order=order: worker.sync(
                accepting=False, reports=[reported(mine[project_id]) for project_id in order]
            )
            for worker, mine, order in zip(workers, offers, orders, strict=True)
        )
    )
    assert [answer.status_code for answer in answers] == [200, 200], [answer.json for answer in answers]
    said = [row["new_status"] for answer in answers for row in answer.json["reported"]]
    assert said == ["failed"] * 4
    assert {row["status"] for row in world.rows("checkouts")} == {"active"}


@pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
def test_the_few_that_are_asked_for_again_and_again_are_found_by_an_index(world: World) -> None:
    with world.app.app_context():
        with world.statements() as said:
            listing.asks(world.organisation_id)
            deliveries.pull_waiting()
            release()
        with db.engine.connect() as connection:
            for name in ("error", "pull_wished"):
                plans = [
                    str(
                        connection.exec_driver_sql(
                            f"EXPLAIN QUERY PLAN {each}", ("",) * each.count("?")
                        ).all()
                    )
                    for each in said
                    if each.startswith("SELECT") and "checkouts" in each
                ]
                assert any(f"ix_checkouts_{name}" in plan for plan in plans), plans
