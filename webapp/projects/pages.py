"""Pages about projects: the list, and what a worker's page says of them. One project is in `project_pages.py`, the form
that clones in `clone_pages.py`."""

from typing import Any

from flask import Blueprint, request

from webapp import templating
from webapp.auth.guards import signed_in
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView, Scope
from webapp.projects import listing
from webapp.workers.pages import Panel

blueprint = Blueprint("projects", __name__)

FILTERS = ("q", "page")
PAGE = 30
# Of one project, in the list: its own page has all.
MOST_PLACES = 4


def _context(scope: Scope) -> dict[str, Any]:
    rows = listing.all_placed(scope.organisation_id)
    places = [place for row in rows for place in row.places]
    busy = sum(place.task is not None for place in places)
    found = listing.matching(rows, scope.args.get("q", ""))
    return {
        **templating.frame(
            scope, "projects", f"{busy} syncing" if busy else "Projects", "running" if busy else "idle"
        ),
        "all": rows,
        "checkouts": len(places),
        "used_workers": len({place.checkout.worker_id for place in places}),
        "size_bytes": sum(row.size_bytes for row in rows),
        "most_places": MOST_PLACES,
        **templating.page_of(found, scope.args.get("page", ""), PAGE),
    }


PROJECTS = LiveView(
    "projects",
    ("_counts.html", "projects/_facts.html", "projects/_rows.html"),
    _context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/projects")
@signed_in("viewer")
def projects() -> str:
    args = {name: request.args[name].strip()[:255] for name in FILTERS if request.args.get(name)}
    return templating.live_page(PROJECTS, "projects/list.html", args)


# ---- the part of a worker's page


def _on_worker(worker_id: str) -> dict[str, Any]:
    return {"projects_here": listing.on_worker(worker_id)}


WORKER_PANEL = Panel(("projects/_on_worker.html",), _on_worker)
