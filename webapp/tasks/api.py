"""Tasks on the API, for people's programs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from flask import Response, jsonify, request, stream_with_context

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse, parse_optional, parse_query
from webapp.api.documented import TEXT, documented
from webapp.api.idempotency import repeatable
from webapp.api.paging import ByNameQuery, cut
from webapp.auth.guards import me, token_required
from webapp.errors import Conflict, NotFound
from webapp.live import events
from webapp.live.answers import EventList
from webapp.tasks import force, listing, logs, placements, retention, service, waiting
from webapp.tasks.access import attempt_of, task_for, writable_task_for
from webapp.tasks.answers import AttemptAnswer, TaskAnswer, TaskList, TaskRow, TaskShown, ToolAnswer, ToolList
from webapp.tasks.holes import Holes
from webapp.tasks.schemas import Changes, EventQuery, ForceFinish, LogQuery, Submission, TaskQuery
from webapp.workers import tools

if TYPE_CHECKING:
    from webapp.tasks.models import Attempt, Task

blueprint = api_blueprint("tasks_api", __name__)

# Of the holes of a log, in a header.
DROPPED_SHOWN = 20


class RangeNotThere(NotFound):
    """The log has no such range."""

    status, slug = 416, "range-not-there"

    def __init__(self, size: int, why: str = "") -> None:
        super().__init__(why or f"The log has {size} bytes.")
        self.headers = {"Content-Range": f"bytes */{size}"}


@blueprint.post("/tasks")
@token_required("operator")
@repeatable
@documented("Submit a task", body=Submission, answer=TaskAnswer, status=201)
def submit() -> tuple[Response, int]:
    task_id = service.submit(me(), parse(Submission))
    return jsonify(as_wire(task_for(me(), task_id))), 201


@blueprint.get("/tasks")
@token_required("viewer")
@documented("List tasks", query=TaskQuery, answer=TaskList)
def list_tasks() -> Response:
    """Newest first."""
    asked = parse_query(TaskQuery)
    wanted = listing.Filter(
        asked.status or "",
        asked.tool,
        asked.worker_id,
        asked.q[:255],
        asked.since,
        asked.label,
        asked.project_id,
    )
    found = listing.tasks(me().organisation_id, wanted, asked.after, asked.limit + 1)
    page, after = cut(found, asked.limit, attrgetter("id"))
    return jsonify(TaskList(items=[as_row(task) for task in page], next=after))


@blueprint.get("/tasks/<id:task_id>")
@token_required("viewer")
@documented("Show a task", answer=TaskShown)
def show(task_id: str) -> Response:
    """With its attempts, and for a queued one why it waits."""
    task = task_for(me(), task_id)
    return jsonify(TaskShown(**as_wire(task), waiting=[row.as_wire() for row in waiting.reasons(task)]))


@blueprint.post("/tasks/<id:task_id>/cancel")
@token_required("viewer")
@documented("Cancel a task", answer=TaskAnswer, needs="operator", errors=(Conflict,))
def cancel(task_id: str) -> Response:
    """A queued one ends now; a running one when its agent has ended it."""
    task = writable_task_for(me(), task_id)
    service.cancel(me(), task)
    return jsonify(as_wire(task_for(me(), task_id)))


@blueprint.post("/tasks/<id:task_id>/force-finish")
@token_required("admin")
@documented(
    "Force-finish a task", body=ForceFinish, is_body_optional=True, answer=TaskAnswer, errors=(Conflict,)
)
def force_finish(task_id: str) -> Response:
    """The last resort, where a worker will never answer: the task ends as cancelled, now. The worker may still be running
    it; when it calls again it is told to stop, and what it reports is only kept as a note.
    """
    task = writable_task_for(me(), task_id)
    said = parse_optional(ForceFinish)
    force.force_finish(me(), task, said.reason)
    return jsonify(as_wire(task_for(me(), task_id)))


@blueprint.post("/tasks/<id:task_id>/retry")
@token_required("viewer")
@repeatable
@documented(
    "Run a task again",
    body=Changes,
    is_body_optional=True,
    answer=TaskAnswer,
    status=201,
    needs="operator",
    errors=(Conflict,),
)
def retry(task_id: str) -> tuple[Response, int]:
    """A new task like it; `retry_of` says which."""
    task = writable_task_for(me(), task_id)
    made = service.retry(me(), task, parse_optional(Changes).input)
    return jsonify(as_wire(task_for(me(), made))), 201


@blueprint.get("/tasks/<id:task_id>/log")
@token_required("viewer")
@documented(
    "Download a log",
    query=LogQuery,
    answer=TEXT,
    also={206: "The part that Range asks for"},
    errors=(RangeNotThere, retention.LogGone),
)
def log(task_id: str) -> Response:
    """The bytes as the task printed them; `Range` works. Bytes that were left out of an over-long log aren't in the answer:
    `X-Log-Missing` says how many there are, `X-Log-Dropped` where. A part ends where they begin, or begins where they end.
    """
    return log_response(task_for(me(), task_id))


def log_response(task: Task) -> Response:
    """The log of an attempt as it was sent, as plain text; `offset=` and `Range` give a part."""
    asked = parse_query(LogQuery)
    attempt = attempt_of(task, asked.attempt)
    retention.refuse_gone(attempt)
    size = attempt.log_size if attempt else 0
    holes = logs.holes_of(attempt) if attempt else Holes()
    start, end, status = _asked_range(asked.offset, size)
    if status == 206:
        start, end = _first_part(holes, start, end, size)
    body: Iterator[bytes] = logs.stream(attempt.id, start, end) if attempt and start < end else iter(())
    length = holes.kept(end) - holes.kept(start)
    response = Response(
        stream_with_context(logs.exactly(body, length)), status, content_type="text/plain; charset=utf-8"
    )
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Length"] = str(length)
    response.headers["X-Log-Size"] = str(size)
    response.headers["X-Log-Missing"] = str(attempt.log_missing if attempt else 0)
    if dropped := holes.within(start, end)[:DROPPED_SHOWN]:
        response.headers["X-Log-Dropped"] = ", ".join(f"{span.start}-{span.end}" for span in dropped)
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return response


def _first_part(holes: Holes, start: int, end: int, size: int) -> tuple[int, int]:
    """The first of the bytes that are asked for which lie side by side. Raises RangeNotThere where all were left out."""
    part = holes.stretch(start, end)
    if part.start >= part.end:
        raise RangeNotThere(size, f"These bytes of the log were left out. It goes on at {part.start}.")
    return part.start, part.end


def _asked_range(offset: int, size: int) -> tuple[int, int, int]:
    """(start, end, status) of what the request asks of a log of this size."""
    asked = request.range
    if (
        asked is None or asked.units != "bytes" or len(asked.ranges) != 1
    ):  # several at once: the whole is allowed
        return min(offset, size), size, 200
    if 0 < size < -(asked.ranges[0][0] or 0):
        return 0, size, 206  # RFC 9110, 14.1.2: the last so many bytes of fewer are all of them
    found = asked.range_for_length(size)
    if found is None:
        raise RangeNotThere(size)
    return found[0], found[1], 206


@blueprint.get("/tasks/<id:task_id>/events")
@token_required("viewer")
@documented("List a task's events", query=EventQuery, answer=EventList)
def list_events(task_id: str) -> Response:
    """Oldest first, numbered from 1 without holes."""
    task, asked = task_for(me(), task_id), parse_query(EventQuery)
    found = events.of_stream(f"task:{task.id}", asked.after, asked.limit + 1)
    page, after = cut(found, asked.limit, attrgetter("seq"))
    return jsonify(EventList(items=[events.as_wire(event) for event in page], next=after))


@blueprint.get("/tools")
@token_required("viewer")
@documented("List tools", query=ByNameQuery, answer=ToolList, group="Tasks")
def list_tools() -> Response:
    """By name."""
    asked = parse_query(ByNameQuery)
    # Sorted here: a database may sort names otherwise than `>` does, and a page would begin in the wrong place.
    known = [tool for tool in tools.catalogue(me().organisation_id) if tool.name > asked.after]
    page, after = cut(sorted(known, key=attrgetter("name")), asked.limit, attrgetter("name"))
    items: list[ToolAnswer] = [
        {
            "name": tool.name,
            "version": tool.version,
            "title": tool.title,
            "description": tool.description,
            "schema": tool.schema,
        }
        for tool in page
    ]
    return jsonify(ToolList(items=items, next=after))


def as_row(task: Task) -> TaskRow:
    return {
        "id": task.id,
        "name": task.name,
        "tool": task.tool,
        "status": task.status,
        "cancelling": bool(task.cancel_requested_at and task.ended_at is None),
        "priority": task.priority,
        "worker_id": task.worker_id,
        "worker": task.worker.name if task.worker else None,
        "attempts_made": task.attempts_made,
        "retry_of": task.retry_of,
        "project_id": task.project_id,
        "summary": task.summary,
        "progress": task.progress,
        "submitted_by": task.submitted_by,
        "created_at": clock.wire(task.created_at),
        "started_at": clock.wire(task.started_at),
        "ended_at": clock.wire(task.ended_at),
    }


def as_wire(task: Task) -> TaskAnswer:
    wanted = placements.wanted(task.placement_id)
    return {
        **as_row(task),
        "input": task.input,
        "timeout_s": task.timeout_s,
        "max_retries": task.max_retries,
        "retry_on": task.retry_on,
        "on_lost": task.on_lost,
        "labels": dict(wanted.labels),
        "locks": list(wanted.locks),
        "project_reads_only": wanted.project_use == "reads",
        "not_before": clock.wire(task.not_before),
        "attempts": [_attempt(attempt) for attempt in task.attempts],
    }


def _attempt(attempt: Attempt) -> AttemptAnswer:
    return {
        "id": attempt.id,
        "number": attempt.number,
        "worker_id": attempt.worker_id,
        "worker": attempt.worker_name,
        "status": attempt.status,
        "stage": attempt.stage,
        "exit_code": attempt.exit_code,
        "failure_class": attempt.failure_class,
        "error": attempt.error,
        "result": attempt.result,
        "metrics": attempt.metrics,
        "execution_time_ms": attempt.execution_time_ms,
        "log_size": attempt.log_size,
        "log_missing": attempt.log_missing,
        "log_removed_at": clock.wire(attempt.log_removed_at),
        "notes": attempt.notes,
        "started_at": clock.wire(attempt.started_at),
        "ended_at": clock.wire(attempt.ended_at),
    }
