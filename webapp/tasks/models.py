"""Tasks, their attempts, and the index of their logs."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp import clock
from webapp.database import EncryptedText, UtcDateTime, new_id
from webapp.extensions import Base
from webapp.tasks.rules import AttemptStatus, ProjectUse, TaskStatus
from webapp.workers.models import Worker
from webapp.workers.rules import SlotClass

OnLost = Literal["fail", "requeue"]


class Placement(Base):
    """What a task asks of a worker. Immutable and shared by all tasks that ask the same.

    A worker's claim decides once per placement, not once per task, so a long queue of tasks for other machines costs it
    nothing.
    """

    __tablename__ = "placements"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of the rest
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    tool: Mapped[str] = mapped_column(String(64))
    labels: Mapped[dict[str, str | None]] = mapped_column(JSON)
    worker_id: Mapped[str | None] = mapped_column(String(36))
    by_admin: Mapped[bool] = mapped_column()
    slot_class: Mapped[SlotClass] = mapped_column(String(16), default="task")
    # Named locks that are taken with the claim and given back at the attempt's end; sorted.
    locks: Mapped[list[str]] = mapped_column(JSON, default=list)
    # The project that it works in: only where that is checked out, and one at a time unless it only reads.
    project_id: Mapped[str | None] = mapped_column(String(36))
    project_use: Mapped[ProjectUse] = mapped_column(String(16), default="")


class PlacementLock(Base):
    """The same names as rows, to find who else waits for a lock."""

    __tablename__ = "placement_locks"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    placement_id: Mapped[str] = mapped_column(ForeignKey("placements.id"), primary_key=True)


class HeldLock(Base):
    """A named lock that an attempt holds. The primary key is what makes it exclusive."""

    __tablename__ = "held_locks"

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    task_id: Mapped[str] = mapped_column(String(36))
    attempt_id: Mapped[str] = mapped_column(String(36), index=True)
    taken_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Refusal(Base):
    """A worker's owner doesn't allow this task there: it isn't offered to that worker again, and a person sees whose
    rule it was."""

    __tablename__ = "refusals"

    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    worker_id: Mapped[str] = mapped_column(String(36), primary_key=True, index=True)
    rule: Mapped[str] = mapped_column(String(500))
    refused_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Task(Base):
    """Work that is wanted. `status` is a fact; wishes are timestamps."""

    __tablename__ = "tasks"
    __table_args__ = (
        # Claiming: the queued tasks of some placements, by priority, then age.
        Index(
            "ix_tasks_queue",
            "placement_id",
            text("priority DESC"),
            "id",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_tasks_newest", "organisation_id", "id"),
        Index("ix_tasks_status", "organisation_id", "status", "id"),
        Index("ix_tasks_worker", "worker_id", "id"),
        Index("ix_tasks_ended", "organisation_id", "ended_at"),
        Index("ix_tasks_worker_ended", "worker_id", "ended_at"),
        Index(
            "ix_tasks_project",
            "project_id",
            "id",
            sqlite_where=text("project_id IS NOT NULL"),
            postgresql_where=text("project_id IS NOT NULL"),
        ),
        # What failed lately, however much else has ended since.
        Index(
            "ix_tasks_failed",
            "organisation_id",
            "ended_at",
            sqlite_where=text("status = 'failed'"),
            postgresql_where=text("status = 'failed'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str] = mapped_column(String(255))
    tool: Mapped[str] = mapped_column(String(64))
    input: Mapped[dict[str, Any]] = mapped_column(JSON)
    # JSON of the input's parts that the tool's schema marks as secret.
    # Deferred: a list of tasks decrypts nothing, and can be read without the key.
    secret_input: Mapped[str | None] = mapped_column(EncryptedText, deferred=True)
    placement_id: Mapped[str] = mapped_column(ForeignKey("placements.id"))
    project_id: Mapped[str | None] = mapped_column(String(36))
    retry_of: Mapped[str | None] = mapped_column(String(36))

    priority: Mapped[int] = mapped_column(default=0)
    timeout_s: Mapped[int] = mapped_column()
    no_output_timeout_s: Mapped[int | None] = mapped_column()
    queue_timeout_s: Mapped[int] = mapped_column()
    max_retries: Mapped[int] = mapped_column()
    retry_delay_s: Mapped[int] = mapped_column()
    retry_on: Mapped[list[str]] = mapped_column(JSON)
    on_lost: Mapped[OnLost] = mapped_column(String(16))

    status: Mapped[TaskStatus] = mapped_column(String(16), default="queued")
    # The current attempt: what a worker writes counts only while it is this one.
    attempt_id: Mapped[str | None] = mapped_column(String(36))
    attempts_made: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None] = mapped_column(String(36))
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_by: Mapped[str | None] = mapped_column(String(255))

    submitted_by: Mapped[str] = mapped_column(String(255))
    submitted_by_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # One line for people: the last step, the exit code, the error.
    summary: Mapped[str | None] = mapped_column(String(1000))
    progress: Mapped[float | None] = mapped_column()

    placement: Mapped[Placement] = relationship(lazy="raise")
    worker: Mapped[Worker | None] = relationship(
        primaryjoin="foreign(Task.worker_id) == Worker.id", lazy="raise", viewonly=True
    )
    attempts: Mapped[list["Attempt"]] = relationship(
        primaryjoin="Task.id == foreign(Attempt.task_id)",
        order_by="Attempt.number",
        lazy="raise",
        viewonly=True,
    )

    @property
    def shown_status(self) -> str:
        """The status as people see it: cancelling is a wish that somebody still has to fulfil."""
        is_cancelling = self.cancel_requested_at is not None and self.status in ("assigned", "running")
        return "cancelling" if is_cancelling else self.status


class Attempt(Base):
    """One try of a task on one worker, with its own lease, log and exit code."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("task_id", "number"),
        # What a worker holds now: counted at each claim.
        Index(
            "ix_attempts_held",
            "worker_id",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index(
            "ix_attempts_lease",
            "lease_expires_at",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        # What retention looks for: logs that are still here, by their end.
        Index(
            "ix_attempts_kept_log",
            "ended_at",
            sqlite_where=text("ended_at IS NOT NULL AND log_removed_at IS NULL AND log_size > 0"),
            postgresql_where=text("ended_at IS NOT NULL AND log_removed_at IS NULL AND log_size > 0"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    worker_id: Mapped[str] = mapped_column(String(36))
    worker_name: Mapped[str] = mapped_column(String(255))
    # `boot_id` of the agent that it was offered to: a copy of that agent has the same key, and must not start it too.
    boot_id: Mapped[str] = mapped_column(String(64), default="")
    number: Mapped[int] = mapped_column()
    status: Mapped[AttemptStatus] = mapped_column(String(16), default="assigned")
    lease_expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stage: Mapped[str | None] = mapped_column(String(64))

    exit_code: Mapped[int | None] = mapped_column()
    failure_class: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(String(4000))
    execution_time_ms: Mapped[int | None] = mapped_column(BigInteger)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    # What the accepted report was answered with: the same again when it is repeated.
    new_status: Mapped[TaskStatus | None] = mapped_column(String(16))
    # SHA-256 of the accepted report, so that a repeated one is told from a different one.
    report_digest: Mapped[str | None] = mapped_column(String(64))
    # What came too late or from a former holder: kept, never acted upon.
    notes: Mapped[list[str]] = mapped_column(JSON, default=list)

    log_size: Mapped[int] = mapped_column(BigInteger, default=0)
    log_lines: Mapped[int] = mapped_column(default=0)
    blob_size: Mapped[int] = mapped_column(BigInteger, default=0)
    # Bytes in the middle of an over-long log that the agent left out.
    log_missing: Mapped[int] = mapped_column(BigInteger, default=0)
    # When retention removed the log; its size stays.
    log_removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LogChunk(Base):
    """Where some bytes of an attempt's log lie: one gzip member in the attempt's file."""

    __tablename__ = "log_chunks"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True)
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    size: Mapped[int] = mapped_column()
    # Line ends before this chunk: line numbers without reading what comes before.
    lines_before: Mapped[int] = mapped_column()
    blob_offset: Mapped[int] = mapped_column(BigInteger)
    blob_size: Mapped[int] = mapped_column()
