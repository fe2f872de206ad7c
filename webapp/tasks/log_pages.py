"""What a task's page shows of its log: a window, and the lines that a search finds; and the whole log, to keep."""

from typing import TYPE_CHECKING, Any

from flask import Response, render_template, request, stream_with_context

from webapp.auth.guards import me, signed_in
from webapp.errors import NotFound
from webapp.tasks import logs, logsearch, logview, retention
from webapp.tasks.access import attempt_of, task_for
from webapp.tasks.pages import blueprint

if TYPE_CHECKING:
    from webapp.tasks.models import Attempt


def shown(attempt: "Attempt | None") -> dict[str, Any]:
    """What the templates of a log need, as the query asks.

    `?line=` and `?before=` choose a part of a long log, the end is what is shown without; `?find=` is searched for, from
    line `?from=` on.
    """
    window, is_tail = _window(attempt)
    find = logsearch.asked(request.args.get("find", ""))
    return {
        "window": window,
        "lines": window.lines,
        "is_tail": is_tail,
        "found": _found(attempt, find),
        "hits": _hits(window, find),
    }


def _window(attempt: "Attempt | None") -> tuple[logview.Window, bool]:
    """The lines to show, and whether they are the end of the log, where it goes on live."""
    if attempt is None or retention.why_gone(attempt):
        return logview.Window(), True
    line, before = (line_number(name) for name in ("line", "before"))
    if before:
        window = logview.before(attempt, before)
    elif line:
        window = logview.around(attempt, line)
    else:
        return logview.tail(attempt), True
    return window, window.last >= attempt.log_lines


def line_number(name: str) -> int:
    """0 where the query has none that makes sense."""
    text = request.args.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 12 else 0


def _found(attempt: "Attempt | None", find: str) -> logsearch.Found:
    if attempt is None or not find or retention.why_gone(attempt):
        return logsearch.Found(find)
    return logsearch.search(attempt, find, line_number("from") or 1)


def _hits(window: logview.Window, find: str) -> set[int]:
    """Lines of the window that have it: the script marks them itself, and goes on with those that come."""
    if not find:
        return set()
    wanted = find.lower()
    return {line.number for line in window.lines if line.number and wanted in line.html.striptags().lower()}


@blueprint.get("/tasks/<id:task_id>/log/window")
@signed_in("viewer")
def log_window(task_id: str) -> str:
    """Another part of the log, for a page that is open."""
    attempt = _asked_attempt(task_id)
    window, is_tail = _window(attempt)
    values = {"window": window, "lines": window.lines, "is_tail": is_tail}
    return render_template("tasks/_log_window.html", task_id=task_id, attempt=attempt, **values)


@blueprint.get("/tasks/<id:task_id>/log/hits")
@signed_in("viewer")
def log_hits(task_id: str) -> str:
    """What a search has found within its time; the page asks on, and no longer when it is closed."""
    attempt = _asked_attempt(task_id)
    found = _found(attempt, logsearch.asked(request.args.get("find", "")))
    return render_template("tasks/_log_hits.html", task_id=task_id, attempt=attempt, found=found)


def _asked_attempt(task_id: str) -> "Attempt":
    attempt = attempt_of(task_for(me(), task_id), request.args.get("attempt"))
    if attempt is None:
        raise NotFound("This task hasn’t begun: there is no log yet.")
    retention.refuse_gone(attempt)
    return attempt


@blueprint.get("/tasks/<id:task_id>/log")
@signed_in("viewer")
def log(task_id: str) -> Response:
    """The whole log as it was sent, to keep; a line says where bytes were left out."""
    attempt = attempt_of(task_for(me(), task_id), request.args.get("attempt"))
    retention.refuse_gone(attempt)
    body = logs.marked(attempt.id, attempt.log_size) if attempt and attempt.log_size else iter(())
    response = Response(stream_with_context(body), content_type="text/plain; charset=utf-8")
    name = f"task-{task_id[:13]}-{attempt.number if attempt else 0}.log"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
