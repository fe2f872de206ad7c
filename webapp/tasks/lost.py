"""Attempts that nobody renews: unreachable first, then lost. And tasks that nobody took in time."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, and_, cast, func, or_, select

from webapp import clock
from webapp.clock import sql_now
from webapp.database import run, transaction
from webapp.extensions import db
from webapp.tasks import placements, queue, statements
from webapp.tasks.ending import Ending, end_attempt, end_queued
from webapp.tasks.models import Attempt, Task
from webapp.workers.models import Worker

REQUEUE_AFTER_LEASE_S = 10
BATCH = 500


def end_lost(lease_s: float, lost_after_s: float) -> int:
    """Decide the attempts whose worker has been away too long. Returns how many.

    The lease began `lease_s` before it expires: that is when the worker was last heard of.
    """
    patience = lost_after_s - lease_s
    query = (
        select(Attempt.id, Attempt.worker_name, Attempt.lease_expires_at)
        .join(Task, Task.id == Attempt.task_id)
        .where(
            Attempt.ended_at.is_(None),
            or_(
                and_(Task.on_lost == "requeue", Attempt.lease_expires_at < sql_now(-REQUEUE_AFTER_LEASE_S)),
                and_(Task.on_lost == "fail", Attempt.lease_expires_at < sql_now(-patience)),
            ),
        )
    )
    lost = db.session.execute(query.limit(BATCH)).all()
    for row in lost:
        with transaction():
            _lose(row.id, f"{row.worker_name} stopped answering and its lease ended", row.lease_expires_at)
    return len(lost)


def _lose(attempt_id: str, why: str, lease_end: datetime | None = None) -> None:
    """A cancel that was asked for takes effect now; else the task's policy decides in `end_attempt`.

    `lease_end`: the one that was found to be over. Nothing happens where its worker has come back since then.
    """
    task = run(statements.REPORTED_LOCKED, attempt_id=attempt_id).first()
    if (
        task is None
        or task.current_attempt_id != attempt_id
        or task.task_status not in ("assigned", "running")
        or lease_end not in (None, task.lease_expires_at)
    ):
        return
    if task.cancel_requested_at is not None:
        end_attempt(task, Ending("cancelled", error=why))
    else:
        end_attempt(task, Ending("failed", "worker_lost", why))


def release_worker(worker: Worker) -> None:
    """A worker's right to work has ended: so have its leases."""
    # By project, as a sync ends them: of git's tasks each end locks one.
    held_by_project = sorted(
        queue.held_by(worker.id), key=lambda held: placements.wanted(held.placement_id).project_id or ""
    )
    for held in held_by_project:
        _lose(held.attempt_id, f"{worker.name} was revoked")


def end_waited_too_long() -> int:
    """End queued tasks after `queue_timeout_s`, counted anew from when a next try is due. Returns how many."""
    since = func.coalesce(Task.not_before, Task.created_at)
    # 64 bits: a year in milliseconds doesn't fit in PostgreSQL's integer.
    deadline = since + cast(Task.queue_timeout_s, BigInteger) * 1000
    query = select(Task.id, Task.queue_timeout_s).where(Task.status == "queued")
    late = db.session.execute(query.where(deadline < clock.to_ms(clock.now())).limit(BATCH)).all()
    for row in late:
        waited = timedelta(seconds=row.queue_timeout_s)
        ending = Ending("failed", "queue_timeout", f"no worker took it within {waited}")
        with transaction():
            end_queued(row.id, ending)
    return len(late)
