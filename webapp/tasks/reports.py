"""How attempts end: a report is checked, its log completed, and it counts once."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from flask import current_app
from pydantic import ValidationError
from sqlalchemy import Row, select

from webapp import clock, failpoints
from webapp.auth import audit
from webapp.database import after_commit, run, transaction
from webapp.errors import (
    BadRequest,
    Conflict,
    GarageError,
    Invalid,
    LeaseLost,
    LogGap,
    LogIncomplete,
    invalid_from,
)
from webapp.extensions import db
from webapp.tasks import logs, queue, refusals, statements
from webapp.tasks.ending import Ending, end_attempt
from webapp.tasks.holes import Span, span_of
from webapp.tasks.models import Attempt, Task
from webapp.tasks.schemas import Report
from webapp.workers.answers import Reported
from webapp.workers.caller import Caller

# Kept of an attempt; older ones give way.
NOTES = 20


class NotAssigned(BadRequest):
    """Task not found or not assigned to this worker"""

    slug = "not-assigned"


@dataclass
class Arrived:
    """A report that was read: with its log's last bytes in the file, or with the reason why it doesn't count."""

    attempt_id: str
    report: Report | None = None
    staged: logs.Staged | None = None
    error: GarageError | None = None
    project_id: str | None = None  # of its task


@dataclass(frozen=True)
class Settled:
    """What the agent is told of a report."""

    task_id: str
    new_status: str = ""
    error: GarageError | None = None


@contextmanager
def receiving(caller: Caller, bodies: list[dict[str, Any]]) -> Iterator[list[Arrived]]:
    """Check reports and write their log tails, before the transaction in which they are settled."""
    arrived = _first_of_each([_read(caller, body) for body in bodies])
    with logs.writing([item.attempt_id for item in arrived]):
        for item in arrived:
            if item.report:
                _receive(caller, item, item.report)
        yield arrived


def _first_of_each(arrived: list[Arrived]) -> list[Arrived]:
    """One report an attempt: two log tails would be written to the same place of its file."""
    first: dict[str, Arrived] = {}
    for item in arrived:
        first.setdefault(item.attempt_id, item)
    return [item for item in arrived if not item.attempt_id or first[item.attempt_id] is item]


def report_one(caller: Caller, report: Report) -> Settled:
    """`POST report-result`: one report in its own transaction. Raises what is wrong with it."""
    item = Arrived(_attempt_id(caller, report), report)
    with logs.writing([item.attempt_id]):
        _receive(caller, item, report)
        with transaction():
            if refusals.is_refusal(
                item.report
            ):  # notes something of the worker, whose row everybody locks first
                queue.lock_worker(caller)
            settled = settle(caller, item)
    if settled.error:
        raise settled.error
    return settled


def _read(caller: Caller, body: dict[str, Any]) -> Arrived:
    said = body.get("attempt_id")
    try:
        report = Report.model_validate(body)
    except ValidationError as error:
        return Arrived(said if isinstance(said, str) else "", error=invalid_from(error))
    return Arrived(_attempt_id(caller, report), report)


def _attempt_id(caller: Caller, report: Report) -> str:
    """A simple client may leave it out: then it is the task's current one, or the worker's last where it waits again."""
    if report.attempt_id:
        return report.attempt_id
    current = db.session.scalar(select(Task.attempt_id).where(Task.id == report.task_id))
    its_own = select(Attempt.id).where(
        Attempt.task_id == report.task_id, Attempt.worker_id == caller.worker_id
    )
    return current or db.session.scalar(its_own.order_by(Attempt.number.desc()).limit(1)) or ""


def _receive(caller: Caller, item: Arrived, report: Report) -> None:
    attempt = run(statements.REPORTED, attempt_id=item.attempt_id).first()
    if attempt is None or attempt.worker_id != caller.worker_id or attempt.ended_at is not None:
        return  # settle() says why, and a repeated report is answered there
    item.project_id = attempt.project_id
    tail = report.log_tail.data if report.log_tail else b""
    offset = report.log_tail.offset if report.log_tail else attempt.log_size
    try:
        dropped = span_of(report.log_tail.dropped) if report.log_tail else None
        _check_log(attempt, report, offset, tail, dropped)
        item.staged = logs.stage(logs.end_of(attempt), offset, tail, dropped, durable=True)
    except GarageError as error:
        item.error = error


def _check_log(attempt: Row[Any], report: Report, offset: int, tail: bytes, dropped: Span | None) -> None:
    """The log that the report speaks of is here, but for what its agent said that it leaves out (P5).

    Without `log_size` nothing is checked. Of a log with a hole only its size can be: nobody has all of its bytes.
    """
    try:
        start, new = logs.new_part(logs.end_of(attempt), offset, tail, dropped)
    except LogGap as gap:
        raise LogIncomplete(
            f"The log ends at {attempt.log_size} here.", next_offset=attempt.log_size
        ) from gap
    size = start + len(new)
    if report.log_size is None:
        return
    if size < report.log_size:
        raise LogIncomplete(
            f"{size} of {report.log_size} bytes of the log are here. Send the rest, then report again.",
            next_offset=attempt.log_size,
        )
    if size > report.log_size:
        words = f"log_size is {report.log_size}, but {size} bytes of the log are here."
        raise Invalid(words, "log_size", next_offset=attempt.log_size)
    known = report.log_sha256 and report.log_sha256[-64:]
    if known and (attempt.log_missing or start > attempt.log_size):
        raise Invalid("A log with a hole has no SHA-256. Report without it.", "log_sha256")
    if known and _sha256(attempt, new) != known:
        raise Invalid("The log here has another SHA-256 than the report says.", "log_sha256")


def _sha256(attempt: Row[Any], tail: bytes) -> str:
    """Raises Invalid where what is stored can't be read: one damaged log mustn't hold back a worker's other reports."""
    try:
        return logs.sha256_of(attempt.attempt_id, attempt.log_size, tail)
    except (OSError, zlib.error) as error:
        raise Invalid(f"The log stored here is damaged: {error}", "log_sha256") from error


def settle(caller: Caller, item: Arrived) -> Settled:
    """Make a report count, in the transaction that is open. What is refused is a value, so that the note on it stays."""
    if item.error or item.report is None:
        return Settled("", error=item.error)
    report = item.report
    task = run(statements.REPORTED_LOCKED, attempt_id=item.attempt_id).first()
    if task is None or task.id != report.task_id or task.worker_id != caller.worker_id:
        return _not_assigned(caller, task, report)
    digest = _digest(report)
    if task.ended_at is not None:
        return _repeated(task, report, digest)
    # The task's row is locked and fresh; the attempt's may have been read before somebody else ended it.
    if task.current_attempt_id != task.attempt_id or task.task_status not in ("assigned", "running"):
        _note(task, f"A report came from a former holder: {report.status}")
        return Settled(task.id, error=LeaseLost())
    try:
        if item.staged:
            logs.commit(item.staged, current_app.config["SETTINGS"].lease_s)
    except LeaseLost as error:
        return Settled(task.id, error=error)
    new_status = _end(task, item, report, digest)
    failpoints.reach("result.before-commit")
    after_commit(lambda: failpoints.reach("result.after-commit"))
    return Settled(task.id, new_status)


def _end(task: Row[Any], item: Arrived, report: Report, digest: str) -> str:
    """What has a log was begun, whatever its agent says: that can't be given back."""
    if refusals.is_refusal(report) and not task.log_size and not item.staged:
        return refusals.release(task, report, digest)
    return end_attempt(task, _ending(report, digest))


def _ending(report: Report, digest: str) -> Ending:
    return Ending(
        outcome=report.status,
        failure_class=_failure_class(report),
        error=report.error,
        exit_code=report.exit_code,
        execution_time_ms=report.execution_time_ms,
        result=report.result.model_dump() if report.result else None,
        metrics=dict(report.metrics) if report.metrics else None,
        report_digest=digest,
    )


def _failure_class(report: Report) -> str | None:
    if report.status != "failed":
        return None
    return report.failure_class or ("exit_code" if report.exit_code else "agent_error")


def _repeated(task: Row[Any], report: Report, digest: str) -> Settled:
    """The same report again gets the same answer; another one, or one that comes too late, is kept as a note."""
    if task.report_digest == digest:
        return Settled(task.id, task.new_status)
    _note(task, f"A report came after this attempt had ended: {report.status}")
    return Settled(
        task.id,
        error=Conflict(f"This attempt has ended already: {task.status}. The report is kept as a note."),
    )


def _note(task: Row[Any], words: str) -> None:
    notes = [*task.notes, f"{clock.wire(clock.now())} {words}"][-NOTES:]
    run(statements.NOTE, of_attempt_id=task.attempt_id, notes=notes)


def _not_assigned(caller: Caller, task: Row[Any] | None, report: Report) -> Settled:
    """Nobody learns here whether a task exists that isn't theirs."""
    if task is None and refusals.is_refusal(report) and refusals.is_known(report.task_id, caller.worker_id):
        return Settled(report.task_id, "queued")  # said twice: there is no such attempt any more
    if task is not None:
        audit.record(caller.as_actor(), "task.foreign-report", report.task_id, report.task_id)
    return Settled(report.task_id, error=NotAssigned())


def _digest(report: Report) -> str:
    facts = report.model_dump(mode="json", exclude={"log_tail"})
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def as_reported(item: Arrived, settled: Settled) -> Reported:
    """A row of sync's `reported`."""
    if settled.error is None:
        return {"attempt_id": item.attempt_id, "status": 200, "new_status": settled.new_status}
    error = settled.error
    said = {"attempt_id": item.attempt_id, "status": error.status, "detail": error.detail}
    return cast(Reported, said | error.extra)
