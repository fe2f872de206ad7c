"""The hot path's statements, built once: claim, start, renew, report.

Each settles its race by its own WHERE and the number of rows it touched. Core, not ORM: an ORM update costs ten times as
much, and the path is walked for every task.
"""

from itertools import product
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    type_coerce,
    update,
)

from webapp.auth.models import Member
from webapp.clock import DatabaseNow
from webapp.database import table_of
from webapp.tasks.models import Attempt, LogChunk, Refusal, Task
from webapp.tasks.rules import sources
from webapp.workers.models import Worker

members = table_of(Member)
tasks, attempts, log_chunks, workers = table_of(Task), table_of(Attempt), table_of(LogChunk), table_of(Worker)
refusals = table_of(Refusal)

# Milliseconds by which a lease lies after the database's now; `clock.lease_ms` makes it.
_LEASE_END: ColumnElement[int] = DatabaseNow() + bindparam("lease_ms")

# Under this lock a worker's slots are counted: two dispatchers can't overfill it. (SQLite has one writer anyway.)
LOCK_WORKER = select(workers.c.status, workers.c.has_refused)
LOCK_WORKER = LOCK_WORKER.where(workers.c.id == bindparam("worker_id")).with_for_update()

HELD = (
    select(
        attempts.c.id.label("attempt_id"),
        attempts.c.task_id,
        attempts.c.status,
        attempts.c.created_at,
        attempts.c.lease_expires_at,
        attempts.c.boot_id,
        tasks.c.cancel_requested_at,
        tasks.c.placement_id,
    )
    .join(tasks, tasks.c.id == attempts.c.task_id)
    .where(attempts.c.worker_id == bindparam("worker_id"), attempts.c.ended_at.is_(None))
    .order_by(attempts.c.id)
)

# The distinct placements of the queue by jumping through the index: as many steps as there are placements, however long
# the queue. DISTINCT would read all of it.
QUEUED_PLACEMENTS = text(
    """
    WITH RECURSIVE queued(id) AS (
        SELECT min(placement_id) FROM tasks WHERE status = 'queued'
        UNION ALL
        SELECT (SELECT min(placement_id) FROM tasks WHERE status = 'queued' AND placement_id > queued.id)
        FROM queued WHERE queued.id IS NOT NULL
    )
    SELECT id FROM queued WHERE id IS NOT NULL
    """
)

# The best of one placement, by its index.
CANDIDATES = (
    select(tasks.c.id, tasks.c.priority, tasks.c.placement_id)
    .where(
        tasks.c.status == literal("queued", literal_execute=True),
        tasks.c.placement_id == bindparam("placement_id"),
        func.coalesce(tasks.c.not_before, 0) <= bindparam("now_ms"),
    )
    .order_by(tasks.c.priority.desc(), tasks.c.id)
    .limit(bindparam("count"))
)
# A worker that serves admins only: those whose submitter is an admin still.
OF_ADMINS = tasks.c.submitted_by_id.in_(
    select(members.c.user_id).where(
        members.c.organisation_id == tasks.c.organisation_id, members.c.role == "admin"
    )
)
# A worker whose owner has refused some: the others.
# (By NOT IN they are read once, and the queue still by its index: PostgreSQL would join NOT EXISTS the slow way.)
NOT_REFUSED = tasks.c.id.not_in(
    select(refusals.c.task_id).where(refusals.c.worker_id == bindparam("refused_by"))
)


def by_asker(query: Select[Any]) -> dict[tuple[bool, bool, bool], Select[Any]]:
    """By (for a worker that serves admins only, for one whose owner has refused some, to claim it)."""
    made = {}
    for admins_only, has_refused, to_claim in product((False, True), repeat=3):
        asked = query.where(OF_ADMINS) if admins_only else query
        asked = asked.where(NOT_REFUSED) if has_refused else asked
        claimed = asked.with_for_update(skip_locked=True, of=tasks)
        made[admins_only, has_refused, to_claim] = claimed if to_claim else asked
    return made


BEST = by_asker(CANDIDATES)

# What an offer and `data` are made of.
OFFERED = (
    tasks.c.id,
    tasks.c.organisation_id,
    tasks.c.project_id,
    tasks.c.worker_id,
    tasks.c.name,
    tasks.c.tool,
    tasks.c.input,
    type_coerce(tasks.c.secret_input, Text).label("secret_input"),  # still encrypted: see data.py
    tasks.c.timeout_s,
    tasks.c.no_output_timeout_s,
    tasks.c.on_lost,
    tasks.c.submitted_by,
    tasks.c.created_at,
    tasks.c.attempt_id,
    tasks.c.attempts_made,
)

CLAIM = (
    update(tasks)
    .where(
        tasks.c.id == bindparam("task_id"), tasks.c.status == "queued", tasks.c.cancel_requested_at.is_(None)
    )
    .values(
        status="assigned",
        attempt_id=bindparam("new_attempt_id"),
        worker_id=bindparam("new_worker_id"),
        attempts_made=tasks.c.attempts_made + 1,
    )
    .returning(*OFFERED)
)

NEW_ATTEMPT = insert(attempts).values(lease_expires_at=_LEASE_END)

OFFER_AGAIN = (
    select(*OFFERED)
    .join(attempts, attempts.c.id == tasks.c.attempt_id)
    .where(attempts.c.id == bindparam("attempt_id"), attempts.c.worker_id == bindparam("worker_id"))
)

CURRENT = (
    select(*OFFERED)
    .join(attempts, attempts.c.id == tasks.c.attempt_id)
    .where(
        tasks.c.id == bindparam("task_id"),
        attempts.c.worker_id == bindparam("worker_id"),
        attempts.c.ended_at.is_(None),
    )
)

# Everywhere the task's row before the attempt's: two that took them the other way round would deadlock.
START_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.id == bindparam("attempt_id"),
        attempts.c.status == "assigned",
        attempts.c.ended_at.is_(None),
    )
    .values(status="running", started_at=bindparam("at"))
)
START_TASK = (
    update(tasks)
    .where(
        tasks.c.id == bindparam("task_id"),
        tasks.c.attempt_id == bindparam("current_attempt_id"),
        tasks.c.status == "assigned",
    )
    .values(status="running", started_at=bindparam("at"))
    .returning(tasks.c.organisation_id, tasks.c.project_id, tasks.c.name, tasks.c.attempts_made)
)

RENEW = (
    update(attempts)
    .where(
        attempts.c.worker_id == bindparam("of_worker_id"),
        attempts.c.id.in_(bindparam("attempt_ids", expanding=True)),
        attempts.c.ended_at.is_(None),
    )
    .values(lease_expires_at=_LEASE_END)
)

# All that a report needs to know of its attempt and task; `REPORTED_LOCKED` locks the task's row.
REPORTED = (
    select(
        tasks.c.id,
        tasks.c.name,
        tasks.c.organisation_id,
        tasks.c.project_id,
        tasks.c.input,
        tasks.c.status.label("task_status"),
        tasks.c.attempt_id.label("current_attempt_id"),
        tasks.c.attempts_made,
        tasks.c.max_retries,
        tasks.c.retry_delay_s,
        tasks.c.retry_on,
        tasks.c.on_lost,
        tasks.c.cancel_requested_at,
        tasks.c.placement_id,
        workers.c.failures_in_row,
        attempts.c.id.label("attempt_id"),
        attempts.c.worker_id,
        attempts.c.number,
        attempts.c.status,
        attempts.c.created_at,
        attempts.c.ended_at,
        attempts.c.lease_expires_at,
        attempts.c.report_digest,
        attempts.c.new_status,
        attempts.c.notes,
        attempts.c.log_size,
        attempts.c.log_lines,
        attempts.c.blob_size,
        attempts.c.log_missing,
    )
    .join(tasks, tasks.c.id == attempts.c.task_id)
    .outerjoin(workers, workers.c.id == attempts.c.worker_id)
    .where(attempts.c.id == bindparam("attempt_id"))
)
REPORTED_LOCKED = REPORTED.with_for_update(of=tasks)

END_ATTEMPT = (
    update(attempts)
    .where(attempts.c.id == bindparam("of_attempt_id"), attempts.c.ended_at.is_(None))
    .values(
        status=bindparam("outcome"),
        started_at=func.coalesce(
            attempts.c.started_at, bindparam("began_at", type_=attempts.c.started_at.type)
        ),
        ended_at=bindparam("at"),
        exit_code=bindparam("exit_code"),
        failure_class=bindparam("failure_class"),
        error=bindparam("error"),
        execution_time_ms=bindparam("execution_time_ms"),
        result=bindparam("result"),
        metrics=bindparam("metrics"),
        report_digest=bindparam("report_digest"),
        new_status=bindparam("new_status"),
    )
)
_THE_CURRENT = (tasks.c.id == bindparam("task_id"), tasks.c.attempt_id == bindparam("of_attempt_id"))
END_TASK = (
    update(tasks)
    .where(*_THE_CURRENT, tasks.c.status.in_(sources("completed")))
    .values(
        status=bindparam("outcome"),
        started_at=func.coalesce(tasks.c.started_at, bindparam("began_at", type_=tasks.c.started_at.type)),
        ended_at=bindparam("at"),
        not_before=None,
        progress=None,
        summary=bindparam("summary"),
    )
)
_BACK_IN_THE_QUEUE = (
    update(tasks)
    .where(*_THE_CURRENT, tasks.c.status.in_(sources("queued")))
    .values(status="queued", attempt_id=None, worker_id=None, started_at=None, progress=None)
)
QUEUE_AGAIN = _BACK_IN_THE_QUEUE.values(not_before=bindparam("retry_at"), summary=bindparam("summary"))
# An offer given back: neither the attempt nor its number was used up. The task keeps its place in the queue.
RELEASE = _BACK_IN_THE_QUEUE.values(attempts_made=tasks.c.attempts_made - 1)
FORGET_ATTEMPT = delete(attempts).where(
    attempts.c.id == bindparam("of_attempt_id"), attempts.c.ended_at.is_(None)
)

NOTE = update(attempts).where(attempts.c.id == bindparam("of_attempt_id")).values(notes=bindparam("notes"))

GROW_LOG = (
    update(attempts)
    .where(
        attempts.c.id == bindparam("of_attempt_id"),
        attempts.c.log_size == bindparam("old_size"),
        attempts.c.ended_at.is_(None),
    )
    .values(
        log_size=bindparam("new_size"),
        log_lines=bindparam("new_lines"),
        blob_size=bindparam("new_blob_size"),
        log_missing=attempts.c.log_missing + bindparam("more_missing"),
        lease_expires_at=_LEASE_END,
    )
)
NEW_CHUNK = insert(log_chunks)

# What an agent leaves out of the middle of an over-long log: the chunks that lie wholly in there.
_WHOLLY_WITHIN = (
    log_chunks.c.attempt_id == bindparam("of_attempt_id"),
    log_chunks.c.offset >= bindparam("span_start"),
    log_chunks.c.offset < bindparam("span_end"),  # says nothing new, but lets the index end there
    log_chunks.c.offset + log_chunks.c.size <= bindparam("span_end"),
)
SIZE_WITHIN = select(func.coalesce(func.sum(log_chunks.c.size), 0)).where(*_WHOLLY_WITHIN)
FORGET_CHUNKS = (
    delete(log_chunks)
    .where(*_WHOLLY_WITHIN)
    .returning(log_chunks.c.size, log_chunks.c.blob_offset, log_chunks.c.blob_size)
)
MISS_MORE = (
    update(attempts)
    .where(attempts.c.id == bindparam("of_attempt_id"))
    .values(log_missing=attempts.c.log_missing + bindparam("more_missing"))
)

# Where a chunk doesn't begin at the end of the one before it.
_place = (
    select(
        log_chunks.c.offset.label("hole_end"),
        func.lag(log_chunks.c.offset + log_chunks.c.size, 1, 0)
        .over(order_by=log_chunks.c.offset)
        .label("hole_start"),
    )
    .where(log_chunks.c.attempt_id == bindparam("of_attempt_id"))
    .subquery()
)
HOLES = select(_place).where(_place.c.hole_start < _place.c.hole_end).order_by(_place.c.hole_end)
