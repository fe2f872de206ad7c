"""Pages about tasks: the dashboard, and what a worker's page says of them. The list is in `list_pages.py`, one task in
`task_pages.py`."""

from typing import Any

from flask import Blueprint, request

from webapp import templating
from webapp.auth.guards import signed_in
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView, Scope
from webapp.tasks import dashboard as figures
from webapp.tasks import listing, throughput
from webapp.workers import listing as workers
from webapp.workers.pages import Panel

blueprint = Blueprint("tasks", __name__)

HISTORY_ROWS = 12


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


WORKER_PANEL = Panel(("tasks/_on_worker.html",), _of_worker, last=("tasks/_worker_history.html",))
