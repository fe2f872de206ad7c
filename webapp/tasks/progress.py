"""What a worker says of an attempt that goes on: log chunks and progress."""

from dataclasses import dataclass
from typing import Any

from flask import current_app
from sqlalchemy import Row, update

from garageswarm.events import StepProgress
from webapp import failpoints
from webapp.database import after_commit, release, run, transaction
from webapp.errors import Conflict, LeaseLost, NotFound
from webapp.live import events
from webapp.live.bus import bus, task_topic
from webapp.tasks import logs, queue, statements
from webapp.tasks.holes import Span
from webapp.tasks.models import Attempt, Task
from webapp.tasks.schemas import StatusUpdate


@dataclass(frozen=True)
class Saved:
    """`cancel`: a person wants this attempt to end."""

    next_offset: int
    saved_bytes: int
    cancel: bool


def save_chunk(
    worker_id: str, task_id: str, attempt_id: str, offset: int, data: bytes, dropped: Span | None = None
) -> Saved:
    """Append to the attempt's log; a sign of life as well. What is stored already is skipped.

    `dropped`: what the agent leaves out before these bytes. Raises LogGap for bytes that don't follow, TooLarge for more
    than is kept of a log, LeaseLost for an attempt that has ended.
    """
    lease_s = current_app.config["SETTINGS"].lease_s
    _own(worker_id, task_id, attempt_id)
    release()
    with logs.writing([attempt_id]):
        attempt = _own(worker_id, task_id, attempt_id)
        if attempt.ended_at is not None:
            raise LeaseLost
        staged = logs.stage(logs.end_of(attempt), offset, data, dropped)
        if staged:
            with transaction():
                if attempt.status == "assigned":
                    queue.start(task_id, attempt_id)
                logs.commit(staged, lease_s)
                failpoints.reach("chunk.before-commit")
                after_commit(lambda: failpoints.reach("chunk.after-commit"))
                after_commit(lambda: bus.wake(task_topic(task_id)))
        elif queue.has_aged(attempt.lease_expires_at, lease_s):
            with transaction():  # nothing new, but a sign of life
                queue.renew(worker_id, [attempt_id], lease_s)
    log_size, saved = (staged.log_size, staged.size) if staged else (attempt.log_size, 0)
    return Saved(log_size, saved, attempt.cancel_requested_at is not None)


def _own(worker_id: str, task_id: str, attempt_id: str) -> Row[Any]:
    attempt = run(statements.REPORTED, attempt_id=attempt_id).first()
    if attempt is None or attempt.worker_id != worker_id or attempt.id != task_id:
        raise NotFound("This worker has no such attempt.")
    return attempt


def update_status(worker_id: str, task_id: str, said: StatusUpdate) -> bool:
    """Store the stage and the progress, as an event too. Returns whether the attempt is to be cancelled.

    Raises Conflict when the attempt has ended: a status can't move backwards.
    """
    _own(worker_id, task_id, said.attempt_id)
    with transaction() as session:
        queue.start(task_id, said.attempt_id)
        shown = {"progress": said.progress} if said.progress is not None else {}
        words = said.message or said.step or said.stage
        task = session.execute(
            update(Task)
            .where(Task.id == task_id, Task.attempt_id == said.attempt_id, Task.ended_at.is_(None))
            .values(summary=words or Task.summary, **shown)
            .returning(Task.organisation_id, Task.project_id, Task.cancel_requested_at)
        ).first()
        if task is None:
            raise Conflict("This attempt has ended: its status can't change any more.")
        if said.stage:
            session.execute(update(Attempt).where(Attempt.id == said.attempt_id).values(stage=said.stage))
        event = StepProgress(
            task_id,
            said.step_id,
            said.step or said.stage,
            said.status or "running",
            said.message,
            said.progress,
        )
        events.record([event], task.organisation_id, task.project_id)
    return task.cancel_requested_at is not None
