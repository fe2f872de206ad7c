"""The list of tasks: filters in the address, pages from task to task, and what is done with all that are ticked."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import flash, redirect, request
from werkzeug.wrappers import Response

from webapp import clock, templating
from webapp.auth.guards import me, signed_in
from webapp.bulk import each_ticked
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView, Scope
from webapp.tasks import known_projects, listing, service
from webapp.tasks.access import writable_task_for
from webapp.tasks.pages import blueprint
from webapp.tasks.rules import TRANSITIONS
from webapp.workers import listing as workers
from webapp.workers import tools

PAGE = 50
NARROWS = ("q", "tool", "worker", "project", "label", "since")
CURSORS = ("after", "before")
ARGUMENTS = ("status", *NARROWS, *CURSORS)
SINCE = {
    "hour": ("Last hour", 1),
    "day": ("Last 24 h", 24),
    "week": ("Last 7 days", 168),
    "month": ("Last 30 days", 720),
}
TABS = (("", "All"), ("running", "Running"), ("waiting", "Waiting"), ("failed", "Failed"),
        ("completed", "Completed"), ("cancelled", "Cancelled"))  # fmt: skip


def _context(scope: Scope) -> dict[str, Any]:
    after, before = (scope.args.get(name) for name in CURSORS)
    counts = listing.active_counts(scope.organisation_id)
    running, waiting = counts.get("running", 0), counts.get("queued", 0) + counts.get("assigned", 0)
    title = f"{running} running, {waiting} waiting" if running or waiting else "Tasks"
    return {
        **templating.frame(scope, "tasks", title, "running" if running else "idle"),
        "page": listing.page(scope.organisation_id, _wanted(scope), PAGE, after, before),
        "first": dict.fromkeys(CURSORS, ""),
        "tabs": TABS,
        "tab_counts": {"running": running, "waiting": waiting},
        "has_filter": any(scope.args.get(name) for name in ARGUMENTS),
    }


def _wanted(scope: Scope) -> listing.Filter:
    args = scope.args
    status = args.get("status", "")
    hours = SINCE.get(args.get("since", ""), ("", 0))[1]
    return listing.Filter(
        status if status in (*TRANSITIONS, "waiting") else "",
        args.get("tool", ""),
        args.get("worker", ""),
        args.get("q", ""),
        clock.now() - timedelta(hours=hours) if hours else None,
        args.get("label", ""),
        args.get("project", ""),
    )


TASKS = LiveView(
    "tasks",
    ("_counts.html", "tasks/_tabs.html", "tasks/_rows.html"),
    _context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/tasks")
@signed_in("viewer")
def tasks() -> str:
    given = {name: request.args.get(name, "").strip()[:255] for name in ARGUMENTS}
    known = [row.worker for row in workers.all_shown(me().organisation_id) if row.status != "archived"]
    return templating.live_page(
        TASKS,
        "tasks/list.html",
        {name: value for name, value in given.items() if value},
        known_tools=tools.catalogue(me().organisation_id),
        known_workers=known,
        known_projects=known_projects.known_to(me().organisation_id),
        known_labels=sorted({word for worker in known for word in workers.label_words(worker)}),
        since=SINCE,
        is_narrowed=any(given[name] for name in NARROWS),
    )


@blueprint.post("/tasks/cancel")
@signed_in("operator")
def cancel_many() -> Response:
    return _each(service.cancel, "cancelled")


@blueprint.post("/tasks/retry")
@signed_in("operator")
def retry_many() -> Response:
    return _each(service.retry, "submitted again")


def _each(act: Callable[..., Any], done: str) -> Response:
    count, problems = each_ticked(lambda task_id: act(me(), writable_task_for(me(), task_id)))
    words = [f"{templating.plural(count, 'task')} {done}."]
    if problems:
        words.append(f"{templating.plural(len(problems), 'task')} not: {problems[0]}")
    flash(" ".join(words))
    return redirect(templating.query_url("tasks.tasks", {name: request.form.get(name) for name in ARGUMENTS}))
