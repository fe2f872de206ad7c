"""What programs and agents say about tasks."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from webapp.api.body import AgentBody, Body, Query, example, one_line
from webapp.api.paging import AFTER, IdCursor, Limit
from webapp.tasks.rules import (
    LOCK_NAME,
    MAX_RETRIES,
    RETRY_DELAY_S,
    RETRY_ON_BY_DEFAULT,
    FailureClass,
    Outcome,
    ProjectUse,
    RetryCause,
    TaskStatus,
)
from webapp.workers.rules import checked_label, label_problem

HOUR = 3600
DAY = 24 * HOUR
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]


def _labels(labels: dict[str, str | None]) -> dict[str, str | None]:
    if problem := label_problem(labels):
        raise ValueError(problem)
    return labels


def _lock_name(name: str) -> str:
    if not LOCK_NAME.fullmatch(name):
        raise ValueError(
            "a lock's name is letters, digits and . _ / : -, at most 100, a letter or digit first"
        )
    return name


LockName = Annotated[str, AfterValidator(_lock_name)]


class Submission(Body):
    """A task as it is wanted. Durations in seconds."""

    model_config = example(
        tool="shell", input={"script": "make test"}, name="tests", labels={"os": "linux", "gpu": None}
    )

    tool: str = Field(min_length=1, max_length=64, description="Its name, as GET /tools says")
    input: dict[str, Any] = Field(default_factory=dict, description="What the tool's schema asks for")
    name: Annotated[
        str, Field(max_length=255, description="Left out: what it runs"), AfterValidator(one_line)
    ] = ""
    project_id: Id | None = Field(None, description="Runs in this project, on a worker that has it")
    project_reads_only: bool = Field(
        False, description="Changes nothing in the project: runs beside others that only read it"
    )
    worker_id: Id | None = Field(None, description="Only this worker may take it")
    labels: Annotated[dict[str, str | None], AfterValidator(_labels)] = Field(
        default_factory=dict, description="What a worker must have; null: with any value"
    )
    priority: int = Field(0, ge=-1000, le=1000, description="Higher starts first")
    timeout_s: int = Field(HOUR, ge=1, le=30 * DAY)
    no_output_timeout_s: int | None = Field(
        None, ge=1, le=30 * DAY, description="Ends it when it prints nothing for so long"
    )
    queue_timeout_s: int = Field(
        DAY, ge=1, le=365 * DAY, description="Ends it when nobody took it for so long"
    )
    max_retries: int = Field(MAX_RETRIES, ge=0, le=100)
    retry_delay_s: int = Field(RETRY_DELAY_S, ge=0, le=DAY, description="Doubles with each try")
    retry_on: list[RetryCause] = Field(
        default_factory=lambda: list(RETRY_ON_BY_DEFAULT),
        description="After which failures it is tried again",
    )
    on_lost: Literal["fail", "requeue"] = Field(
        "fail", description="When its worker is lost. requeue: it may run twice"
    )
    locks: list[LockName] = Field([], max_length=10, description="Names that one task at a time holds")

    @field_validator("locks")
    @classmethod
    def _each_lock_once(cls, value: list[str]) -> list[str]:
        return sorted(set(value))

    @model_validator(mode="after")
    def _reads_a_project(self) -> Self:
        if self.project_reads_only and not self.project_id:
            raise ValueError("project_reads_only needs a project_id: say which project it reads")
        return self

    @property
    def project_use(self) -> ProjectUse:
        if not self.project_id:
            return ""
        return "reads" if self.project_reads_only else "writes"


class Changes(Body):
    """A retry with changes: what is left out is as it was."""

    model_config = example(input={"script": "make -j1 test"})

    input: dict[str, Any] | None = None


class ForceFinish(Body):
    """Why nobody waits for the worker any more."""

    model_config = example(reason="the machine was sold")

    reason: Annotated[str, Field(max_length=500), AfterValidator(one_line)] = ""


class Content(AgentBody):
    """Bytes in JSON: as text, or in base64 where they aren't UTF-8."""

    content: str | None = None
    content_base64: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("send content or content_base64")
        try:
            self._data = base64.b64decode(self.content_base64 or "", validate=True)
        except binascii.Error as error:
            raise ValueError("content_base64 isn't base64") from error
        if self.content is not None:
            self._data = self.content.encode()
        return self

    _data: bytes = b""

    @property
    def data(self) -> bytes:
        return self._data


class Placed(Content):
    """Bytes with their place in a log, which counts all of it: what was left out too."""

    offset: int = Field(ge=0, le=2**53)
    dropped: list[Annotated[int, Field(ge=0, le=2**53)]] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="[from, to]: bytes of the log's middle, before these, that its agent leaves out",
    )

    @model_validator(mode="after")
    def _dropped_before(self) -> Self:
        if self.dropped and not self.dropped[0] <= self.dropped[1] <= self.offset:
            raise ValueError("dropped must be [from, to] with from <= to <= offset")
        return self


class LogTail(Placed):
    """The last bytes of a log, riding with the report."""


class Result(AgentBody):
    output: str | None = Field(None, max_length=64 * 1024)
    data: Any = None


Sha256 = Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-f]{64}$")]


class Report(AgentBody):
    """How an attempt ended."""

    model_config = example(
        task_id="01900000-0000-7000-8000-000000000001",
        status="completed",
        execution_time_ms=5120,
        exit_code=0,
    )

    task_id: str = Field(max_length=36)
    status: Outcome
    execution_time_ms: int = Field(ge=0, le=2**53)
    attempt_id: str | None = Field(None, max_length=36)
    result: Result | None = None
    error: str | None = Field(None, max_length=4000)
    failure_class: FailureClass | None = None
    exit_code: int | None = Field(None, ge=-(2**31), le=2**31 - 1)
    metrics: dict[Annotated[str, Field(max_length=64)], int | float] | None = Field(None, max_length=50)
    log_tail: LogTail | None = None
    log_size: int | None = Field(None, ge=0, le=2**53)
    log_sha256: Sha256 | None = None


class ChunkBody(Placed):
    """A log chunk in JSON, for simple clients."""

    model_config = example(
        attempt_id="01900000-0000-7000-8000-000000000002",
        offset=0,
        content="hello\n",
        checksum="sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    )

    attempt_id: str = Field(max_length=36)
    phase: str = Field("run", max_length=32)
    checksum: Sha256


class StatusUpdate(AgentBody):
    """Progress of an attempt. Only a report ends it."""

    model_config = example(
        attempt_id="01900000-0000-7000-8000-000000000002", stage="applying", step="2 of 4", progress=50.0
    )

    attempt_id: str = Field(max_length=36)
    status: Literal["running", "success", "failed", "applied"] | None = None
    stage: str | None = Field(None, max_length=64)
    step: str | None = Field(None, max_length=255)
    step_id: str | None = Field(None, max_length=64)
    message: str | None = Field(None, max_length=1000)
    progress: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    changes_add: int | None = Field(None, ge=0, le=10**9)
    changes_change: int | None = Field(None, ge=0, le=10**9)
    changes_destroy: int | None = Field(None, ge=0, le=10**9)
    duration: float | None = Field(None, ge=0, allow_inf_nan=False)


class ChunkHeaders(BaseModel):
    """Where raw bytes belong. JSON says the same in its body."""

    attempt_id: str | None = Field(None, alias="X-Log-Attempt", description="Raw bytes: which attempt")
    offset: int | None = Field(
        None, alias="X-Log-Offset", ge=0, le=10**15 - 1, description="Raw bytes: how many came before these"
    )
    checksum: Sha256 | None = Field(None, alias="X-Log-SHA256", description="Raw bytes: of them, unpacked")
    phase: str | None = Field(None, alias="X-Log-Phase", description="Raw bytes: run, prepare …")
    dropped: str | None = Field(
        None,
        alias="X-Log-Dropped",
        pattern=r"^[0-9]{1,15}-[0-9]{1,15}$",
        description="Raw bytes: from-to, bytes before these that are left out for ever; the offset may jump there",
    )
    encoding: Literal["gzip", "identity"] | None = Field(None, alias="Content-Encoding")


# ---- what may stand behind the `?`

MOST = 10**15 - 1


def _aware(text: str) -> datetime:
    """RFC 3339, as every time on the wire; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("must be a time like 2026-01-31T12:00:00Z") from error


def _label_word(text: str) -> str:
    return checked_label(text.strip())


class TaskQuery(Query):
    """Which tasks. What is left out doesn't narrow it."""

    model_config = example(status="failed", limit=20)

    status: Literal[TaskStatus, "waiting"] | None = Field(None, description="waiting: queued or assigned")
    tool: str = ""
    worker_id: str = ""
    project_id: str = ""
    label: Annotated[str, AfterValidator(_label_word)] = Field(
        "", description="What it asks of a worker: a key, or key=value"
    )
    q: str = Field("", description="Part of the name, or the beginning of the id")
    since: Annotated[datetime | None, BeforeValidator(_aware)] = Field(None, description="Made at or after")
    limit: Limit = 50
    after: IdCursor | None = Field(None, description=AFTER)


class LogQuery(Query):
    attempt: str | None = Field(None, description="Its number or id; the newest where it is left out")
    offset: int = Field(0, ge=0, le=MOST, description="Bytes to leave out at the beginning")


class EventQuery(Query):
    after: int = Field(0, ge=0, le=MOST, description="The last seq that is known")
    limit: Limit = 200


class DataQuery(Query):
    attempt_id: str | None = Field(None, description="Which attempt is meant; the current one otherwise")
