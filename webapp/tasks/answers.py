"""What programs are told of tasks."""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from webapp.api.answers import Id, Next, NextId, Time
from webapp.tasks.rules import AttemptStatus, TaskStatus


class TaskRow(TypedDict):
    """A task in a list."""

    id: Id
    name: str
    tool: str
    status: TaskStatus
    cancelling: Annotated[bool, Field(description="A cancel is on its way to the agent")]
    priority: int
    worker_id: Id | None
    worker: Annotated[str | None, Field(description="The worker's name")]
    attempts_made: int
    retry_of: Annotated[Id | None, Field(description="The task that this one repeats")]
    project_id: Id | None
    summary: Annotated[
        str | None, Field(description="The last step, the exit code or the error, in one line")
    ]
    progress: Annotated[float | None, Field(description="0 to 100, where the task says it", ge=0, le=100)]
    submitted_by: str
    created_at: Time
    started_at: Time | None
    ended_at: Time | None


class AttemptAnswer(TypedDict):
    """One try of a task on one worker."""

    id: Id
    number: Annotated[int, Field(ge=1)]
    worker_id: Id
    worker: str
    status: AttemptStatus
    stage: str | None
    exit_code: int | None
    failure_class: Annotated[
        str | None, Field(description="Why it failed: exit_code, timeout, worker_lost …")
    ]
    error: str | None
    result: Annotated[dict[str, Any] | None, Field(description="{output, data}, as the tool gave it")]
    metrics: dict[str, Any] | None
    execution_time_ms: int | None
    log_size: Annotated[int, Field(description="Bytes of its log, those that were left out too", ge=0)]
    log_missing: Annotated[int, Field(description="Bytes left out of the middle of an over-long log", ge=0)]
    log_removed_at: Annotated[Time | None, Field(description="When retention removed the log")]
    notes: Annotated[list[str], Field(description="What came too late or from a former holder")]
    started_at: Time | None
    ended_at: Time | None


class TaskAnswer(TaskRow):
    """A task, whole. Inputs that the tool's schema marks as secret are left out."""

    input: dict[str, Any]
    timeout_s: int
    max_retries: int
    retry_on: list[str]
    on_lost: Literal["fail", "requeue"]
    labels: Annotated[dict[str, str | None], Field(description="What it asks of a worker; null: any value")]
    locks: list[str]
    project_reads_only: Annotated[bool, Field(description="Changes nothing in its project's checkout")]
    not_before: Annotated[Time | None, Field(description="When an automatic retry is due")]
    attempts: list[AttemptAnswer]


class WaitsAnswer(TypedDict):
    """Why one worker hasn't taken it."""

    worker_id: Id
    worker: str
    reason: str


class TaskShown(TaskAnswer):
    """A task, whole, and why it waits, worker by worker."""

    waiting: Annotated[list[WaitsAnswer], Field(description="Empty where it doesn't wait")]


class TaskList(TypedDict):
    items: list[TaskRow]
    next: NextId


class ToolAnswer(TypedDict):
    """What tasks can run."""

    name: str
    version: int
    title: str
    description: str
    schema: Annotated[dict[str, Any], Field(description="JSON Schema of the input")]


class ToolList(TypedDict):
    items: list[ToolAnswer]
    next: Next


class LockHolder(TypedDict):
    task_id: Id
    task: str
    worker: str
    taken_at: Time


class LockWaiter(TypedDict):
    task_id: Id
    task: str


class LockAnswer(TypedDict):
    """A named lock: at most one task that asks for it runs."""

    name: str
    holder: LockHolder | None
    queue: Annotated[list[LockWaiter], Field(description="Who waits, next first")]


class LockList(TypedDict):
    items: list[LockAnswer]
    next: Next


class ChunkAnswer(TypedDict):
    status: str
    next_offset: Annotated[int, Field(description="Where the next chunk begins", ge=0)]
    saved_bytes: Annotated[int, Field(description="How many of these were new", ge=0)]
    cancel: Annotated[bool, Field(description="End this attempt: a person wants it")]


class StatusAnswer(TypedDict):
    cancel: Annotated[bool, Field(description="End this attempt: a person wants it")]


class ReportAnswer(TypedDict):
    success: bool
    task_id: Id
    new_status: Annotated[str, Field(description="queued where an automatic retry follows")]
