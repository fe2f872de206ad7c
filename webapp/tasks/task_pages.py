"""The page of one task: its log, attempts, result, and why it waits."""

from typing import TYPE_CHECKING, Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from webapp import clock, templating
from webapp.auth.actor import system
from webapp.auth.guards import me, signed_in
from webapp.errors import Conflict, NotFound
from webapp.live import events
from webapp.live.bus import organisation_topic, task_topic
from webapp.live.views import LiveView, Scope
from webapp.tasks import (
    ansi,
    dispatch,
    force,
    known_projects,
    listing,
    lock_list,
    log_pages,
    logs,
    logview,
    placements,
    retention,
    service,
    waiting,
)
from webapp.tasks.access import attempt_of, task_for, writable_task_for
from webapp.tasks.pages import blueprint
from webapp.tasks.rules import FAILURE_HELPS, TERMINAL, failure_words
from webapp.tasks.schemas import ForceFinish
from webapp.workers import tools

if TYPE_CHECKING:
    from webapp.tasks.models import Attempt, Task

EVENT_ROWS = 100
TITLES = {"completed": "Done", "failed": "Failed"}
FAVICONS = {"running": "running", "cancelling": "running", "failed": "failed"}


def _context(scope: Scope) -> dict[str, Any]:
    """`attempt` pins the page to one; without it the page goes over to the newest."""
    task = task_for(system(scope.organisation_id), scope.args.get("task", ""))
    attempt = attempt_of(task, scope.args.get("attempt"))
    status = task.shown_status
    title = f"{TITLES.get(status, status.capitalize())}: {task.name[:80]}"
    return {
        **templating.frame(scope, "tasks", title, FAVICONS.get(status, "idle")),
        "task": task,
        "attempt": attempt,
        "log_gone": retention.why_gone(attempt) if attempt else None,
        "is_silent": _is_silent(task),
        "is_over": task.status in TERMINAL,
        "failure_helps": FAILURE_HELPS,
        "failure_words": failure_words,
        "why": waiting.why(task),
        "held_locks": lock_list.held_by(task.attempt_id),
        "wanted": placements.wanted(task.placement_id),
        "project_name": known_projects.name_of(task.project_id) if task.project_id else None,
        "is_made_elsewhere": task.tool in service.makers,
        "output": _own_output(attempt),
        "events": events.newest(task_topic(task.id), EVENT_ROWS),
    }


def _own_output(attempt: "Attempt | None") -> str:
    """What the attempt reported besides its log. A tool that has nothing else to say reports the log's end again."""
    reported = str((attempt.result or {}).get("output") or "") if attempt else ""
    if attempt is None or not reported.strip():
        return ""
    end = logs.read(attempt.id, max(0, attempt.log_size - len(reported.encode()) - 1024), attempt.log_size)
    if end.decode("utf-8", "replace").replace("\0", "").rstrip().endswith(reported.rstrip()[-1000:]):
        return ""
    return ansi.plain(reported)


def _is_silent(task: "Task") -> bool:
    """Whether the worker has let its lease run out: nothing is decided yet."""
    current = task.attempts[-1] if task.attempts else None
    return current is not None and current.ended_at is None and current.lease_expires_at < clock.now()


def _append(scope: Scope, attempt_id: str, offset: int) -> tuple[str, int]:
    """What the log has more. A place that makes no sense gets nothing: others look at the same view."""
    try:
        attempt = attempt_of(task_for(system(scope.organisation_id), scope.args.get("task", "")), attempt_id)
    except NotFound:
        return "", offset
    window = logview.after(attempt, offset) if attempt else logview.Window(offset=offset)
    if not window.lines and window.partial is None and window.offset == offset:
        return "", offset
    return render_template("tasks/_log_append.html", window=window, lines=window.lines), window.offset


TASK = LiveView(
    "task",
    (
        "_counts.html",
        "tasks/_head.html",
        "tasks/_why.html",
        "tasks/_log_box.html",
        "tasks/_log_facts.html",
        "tasks/_log_foot.html",
        "tasks/_attempts.html",
        "tasks/_outcome.html",
        "tasks/_events.html",
    ),
    _context,
    lambda scope: (task_topic(scope.args["task"]), organisation_topic(scope.organisation_id)),
    _append,
    lambda scope: dispatch.wake_worker_of(scope.args["task"]),
)


@blueprint.get("/tasks/<id:task_id>")
@signed_in("viewer")
def task(task_id: str) -> str | Response:
    """`?attempt=2` shows that one; what else may be asked for is about its log: see `log_pages.shown`."""
    found = task_for(me(), task_id)
    attempt = attempt_of(found, request.args.get("attempt"))
    if line := log_pages.line_number("goto"):
        number = attempt.number if attempt else None
        return redirect(url_for(".task", task_id=task_id, attempt=number, line=line, _anchor=f"L{line}"))
    tool = tools.find(me().organisation_id, found.tool)
    values = {
        "tool": tool,
        "has_original": bool(found.retry_of) and listing.is_kept(me().organisation_id, str(found.retry_of)),
        "inputs": _inputs(found, tool.schema if tool else {}),
        **log_pages.shown(attempt),  # the last one: a search gives the database back
    }
    args = {"task": task_id}
    if attempt and (request.args.get("attempt") or not values["is_tail"]):
        args["attempt"] = str(attempt.number)
    return templating.live_page(TASK, "tasks/task.html", args, **values)


def _inputs(task: "Task", schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The input in the order of the tool's form. Of a secret only that there is one."""
    parts = schema.get("properties", {})
    names = [
        *(name for name in parts if name in task.input),
        *(name for name in task.input if name not in parts),
    ]
    rows = [{"title": parts.get(name, {}).get("title") or name, "value": task.input[name]} for name in names]
    if task.secret_input:
        secret = [part.get("title") or name for name, part in parts.items() if part.get("x-secret")]
        rows += [{"title": title, "value": "•••"} for title in secret]
    return rows


@blueprint.post("/tasks/<id:task_id>/cancel")
@signed_in("operator")
def cancel(task_id: str) -> Response:
    found = writable_task_for(me(), task_id)
    was_waiting = found.status == "queued"
    try:
        service.cancel(me(), found)
        flash("Cancelled." if was_waiting else "The worker is told to stop it.")
    except Conflict as error:
        flash(error.detail)
    return redirect(url_for("tasks.task", task_id=task_id))


@blueprint.post("/tasks/<id:task_id>/force-finish")
@signed_in("admin")
def force_finish(task_id: str) -> Response:
    found = writable_task_for(me(), task_id)
    said = ForceFinish(reason=request.form.get("reason", ""))
    try:
        force.force_finish(me(), found, said.reason)
        flash("Force-finished. Its worker may still be running it, until it calls and is told to stop.")
    except Conflict as error:
        flash(error.detail)
    return redirect(url_for("tasks.task", task_id=task_id))


@blueprint.post("/tasks/<id:task_id>/retry")
@signed_in("operator")
def retry(task_id: str) -> Response:
    try:
        made = service.retry(me(), writable_task_for(me(), task_id))
    except Conflict as error:
        flash(error.detail)
        return redirect(url_for("tasks.task", task_id=task_id))
    flash("Submitted again, as a new task.")
    return redirect(url_for("tasks.task", task_id=made))
