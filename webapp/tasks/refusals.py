"""Offers that a machine's owner doesn't allow there: given back, and not made to that worker again."""

from typing import Any

from sqlalchemy import Row, bindparam, delete, select, text, update

from garageswarm.events import TaskQueued
from webapp import clock
from webapp.database import after_commit, run
from webapp.errors import LeaseLost
from webapp.extensions import db
from webapp.live import events
from webapp.live.bus import bus, worker_topic
from webapp.tasks import dispatch, known_projects, locks, placements, statements
from webapp.tasks.ending import Ending, end_attempt
from webapp.tasks.models import Refusal
from webapp.tasks.schemas import Report
from webapp.tasks.service import makers
from webapp.tasks.statements import refusals, workers
from webapp.workers.models import Worker

MAX_RULE = 500

_NOTE = text(
    "INSERT INTO refusals (task_id, worker_id, rule, refused_at) VALUES (:task_id, :worker_id, :rule, :refused_at) "
    "ON CONFLICT (task_id, worker_id) DO UPDATE SET rule = excluded.rule, refused_at = excluded.refused_at"
)
_MARK = update(workers).where(workers.c.id == bindparam("refused_by")).values(has_refused=True)
_FORGET = delete(refusals).where(refusals.c.worker_id == bindparam("of_worker_id"))


def is_refusal(report: Report | None) -> bool:
    return report is not None and (report.status, report.failure_class) == ("failed", "refused")


def is_known(task_id: str, worker_id: str) -> bool:
    return db.session.get(Refusal, (task_id, worker_id)) is not None


def rules_of(task_id: str) -> dict[str, str]:
    """{worker_id: whose rule it was, in its agent's words}"""
    rows = db.session.execute(select(Refusal.worker_id, Refusal.rule).where(Refusal.task_id == task_id))
    return {row.worker_id: row.rule for row in rows}


def release(task: Row[Any], report: Report, digest: str) -> str:
    """Give back an attempt that its worker's owner doesn't allow: as if it had never been made. Returns the new status.

    `task` is `statements.REPORTED_LOCKED`, and the worker is locked. Raises LeaseLost like `end_attempt`.
    """
    if task.cancel_requested_at is not None:
        ending = Ending("cancelled", error="cancelled before it began", report_digest=digest)
        return end_attempt(task, ending)
    rule = (report.error or "no reason given")[:MAX_RULE]
    if placements.wanted(task.placement_id).tool in makers:  # bound to this worker, and a person waits for it
        return end_attempt(task, Ending("failed", "refused", rule, report_digest=digest))
    if known_projects.is_gone(task.project_id):
        return end_attempt(task, Ending("failed", "missing", "its project was deleted", report_digest=digest))
    moved = run(statements.RELEASE, of_attempt_id=task.attempt_id, task_id=task.id)
    forgotten = run(statements.FORGET_ATTEMPT, of_attempt_id=task.attempt_id)
    if not (moved.rowcount and forgotten.rowcount):
        raise LeaseLost
    at = clock.to_ms(clock.now())
    run(_NOTE, task_id=task.id, worker_id=task.worker_id, rule=rule, refused_at=at)
    run(_MARK, refused_by=task.worker_id)
    locks.give_back(task.attempt_id)
    queued = TaskQueued(task.id, task.name, task.attempts_made, task.input)
    events.record([queued], task.organisation_id, task.project_id)
    after_commit(dispatch.wake_for_queue)
    after_commit(lambda: bus.wake(worker_topic(task.worker_id)))
    return "queued"


def forget(worker: Worker) -> None:
    """Its owner allows something else now: all that was refused may be offered again."""
    run(_FORGET, of_worker_id=worker.id)
    worker.has_refused = False
    after_commit(dispatch.wake_for_queue)
