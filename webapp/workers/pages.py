"""Pages about workers. What higher domains know of a worker hangs under its page as panels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, current_app, flash, redirect, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth import audit
from webapp.auth.actor import system
from webapp.auth.guards import me, signed_in
from webapp.errors import Invalid, invalid_from
from webapp.live import views as live
from webapp.live.bus import organisation_topic, worker_topic
from webapp.live.views import LiveView, Scope
from webapp.workers import keys, listing, replacing, service, twins, vitals
from webapp.workers.access import worker_for
from webapp.workers.rules import labels_text, parse_labels
from webapp.workers.schemas import WorkerChange

if TYPE_CHECKING:
    from webapp.workers.models import Worker

blueprint = Blueprint("workers", __name__)

STATUSES = (
    *("pending", "online", "busy", "draining", "quarantined"),
    *("unreachable", "offline", "archived", "revoked"),
)
FILTERS = ("q", "status", "label", "page")
PAGE = 30
AUDIT_ROWS = 10
MOST_DIGITS = 12  # of a number in a form: Python reads only so many
# How long a person may choose to drain a worker, in seconds.
DRAIN_FOR = {
    "": "until somebody resumes it",
    "1800": "for 30 minutes",
    "3600": "for an hour",
    "7200": "for 2 hours",
    "14400": "for 4 hours",
    "28800": "for 8 hours",
    "86400": "for a day",
    "259200": "for 3 days",
    "604800": "for a week",
}


# ---- the list


def _list_context(scope: Scope) -> dict[str, Any]:
    rows = listing.all_shown(scope.organisation_id)
    known = [row for row in rows if row.status not in ("pending", "revoked", "archived")]
    return {
        **templating.frame(scope, "workers", "Workers"),
        "all": rows,
        "archived": sum(row.status == "archived" for row in rows),
        "archive_after_days": current_app.config["SETTINGS"].archive_after_days,
        "pending": [row for row in rows if row.status == "pending"],
        "known_machines": listing.known_machines(rows),
        "old_keys": keys.old_ones(scope.organisation_id),
        **templating.page_of(listing.matching(rows, scope.args), scope.args.get("page", ""), PAGE),
        "announced": listing.announced(known),
        "slots_used": sum(row.held for row in known),
        "slots": sum(row.worker.capacity for row in known if row.answers),
    }


WORKERS = LiveView(
    "workers",
    (
        "_counts.html",
        *(f"workers/_{name}.html" for name in ("facts", "pending", "rows", "announced_all")),
    ),
    _list_context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/workers")
@signed_in("viewer")
def workers() -> str:
    return list_page()


def list_page(**values: Any) -> str:
    args = {name: request.args[name][:255] for name in FILTERS if request.args.get(name)}
    rows = listing.all_shown(me().organisation_id)
    labels = sorted({word for row in rows for word in listing.label_words(row.worker)})
    values = {"labels": labels, "statuses": STATUSES, "drain_for": DRAIN_FOR, "announce": {}, **values}
    return templating.live_page(WORKERS, "workers/list.html", args, **values)


# ---- one worker


@dataclass(frozen=True)
class Panel:
    """What a higher domain shows on a worker's page: `context(worker_id)` makes what the fragments need."""

    fragments: tuple[str, ...]
    context: Callable[[str], dict[str, Any]]
    # What stands below everybody's fragments, because it is of the past.
    last: tuple[str, ...] = ()


# Filled by create_app. Tasks come first, projects and workspaces hang theirs here too: workers name none of them.
panels: list[Panel] = []

_OWN_FRAGMENTS = (
    "_counts.html",
    *(
        f"workers/_{name}.html"
        for name in ("head", "identity", "gauges", "abilities", "policy", "keys", "announced")
    ),
)


def add_panel(panel: Panel) -> None:
    if panel not in panels:
        panels.append(panel)
    live.register(worker_view())


def worker_view() -> LiveView:
    return LiveView("worker", (*_OWN_FRAGMENTS, *_of_panels()), _worker_context, _worker_topics)


def _of_panels() -> list[str]:
    fragments = [name for panel in panels for name in panel.fragments]
    return fragments + [name for panel in panels for name in panel.last]


def _worker_topics(scope: Scope) -> tuple[str, ...]:
    return worker_topic(scope.args["worker"]), organisation_topic(scope.organisation_id)


def _worker_context(scope: Scope) -> dict[str, Any]:
    worker = worker_for(system(scope.organisation_id), scope.args.get("worker", ""))
    row = listing.shown(worker)
    favicon = {"busy": "running", "unreachable": "failed"}.get(row.status, "idle")
    context = {
        **templating.frame(scope, "workers", f"{row.status.capitalize()}: {worker.name}", favicon),
        "row": row,
        "worker": worker,
        **_identity(worker),
        "vitals": vitals.day(worker),
        "vitals_width": vitals.WIDTH,
        "vitals_gap": vitals.GAP,
    }
    for panel in panels:
        context |= panel.context(worker.id)
    return context


def _identity(worker: "Worker") -> dict[str, Any]:
    """Its keys, and whether it is who it seems to be."""
    former = replacing.same_machine(worker)
    found = keys.shown(worker.id)
    return {
        "keys": found,
        "key_is_old": worker.status == "approved" and keys.are_old(found),
        "key_reminder_days": current_app.config["SETTINGS"].key_reminder_days,
        "twin_is_here": twins.is_recent(worker.id),
        "same_machine": former,
        "former_is_there": former is not None and replacing.is_there(former, worker),
    }


@blueprint.get("/workers/<id:worker_id>")
@signed_in("viewer")
def worker(worker_id: str) -> str:
    return worker_page(worker_id)


def worker_page(worker_id: str, **values: Any) -> str:
    found = worker_for(me(), worker_id)
    form = {"name": found.name, "labels": labels_text(found.labels), "slots": found.capacity}
    return templating.live_page(
        worker_view(),
        "workers/worker.html",
        {"worker": worker_id},
        panels=_of_panels(),
        drain_for=DRAIN_FOR,
        entries=audit.entries(found.organisation_id, limit=AUDIT_ROWS, target_id=found.id)
        if me().may("admin")
        else (),
        **{"form": form, "errors": {}, "announce": {}, **values},
    )


@blueprint.post("/workers/<id:worker_id>/approve")
@signed_in("admin")
def approve(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.approve(me(), found)
    return done(f"{found.name} is approved. It starts working by itself.", worker_id)


@blueprint.post("/workers/<id:worker_id>/revoke")
@signed_in("admin")
def revoke(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.revoke(me(), found)
    return done(f"{found.name} is revoked: its key is refused from now on.", worker_id)


@blueprint.post("/workers/<id:worker_id>/remove")
@signed_in("admin")
def remove(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    name = found.name
    service.remove(me(), found)
    flash(f"{name} is removed. Its tasks keep their history.")
    return redirect(url_for("workers.workers"))


@blueprint.post("/workers/<id:worker_id>/open")
@signed_in("admin")
def open_up(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.change(me(), found, WorkerChange(admins_only=False))
    return done(f"{found.name} takes operators’ tasks now.", worker_id)


@blueprint.post("/workers/<id:worker_id>/close")
@signed_in("admin")
def close(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.change(me(), found, WorkerChange(admins_only=True))
    return done(f"{found.name} takes only admins’ tasks from now on.", worker_id)


@blueprint.post("/workers/<id:worker_id>/change")
@signed_in("admin")
def change(worker_id: str) -> Response | tuple[str, int]:
    found = worker_for(me(), worker_id)
    form = {name: request.form.get(name, "").strip() for name in ("name", "labels", "slots")}
    try:
        service.change(me(), found, _wish(form, found.capacity))
    except Invalid as error:
        errors = {str(row["field"]).split(".")[0]: row["message"] for row in error.extra["errors"]}
        return worker_page(worker_id, form=form, errors=errors), 422
    return done("Changed.", worker_id)


def _wish(form: dict[str, str], capacity: int) -> WorkerChange:
    labels = {key: value or "" for key, value in parse_labels(form["labels"]).items()}
    said: dict[str, Any] = {"name": form["name"], "labels": labels}
    if form["slots"] != str(capacity):  # left alone, it stays what the agent says
        is_number = form["slots"].isdecimal() and len(form["slots"]) <= MOST_DIGITS
        said["slots"] = int(form["slots"]) if is_number else form["slots"]
    try:
        return WorkerChange.model_validate(said)
    except ValidationError as error:
        raise invalid_from(error) from error


def done(words: str, worker_id: str) -> Response:
    """Back to where the button was: the list, the page that waits for new ones, or the worker's."""
    flash(words)
    place, _, since = request.form.get("back", "").partition("-")
    if place == "list":
        return back_to_list()
    if place == "add":
        return redirect(url_for("workers.add", since=since))
    return redirect(url_for("workers.worker", worker_id=worker_id))


def back_to_list() -> Response:
    """As it was filtered: its form carries that."""
    return redirect(
        templating.query_url("workers.workers", {name: request.form.get(name) for name in FILTERS})
    )
