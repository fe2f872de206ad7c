"""Tasks on the API, for people's programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Response, jsonify, request, stream_with_context

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import limit_from_query, parse
from webapp.auth.guards import me, token_required
from webapp.errors import Invalid, NotFound
from webapp.live import events
from webapp.tasks import listing, logs, placements, service, waiting
from webapp.tasks.access import attempt_of, task_for, writable_task_for
from webapp.tasks.rules import TRANSITIONS
from webapp.tasks.schemas import Changes, Submission
from webapp.workers import tools

if TYPE_CHECKING:
    from webapp.tasks.models import Attempt, Task

blueprint = api_blueprint("tasks_api", __name__)


@blueprint.post("/tasks")
@token_required("operator")
def submit() -> tuple[Response, int]:
    task_id = service.submit(me(), parse(Submission))
    return jsonify(as_wire(task_for(me(), task_id))), 201


@blueprint.get("/tasks")
@token_required("viewer")
def list_tasks() -> Response:
    limit = limit_from_query()
    found = listing.tasks(me().organisation_id, filter_from_query(), request.args.get("after"), limit + 1)
    items = [as_wire(task, whole=False) for task in found[:limit]]
    return jsonify(items=items, next=items[-1]["id"] if len(found) > limit else None)


def filter_from_query() -> listing.Filter:
    args = request.args
    status = args.get("status", "")
    if status and status not in (*TRANSITIONS, "waiting"):
        raise Invalid(f"status is one of {', '.join(TRANSITIONS)}, waiting.", "status")
    return listing.Filter(
        status,
        args.get("tool", ""),
        args.get("worker_id", ""),
        args.get("q", "")[:255],
        _since(args.get("since", "")),
    )


def _since(text: str) -> datetime | None:
    """RFC 3339, as every time on the wire. Raises Invalid."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid("since is a time like 2026-01-31T12:00:00Z.", "since") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@blueprint.get("/tasks/<id:task_id>")
@token_required("viewer")
def show(task_id: str) -> Response:
    task = task_for(me(), task_id)
    return jsonify(as_wire(task) | {"waiting": [row.as_wire() for row in waiting.reasons(task)]})


@blueprint.post("/tasks/<id:task_id>/cancel")
@token_required("viewer")
def cancel(task_id: str) -> Response:
    task = writable_task_for(me(), task_id)
    service.cancel(me(), task)
    return jsonify(as_wire(task_for(me(), task_id)))


@blueprint.post("/tasks/<id:task_id>/retry")
@token_required("viewer")
def retry(task_id: str) -> tuple[Response, int]:
    task = writable_task_for(me(), task_id)
    changes = parse(Changes) if request.get_data(cache=True) else Changes()
    made = service.retry(me(), task, changes.input)
    return jsonify(as_wire(task_for(me(), made))), 201


@blueprint.get("/tasks/<id:task_id>/log")
@token_required("viewer")
def log(task_id: str) -> Response:
    return log_response(task_for(me(), task_id))


def log_response(task: Task) -> Response:
    """The log of an attempt as it was sent, as plain text; `offset=` and `Range` give a part."""
    attempt = attempt_of(task, request.args.get("attempt"))
    size = attempt.log_size if attempt else 0
    start, end, status = _asked_range(size)
    body: Iterator[bytes] = logs.stream(attempt.id, start, end) if attempt and start < end else iter(())
    response = Response(stream_with_context(body), status, content_type="text/plain; charset=utf-8")
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Length"] = str(end - start)
    response.headers["X-Log-Size"] = str(size)
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return response


def _asked_range(size: int) -> tuple[int, int, int]:
    """(start, end, status) of what the request asks of a log of this size."""
    text = request.args.get("offset", "0")
    if not text.isdecimal() or len(text) > 15:
        raise Invalid("offset must be a number of bytes, 0 or more.", "offset")
    asked = request.range
    if (
        asked is None or asked.units != "bytes" or len(asked.ranges) != 1
    ):  # several at once: the whole is allowed
        return min(int(text), size), size, 200
    found = asked.range_for_length(size)
    if found is None:
        raise RangeNotThere(size)
    return found[0], found[1], 206


@blueprint.get("/tasks/<id:task_id>/events")
@token_required("viewer")
def list_events(task_id: str) -> Response:
    task = task_for(me(), task_id)
    after = request.args.get("after", "0")
    if not after.isdecimal() or len(after) > 15:
        raise Invalid("after must be a seq, 0 or more.", "after")
    limit = limit_from_query(200)
    found = events.of_stream(f"task:{task.id}", int(after), limit)
    items = [events.as_wire(event) for event in found]
    return jsonify(items=items, next=items[-1]["seq"] if len(items) == limit else None)


@blueprint.get("/tools")
@token_required("viewer")
def list_tools() -> Response:
    items = [
        {
            "name": tool.name,
            "version": tool.version,
            "title": tool.title,
            "description": tool.description,
            "schema": tool.schema,
        }
        for tool in tools.catalogue(me().organisation_id)
    ]
    return jsonify(items=items, next=None)


class RangeNotThere(NotFound):
    """The log has no such range."""

    status, slug = 416, "range-not-there"

    def __init__(self, size: int) -> None:
        super().__init__(f"The log has {size} bytes.")
        self.headers = {"Content-Range": f"bytes */{size}"}


def as_wire(task: Task, whole: bool = True) -> dict[str, Any]:
    """A task as programs see it; the whole one with attempts and input."""
    body: dict[str, Any] = {
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
    if whole:
        body |= {
            "input": task.input,
            "timeout_s": task.timeout_s,
            "max_retries": task.max_retries,
            "retry_on": task.retry_on,
            "on_lost": task.on_lost,
            "labels": dict(placements.wanted(task.placement_id).labels),
            "locks": list(placements.wanted(task.placement_id).locks),
            "not_before": clock.wire(task.not_before),
            "attempts": [_attempt(attempt) for attempt in task.attempts],
        }
    return body


def _attempt(attempt: Attempt) -> dict[str, Any]:
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
        "notes": attempt.notes,
        "started_at": clock.wire(attempt.started_at),
        "ended_at": clock.wire(attempt.ended_at),
    }
