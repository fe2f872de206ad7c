"""Pages about tasks: the dashboard, the list, and what a worker's page says of them. One task is in `task_pages.py`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Blueprint, flash, redirect, request
from werkzeug.wrappers import Response

from webapp import clock, templating
from webapp.auth.guards import me, signed_in
from webapp.bulk import each_ticked
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView, Scope
from webapp.tasks import dashboard as figures
from webapp.tasks import listing, service, throughput
from webapp.tasks.access import writable_task_for
from webapp.tasks.rules import TRANSITIONS
from webapp.workers import listing as workers
from webapp.workers import tools
from webapp.workers.pages import Panel

blueprint = Blueprint("tasks", __name__)

PAGE = 50
HISTORY_ROWS = 12
FILTERS = ("status", "q", "tool", "worker", "since", "after")
SINCE = {
    "hour": ("Last hour", 1),
    "day": ("Last 24 h", 24),
    "week": ("Last 7 days", 168),
    "month": ("Last 30 days", 720),
}
TABS = (("", "All"), ("running", "Running"), ("waiting", "Waiting"), ("failed", "Failed"),
        ("completed", "Completed"), ("cancelled", "Cancelled"))  # fmt: skip


# ---- the dashboard


def _dashboard_context(scope: Scope) -> dict[str, Any]:
    active = figures.active(scope.organisation_id)
    rows = workers.all_shown(scope.organisation_id)
    needs = figures.needs(scope.organisation_id, rows)
    running = active.get("running", figures.Active()).count
    title = (
        f"{running} running, {needs.count} need you"
        if needs.count
        else f"{running} running"
        if running
        else "Dashboard"
    )
    return {
        **templating.frame(scope, "dashboard", title, "running" if running else "idle"),
        "active": active,
        "idle": figures.Active(),
        "needs": needs,
        "pending": needs.pending,
        "workers": [row for row in rows if row.status not in ("pending", "revoked", "archived")],
        "running": figures.running(scope.organisation_id),
        "latest": figures.latest(scope.organisation_id),
        **_over_time(scope),
    }


def _over_time(scope: Scope) -> dict[str, Any]:
    """The last day in figures, and what is drawn: that day by the hour, or a week by six hours."""
    whose = throughput.Whose("organisation", scope.organisation_id)
    is_week = scope.args.get("over") == "week"
    week = throughput.columns(whose, throughput.WEEK, 6) if is_week else []
    day = throughput.columns(whose, throughput.DAY)
    drawn = week or day
    return {
        "day": throughput.whole(day),
        "failed": figures.failed(scope.organisation_id, day[0].begins),
        "over": "week" if is_week else "day",
        "columns": drawn,
        "drawn": throughput.whole(drawn),
    }


DASHBOARD = LiveView(
    "dashboard",
    (
        "_counts.html",
        *(
            f"dashboard/_{name}.html"
            for name in ("needs", "stats", "running", "failed", "latest", "charts", "workers")
        ),
    ),
    _dashboard_context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/")
@signed_in("viewer")
def dashboard() -> str:
    args = {"over": "week"} if request.args.get("over") == "week" else {}
    return templating.live_page(DASHBOARD, "dashboard/dashboard.html", args)


# ---- the list


def _list_context(scope: Scope) -> dict[str, Any]:
    found = listing.tasks(scope.organisation_id, _wanted(scope), scope.args.get("after"), PAGE + 1)
    counts = listing.active_counts(scope.organisation_id)
    running, waiting = counts.get("running", 0), counts.get("queued", 0) + counts.get("assigned", 0)
    title = f"{running} running, {waiting} waiting" if running or waiting else "Tasks"
    return {
        **templating.frame(scope, "tasks", title, "running" if running else "idle"),
        "rows": found[:PAGE],
        "older": found[PAGE - 1].id if len(found) > PAGE else None,
        "tabs": TABS,
        "tab_counts": {"running": running, "waiting": waiting},
        "has_filter": any(scope.args.get(name) for name in FILTERS),
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
    )


TASKS = LiveView(
    "tasks",
    ("_counts.html", "tasks/_tabs.html", "tasks/_rows.html"),
    _list_context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/tasks")
@signed_in("viewer")
def tasks() -> str:
    args = {name: request.args[name].strip()[:255] for name in FILTERS if request.args.get(name, "").strip()}
    return templating.live_page(
        TASKS,
        "tasks/list.html",
        args,
        known_tools=tools.catalogue(me().organisation_id),
        known_workers=[
            row.worker for row in workers.all_shown(me().organisation_id) if row.status != "archived"
        ],
        since=SINCE,
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
    return redirect(templating.query_url("tasks.tasks", {name: request.form.get(name) for name in FILTERS}))


# ---- the part of a worker's page


def _of_worker(worker_id: str) -> dict[str, Any]:
    whose = throughput.Whose("worker", worker_id)
    week = throughput.columns(whose, throughput.WEEK)
    return {
        "held_tasks": listing.held_by(worker_id),
        "held_of": listing.held_by_class(worker_id),
        "history": listing.ended_on(worker_id, HISTORY_ROWS),
        "ended_lately": {
            "24 hours": throughput.whole(week[-throughput.DAY :]),
            "7 days": throughput.whole(week),
        },
        "failed_here": listing.failed_in_row(worker_id),
        "worker_id": worker_id,
    }


WORKER_PANEL = Panel(("tasks/_on_worker.html", "tasks/_worker_history.html"), _of_worker)
