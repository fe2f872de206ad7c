"""Logs, tasks and audit entries go when they are old enough; nothing that hasn't ended ever does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.webapp.pages.forms import text_of
from tests.world import WorkerOf, World, at_once, later, problem
from webapp import clock
from webapp.auth import audit
from webapp.database import release
from webapp.housekeeping import Housekeeper
from webapp.tasks import retention

DAY = 24 * 3600
LOG = b"one\ntwo\nthree\n"


def ended_task(worker: WorkerOf, log: bytes = LOG, **wish: Any) -> dict[str, Any]:
    """A task that is over, with a log. Returns its offer."""
    offer = worker.world.running_task(worker, **wish)
    if log:
        assert worker.send_log(offer, log).status_code == 200
    assert worker.report(offer).status_code == 200
    return offer


def file_of(world: World, offer: dict[str, Any]) -> Path:
    attempt_id = str(offer["attempt_id"])
    return Path(world.app.instance_path) / "logs" / attempt_id[-2:] / f"{attempt_id}.gz"


@contextmanager
def inside(world: World) -> Iterator[None]:
    with world.app.app_context():
        yield
        release()


def remove_logs(world: World, days: int = 30) -> bool:
    with inside(world):
        return retention.remove_logs(days)


def remove_tasks(world: World, days: int = 180) -> bool:
    with inside(world):
        return retention.remove_tasks(days)


def sweep(world: World, days: int = 30) -> int:
    """Once around all folders."""
    with inside(world):
        found = retention.Sweep()
        return sum(found.step(days) for _ in range(retention.FOLDERS))


def mentions(world: World, word: str) -> set[str]:
    """The tables that say this anywhere, without the audit log, which has its own time."""
    tables = world.stored()
    return {
        name
        for name, rows in tables.items()
        if name != "audit_entries" and word in json.dumps(rows, default=str)
    }


# ---- logs


def test_an_old_log_goes_with_its_rows_and_its_file(world: World) -> None:
    offer = ended_task(world.worker())
    assert file_of(world, offer).exists()
    later(30 * DAY + 60)
    assert remove_logs(world) is False
    assert world.rows("log_chunks") == []
    assert not file_of(world, offer).exists()
    attempt = world.task(offer["task_id"])["attempts"][0]
    assert attempt["log_removed_at"] is not None
    assert attempt["log_size"] == len(LOG), "how much it was stays"


def test_a_younger_one_and_one_that_still_runs_stay(world: World) -> None:
    worker = world.worker(slots=5)
    running = world.running_task(worker)
    worker.send_log(running, LOG)
    later(40 * DAY)
    young = ended_task(worker)
    later(29 * DAY)
    with world.unchanged():
        remove_logs(world)
    assert world.log_of(running).data == world.log_of(young).data == LOG


def test_the_page_and_the_api_say_that_it_was_removed(world: World) -> None:
    offer = ended_task(world.worker())
    later(30 * DAY + 60)
    remove_logs(world)
    gone = problem(world.log_of(offer), 410, "log-gone")
    assert gone["detail"] == "Its log was removed after 30 days."
    problem(world.log_of(offer, Range="bytes=0-3"), 410, "log-gone")
    client = world.browser("viewer")
    page = client.get(f"/tasks/{offer['task_id']}")
    assert page.status_code == 200
    assert "Its log was removed after 30 days. It had 3 lines, 14 bytes." in text_of(page)
    assert 'id="log"' not in page.text
    kept = client.get(f"/tasks/{offer['task_id']}/log")
    assert kept.status_code == 410
    assert "removed after 30 days" in text_of(kept)
    live = client.get(
        f"/live?view=task&task={offer['task_id']}&attempt_id={offer['attempt_id']}&log_offset=0"
    )
    assert "removed after 30 days" in text_of(live)


def test_an_attempt_that_printed_nothing_lost_nothing(world: World) -> None:
    offer = ended_task(world.worker(), log=b"")
    later(40 * DAY)
    with world.unchanged():
        remove_logs(world)
    assert world.log_of(offer).data == b""


def test_batches_let_others_write_in_between_and_say_whether_there_is_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    offers = [ended_task(worker) for _ in range(5)]
    later(31 * DAY)
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "ROWS", 1)
    world.api_token("operator")
    submitted: list[Any] = []

    def while_it_works(paths: Any) -> None:
        submitted.extend(at_once(world.submit))
        unlink(paths)

    unlink = retention._unlink
    monkeypatch.setattr(retention, "_unlink", while_it_works)
    assert [remove_logs(world) for _ in range(4)] == [True, True, False, False]
    assert [answer.status_code for answer in submitted] == [201] * 5, (
        "one attempt a transaction, then somebody else"
    )
    assert not any(file_of(world, offer).exists() for offer in offers)
    assert world.rows("log_chunks") == []


def test_what_takes_long_is_divided() -> None:
    ids = ["a", "b", "c", "d"]
    assert list(retention._divided(ids, {"a": 4000, "b": 4000, "c": 20_000})) == [["a"], ["b"], ["c"], ["d"]]
    assert list(retention._divided(ids, {"a": 1, "b": 1, "c": 1, "d": 1})) == [ids]
    assert list(retention._divided([], {})) == []


def test_a_failure_before_the_commit_leaves_the_log_readable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = ended_task(world.worker())
    later(31 * DAY)

    def dies(_: Any) -> None:
        raise RuntimeError("the power goes out here")

    with monkeypatch.context() as patch, world.unchanged():
        patch.setattr(retention, "update", dies)
        with pytest.raises(RuntimeError):
            remove_logs(world)
    assert world.log_of(offer).data == LOG


def test_a_file_that_a_crash_left_behind_is_found_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    removed, kept = ended_task(worker), None
    later(31 * DAY)
    kept = ended_task(worker)

    def dies(_: Any) -> None:
        raise RuntimeError("the power goes out here")

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_unlink", dies)
        with pytest.raises(RuntimeError):
            remove_logs(world)
    assert file_of(world, removed).exists()
    assert world.rows("log_chunks")[0]["attempt_id"] == kept["attempt_id"]
    assert "was removed" in problem(world.log_of(removed), 410, "log-gone")["detail"]
    assert sweep(world) == 1
    assert not file_of(world, removed).exists()
    assert world.log_of(kept).data == LOG


def test_only_leftovers_are_swept(world: World) -> None:
    running = world.running_task(worker := world.worker())
    worker.send_log(running, LOG)
    folder = file_of(world, running).parent
    young = folder / f"00000000-0000-7000-8000-0000000000{folder.name}.gz"
    foreign = folder / "notes.txt"
    for file in (young, foreign):
        file.write_bytes(b"x")
    os.utime(foreign, (0, 0))
    os.utime(file_of(world, running), (0, 0))
    assert sweep(world) == 0
    os.utime(young, (0, 0))
    assert sweep(world) == 1
    assert sorted(folder.iterdir()) == sorted([foreign, file_of(world, running)])


def test_a_log_whose_file_is_missing_is_said_and_breaks_nothing(world: World) -> None:
    worker = world.worker()
    lost, whole = ended_task(worker), ended_task(worker)
    file_of(world, lost).unlink()
    assert problem(world.log_of(lost), 410, "log-gone")["detail"].startswith("The file of its log is missing")
    page = world.browser("viewer").get(f"/tasks/{lost['task_id']}")
    assert page.status_code == 200
    assert "The file of its log is missing on the server." in text_of(page)
    assert world.log_of(whole).data == LOG


# ---- tasks


def test_an_old_task_goes_with_all_that_was_kept_of_it(world: World) -> None:
    worker = world.worker()
    offer = ended_task(worker)
    assert mentions(world, offer["task_id"]) >= {"tasks", "attempts", "events", "streams"}
    later(180 * DAY + 60)
    assert remove_tasks(world) is False
    assert mentions(world, offer["task_id"]) == mentions(world, offer["attempt_id"]) == set()
    assert not file_of(world, offer).exists()
    assert world.browser("viewer").get(f"/tasks/{offer['task_id']}").status_code == 404
    assert world.api("viewer", "GET", "/tasks").json["items"] == []


def test_a_task_with_several_attempts_takes_all_their_logs(world: World) -> None:
    worker = world.worker()
    first = world.running_task(worker, retry_delay_s=0, retry_on=["exit_code"])
    worker.send_log(first, b"first\n")
    worker.report(first, "failed", failure_class="exit_code", exit_code=1)
    later(1)
    second = worker.take()
    worker.send_log(second, b"second\n")
    worker.report(second)
    later(181 * DAY)
    remove_tasks(world)
    assert not file_of(world, first).exists()
    assert not file_of(world, second).exists()
    assert world.rows("attempts") == world.rows("log_chunks") == world.rows("events") == []


def test_a_task_that_hasnt_ended_stays_however_old_it_is(world: World) -> None:
    worker = world.worker(slots=5)
    running, queued = world.running_task(worker), world.queued_task(labels={"gpu": None})
    later(5000 * DAY)
    with world.unchanged():
        remove_tasks(world)
        remove_logs(world)
    assert world.task(running["task_id"])["status"] == "running"
    assert world.task(queued)["status"] == "queued"


def test_tasks_of_every_organisation_go_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    others = world.other_organisation()
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "ROWS", 3)
    mine = world.worker()
    theirs = world.registered(join_token=world.join_token(organisation_id=others))
    for _ in range(2):
        submitted = world.api(
            "operator", "POST", "/tasks", others, json={"tool": "noop", "input": {}, "worker_id": theirs.id}
        )
        assert submitted.status_code == 201, submitted.json
        assert theirs.report(theirs.take()).status_code == 200
    for _ in range(2):
        ended_task(mine)
    later(181 * DAY)
    assert [remove_tasks(world) for _ in range(3)] == [True, True, False]
    assert world.rows("tasks") == world.rows("events") == world.rows("streams") == []


def test_the_page_of_a_retry_outlives_the_task_that_it_repeats(world: World) -> None:
    worker = world.worker()
    old = ended_task(worker)
    later(100 * DAY)
    made = world.api("operator", "POST", f"/tasks/{old['task_id']}/retry").json["id"]
    later(90 * DAY)
    remove_tasks(world)
    page = world.browser("viewer").get(f"/tasks/{made}")
    assert page.status_code == 200
    assert f"/tasks/{old['task_id']}" not in page.text
    assert f"{old['task_id'][:13]} removed since" in text_of(page)


def test_a_late_report_on_a_removed_task_is_refused_like_any_unknown_one(world: World) -> None:
    worker = world.worker()
    offer = ended_task(worker)
    later(181 * DAY)
    remove_tasks(world)
    problem(worker.report(offer, "failed"), 400, "not-assigned")
    problem(worker.send_log(offer, b"more\n", len(LOG)), 404, "not-found")
    assert not file_of(world, offer).exists()


# ---- the audit log


def test_old_audit_entries_go_in_batches_and_younger_ones_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "BATCH", 3)
    for _ in range(4):
        world.worker()
    old = len(world.rows("audit_entries"))
    assert old >= 4
    later(366 * DAY)
    world.worker("young")
    young = [row["id"] for row in world.audited("worker.approve")][-1]
    passes = 0
    with inside(world):
        while audit.remove_older(365):
            passes += 1
            assert passes < 100
    assert passes == old // 3
    left = world.rows("audit_entries")
    assert young in [row["id"] for row in left]
    assert {row["target"] for row in left} == {"young"}


# ---- the job


def due_in(housekeeper: Housekeeper, name: str) -> float:
    return next(job for job in housekeeper.jobs if job.name == name).due_at - clock.monotonic()


def test_the_job_runs_by_the_hour_and_soon_again_while_there_is_more(
    new_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world(retention_log_days=1, retention_task_days=10)
    monkeypatch.setattr(retention, "BATCH", 2)
    worker = world.worker()
    for _ in range(3):
        ended_task(worker)
    housekeeper = Housekeeper(world.app)
    later(2 * DAY)
    housekeeper.step()
    assert len(world.rows("log_chunks")) == 1
    assert due_in(housekeeper, "retention") <= 1
    later(1.5)
    housekeeper.step()
    assert world.rows("log_chunks") == []
    assert due_in(housekeeper, "retention") > 3000
    assert len(world.rows("tasks")) == 3
    later(10 * DAY)
    housekeeper.step()
    later(1.5)
    housekeeper.step()
    assert world.rows("tasks") == []


def test_what_is_kept_for_ever_stays(new_world: Callable[..., World]) -> None:
    world = new_world(retention_log_days=0, retention_task_days=0, retention_audit_days=0)
    offer = ended_task(world.worker())
    leftover = file_of(world, offer).with_name(
        f"00000000-0000-7000-8000-0000000000{offer['attempt_id'][-2:]}.gz"
    )
    leftover.write_bytes(b"x")
    later(5000 * DAY)
    kept = ("tasks", "attempts", "log_chunks", "events", "streams", "audit_entries")
    before = {name: world.rows(name) for name in kept}
    Housekeeper(world.app).step()
    assert {name: world.rows(name) for name in kept} == before
    assert leftover.exists()
    assert world.log_of(offer).data == LOG
