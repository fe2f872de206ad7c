"""What happens to a task, as typed facts. The server makes its events from these classes.

Times are aware datetimes in UTC, durations milliseconds, progress 0 to 100.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class TaskEvent:
    """A fact about one task. Its stream is `task:{task_id}`."""

    type: ClassVar[str]

    task_id: str

    @property
    def stream(self) -> str:
        return f"task:{self.task_id}"

    def data(self) -> dict[str, Any]:
        """The fields that only this type has, for storage and for the wire."""
        return asdict(self)


@dataclass(frozen=True)
class TaskQueued(TaskEvent):
    type: ClassVar[str] = "task_queued"

    task: str
    attempt: int
    input: dict[str, Any]


@dataclass(frozen=True)
class TaskStarted(TaskEvent):
    type: ClassVar[str] = "task_started"

    task: str
    attempt: int


@dataclass(frozen=True)
class TaskCancelled(TaskEvent):
    type: ClassVar[str] = "task_cancelled"

    task: str
    attempt: int


@dataclass(frozen=True)
class StepProgress(TaskEvent):
    type: ClassVar[str] = "step_progress"

    step_id: str | None = None
    step: str | None = None
    status: str | None = None
    message: str | None = None
    progress: float | None = None
    output: str | None = None


@dataclass(frozen=True)
class TaskCompleted(TaskEvent):
    type: ClassVar[str] = "task_completed"

    task: str
    output: str | None
    duration_ms: int


@dataclass(frozen=True)
class TaskFailed(TaskEvent):
    type: ClassVar[str] = "task_failed"

    task: str
    output: str | None
    duration_ms: int
    error: str
    failure_class: str


TASK_EVENTS: dict[str, type[TaskEvent]] = {
    kind.type: kind
    for kind in (TaskQueued, TaskStarted, TaskCancelled, StepProgress, TaskCompleted, TaskFailed)
}
TERMINAL = frozenset({TaskCompleted.type, TaskFailed.type, TaskCancelled.type})


def task_event(kind: str, data: dict[str, Any]) -> TaskEvent:
    """The event of this type. Fields that a newer server added are passed over. Raises KeyError for an unknown type."""
    known = TASK_EVENTS[kind]
    names = {field.name for field in fields(known)}
    return known(**{name: value for name, value in data.items() if name in names})
