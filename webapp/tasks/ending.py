"""How an attempt ends and what becomes of its task: the one place where a task reaches a terminal state."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, update

from garageswarm.events import TaskCancelled, TaskCompleted, TaskEvent, TaskFailed, TaskQueued, TaskStarted
from webapp import clock
from webapp.database import after_commit, run
from webapp.errors import LeaseLost
from webapp.live import events
from webapp.live.bus import bus, worker_topic
from webapp.tasks import dispatch, known_projects, locks, placements, quarantine, statements
from webapp.tasks.models import Task
from webapp.tasks.rules import INFRASTRUCTURE, Outcome, RetryPolicy, next_retry_at

# Filled by create_app with what higher domains do when a task has ended for good, in the same transaction.
after_finish: list[Callable[[str], None]] = []
# The same for tasks of a project: the many others cost nothing.
after_finish_in_project: list[Callable[[str], None]] = []


@dataclass(frozen=True)
class Ending:
    """What is known of an attempt's end. `failure_class` only where the outcome is failed."""

    outcome: Outcome
    failure_class: str | None = None
    error: str | None = None
    exit_code: int | None = None
    execution_time_ms: int | None = None
    result: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    report_digest: str | None = None

    @property
    def output(self) -> str | None:
        return (self.result or {}).get("output")

    @property
    def blames_machine(self) -> bool:
        """Whether it tells against the worker. What the server ended for reasons of its own (a missing key) doesn't."""
        return (self.is_told or self.failure_class == "worker_lost") and self.failure_class in INFRASTRUCTURE

    @property
    def speaks_for_machine(self) -> bool:
        """Whether the worker did as it should, with whatever outcome. What the server ended says nothing of it."""
        is_about_task = self.outcome != "cancelled" and self.failure_class not in INFRASTRUCTURE
        return self.is_told and is_about_task

    @property
    def is_told(self) -> bool:
        """Its worker has reported it."""
        return self.report_digest is not None

    @property
    def summary(self) -> str | None:
        """One line for lists."""
        if self.outcome == "failed":
            return (self.error or self.failure_class or "failed")[:1000]
        lines = [line.strip() for line in (self.output or "").splitlines() if line.strip()]
        return (lines[-1] if lines else self.error or "")[:1000] or None


def end_attempt(task: Row[Any], ending: Ending) -> str:
    """End the attempt, and with it the task, or queue it again where its policy says so. Returns the task's new status.

    `task` is `statements.REPORTED_LOCKED`. Raises LeaseLost when the attempt isn't the task's current one any more: the
    first to end it has won.
    """
    now = clock.now()
    retry_at = _retry_at(task, ending, now)
    if retry_at and known_projects.is_gone(task.project_id):
        retry_at, ending = None, replace(ending, error=_without_project(ending.error))
    new_status = "queued" if retry_at else ending.outcome
    began_at = _began_at(ending, task.created_at, now)
    ids = {"of_attempt_id": task.attempt_id, "task_id": task.id}
    moved = run(
        statements.QUEUE_AGAIN if retry_at else statements.END_TASK,
        **ids,
        summary=ending.summary,
        **(
            {"retry_at": retry_at}
            if retry_at
            else {"outcome": ending.outcome, "at": now, "began_at": began_at}
        ),
    )
    ended = run(
        statements.END_ATTEMPT,
        of_attempt_id=task.attempt_id,
        at=now,
        began_at=began_at,
        new_status=new_status,
        **asdict(ending),
    )
    if not (moved.rowcount and ended.rowcount):
        raise LeaseLost
    if placements.wanted(task.placement_id).locks and locks.give_back(task.attempt_id):
        after_commit(dispatch.wake_for_queue)
    _judge_worker(task, ending)
    happened = [] if task.status == "running" else [TaskStarted(task.id, task.name, task.number)]
    _tell(task, new_status, [*happened, _event(task, new_status, ending)])
    after_commit(lambda: bus.wake(worker_topic(task.worker_id)))
    return new_status


def _without_project(error: str | None) -> str:
    return ". ".join(filter(None, [error, "It isn’t tried again: its project was deleted"]))


def _began_at(ending: Ending, given_at: datetime, now: datetime) -> datetime:
    """For an attempt that never said when: by how long it took, but not before it was given out, whatever the agent says."""
    took = timedelta(milliseconds=ending.execution_time_ms or 0)
    return now - min(took, max(now - given_at, timedelta(0)))


def _judge_worker(task: Row[Any], ending: Ending) -> None:
    """Failures in a row set a machine aside. After the commit: the worker's row is locked before a task's elsewhere."""
    if ending.blames_machine:
        after_commit(lambda: quarantine.note(task.worker_id, task.id))
    elif task.failures_in_row and ending.speaks_for_machine:
        after_commit(lambda: quarantine.note(task.worker_id, None))


def _retry_at(task: Row[Any], ending: Ending, now: datetime) -> datetime | None:
    if ending.outcome != "failed" or task.cancel_requested_at is not None:
        return None
    # Asking for a lost worker's task to be queued again is asking for that retry.
    causes = [*task.retry_on, "worker_lost"] if task.on_lost == "requeue" else task.retry_on
    policy = RetryPolicy(task.max_retries, task.retry_delay_s, tuple(causes))
    return next_retry_at(task.attempts_made, ending.failure_class, policy, now)


def _tell(task: Row[Any], new_status: str, happened: list[TaskEvent]) -> None:
    events.record(happened, task.organisation_id, task.project_id)
    if new_status != "queued":
        for hook in [*after_finish, *(after_finish_in_project if task.project_id else [])]:
            hook(task.id)


def _event(task: Row[Any], new_status: str, ending: Ending) -> TaskEvent:
    duration_ms = ending.execution_time_ms or 0
    if new_status == "queued":
        return TaskQueued(task.id, task.name, task.attempts_made + 1, task.input)
    if new_status == "cancelled":
        return TaskCancelled(task.id, task.name, task.attempts_made)
    if new_status == "completed":
        return TaskCompleted(task.id, task.name, ending.output, duration_ms)
    error = ending.error or "failed"
    return TaskFailed(
        task.id, task.name, ending.output, duration_ms, error, ending.failure_class or "agent_error"
    )


def end_queued(task_id: str, ending: Ending) -> bool:
    """End a task that nobody runs. False when it was taken or ended a moment ago."""
    values = {"status": ending.outcome, "ended_at": clock.now(), "not_before": None, "summary": ending.error}
    task = run(
        update(statements.tasks)
        .where(Task.id == task_id, Task.status == "queued")
        .values(**values)
        .returning(Task.id, Task.name, Task.organisation_id, Task.project_id, Task.input, Task.attempts_made)
    ).first()
    if task is not None:
        _tell(task, ending.outcome, [_event(task, ending.outcome, ending)])
    return task is not None
